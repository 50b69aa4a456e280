"""What the tests of handlers share: a small task, an Engine as users write it, and a gauge of host reads."""

import io
from contextlib import ExitStack

import pytest
import torch
from ignite.engine import Engine, Events
from support.models import perceptron
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from ignite_recipes import TrainEvents, create_trainer


class Task:
    """A regression of four small batches, the last one short; and copies of things as a file would make them."""

    def __init__(self):
        draw = torch.Generator().manual_seed(7)
        inputs = torch.randn(14, 3, generator=draw)
        targets = inputs.sum(1, keepdim=True) / 3
        self.batches = list(zip(inputs.split(4), targets.split(4), strict=True))
        self.nan_batch = (torch.full((4, 3), float("nan")), torch.zeros(4, 1))

    def model(self):
        with torch.random.fork_rng():
            return perceptron(3, 4, seed=3, activation=nn.Tanh, dropout=0.2)

    def loss_fn(self, model, inputs, batch):
        return {"loss": (model(inputs) - batch[1]).square().mean()}

    def trainer(self, model=None, optimizer=None, *, lr=0.1, **settings):
        """A trainer of ours; plain SGD without other wishes."""
        model = self.model() if model is None else model
        optimizer = torch.optim.SGD(model.parameters(), lr=lr) if optimizer is None else optimizer
        settings = {"loss_fn": self.loss_fn, "seed": 1, **settings}
        return create_trainer(model, optimizer, **settings)

    def scripted(self, values, metric="val_loss", **settings):
        """A trainer of ours whose epochs measure these values, whatever it trains."""
        trainer = self.trainer(**settings)
        epochs = iter(values)

        @trainer.on(Events.EPOCH_COMPLETED)
        def measure(engine):
            engine.state.metrics[metric] = next(epochs)

        return trainer

    def own_engine(self, model, optimizer, *, events=True, may_step=lambda: True):
        """A user's Engine: an update function written by hand, with our events or without."""

        def update(engine, batch):
            fire = engine.fire_event if events else lambda event: None
            optimizer.zero_grad()
            engine.state.inputs = batch[0]
            fire(TrainEvents.INPUTS_READY)
            losses = self.loss_fn(model, engine.state.inputs if events else engine.state.batch[0], batch)
            losses["loss"].backward()
            fire(TrainEvents.GRADIENTS_READY)
            if may_step():
                optimizer.step()
                fire(TrainEvents.OPTIMIZER_STEP_COMPLETED)
            output = {name: value.detach() for name, value in losses.items()}
            engine.state.metrics["val_loss"] = output["loss"].item()
            return output

        engine = Engine(update)
        if events:
            engine.register_events(*TrainEvents)
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.fire_event(TrainEvents.METRICS_READY))
            engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.fire_event(TrainEvents.CHECKPOINT_READY))
        return engine

    @staticmethod
    def filed(state):
        """The state as it comes out of a file that may hold no code."""
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        return torch.load(file, weights_only=True)

    @staticmethod
    def weights(model):
        """A copy of everything in a model, buffers included."""
        return {name: value.clone() for name, value in model.state_dict().items()}

    @staticmethod
    def same(first, second):
        """Equal to the last bit, NaN being equal to NaN."""
        return type(first) is type(second) and _flat(first) == _flat(second)


def _flat(value):
    if isinstance(value, Tensor):
        return ("tensor", value.dtype, tuple(value.shape), *map(repr, value.flatten().tolist()))
    if isinstance(value, dict):
        return {key: _flat(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_flat(item) for item in value]
    return repr(value) if isinstance(value, float) else value


class HostReads:
    """Counts how often the host reads numbers from tensors, which makes it wait for an accelerator.

    Single numbers (``item``, ``float``, ``if``) are seen where torch dispatches them; the rest where it is called.
    """

    def __init__(self):
        self.count = 0
        self._modes = ExitStack()

    def __enter__(self):
        self._modes.enter_context(_SingleReads(self))
        self._modes.enter_context(_OtherReads(self))
        return self

    def __exit__(self, *error):
        self._modes.close()


class _SingleReads(TorchDispatchMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.reads.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


class _OtherReads(TorchFunctionMode):
    def __init__(self, reads):
        super().__init__()
        self.reads = reads

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self.reads.count += func in (Tensor.tolist, Tensor.numpy, Tensor.__array__, Tensor.cpu)
        return func(*args, **(kwargs or {}))


@pytest.fixture(scope="session")
def task():
    return Task()


@pytest.fixture
def host_reads():
    return HostReads()

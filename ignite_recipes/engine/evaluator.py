"""The evaluator: a model's losses on data that it is not trained on."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, State
from torch import Tensor, nn

from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.compiling import compiled
from ignite_recipes.engine.copies import state_of_step
from ignite_recipes.engine.keyed_engine import KeyedEngine
from ignite_recipes.engine.losses import LossFunction, check_loss, check_loss_function, modules_of
from ignite_recipes.engine.metric_set import Metrics, MetricSet
from ignite_recipes.engine.models import Models, as_module
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.predictions import Predictions, detached
from ignite_recipes.exchange import exchange_of
from ignite_recipes.exchange.ranks import join_ranks, rank
from ignite_recipes.loading.batches import Transfer, count_samples, first_item, to_device
from ignite_recipes.loading.given import as_loader
from ignite_recipes.loading.randomness import derive_seed, seed_torch

__all__ = ["EvaluationEngine", "create_evaluator"]


class EvaluationStep:
    """The losses of one batch; arguments as for :func:`create_evaluator`."""

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        device: torch.device,
        get_inputs: Callable[[Any], Any],
        batch_size: Callable[[Any], int],
        prepare_batch: Transfer,
        *,
        compile: bool | str,
        enable_grad: bool,
    ) -> None:
        self.enable_grad = enable_grad
        self.model, self.loss_fn, self.device, self.compile = model, loss_fn, device, compile
        self.get_inputs, self.batch_size, self.prepare_batch = get_inputs, batch_size, prepare_batch
        self.losses = compiled(loss_fn, compile, device)
        self.exchange = exchange_of(model, device, trains=False)

    def __getstate__(self) -> dict[str, Any]:
        return state_of_step(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.losses = compiled(self.loss_fn, self.compile, self.device)

    def __call__(self, engine: Engine, batch: Any) -> dict[str, Tensor]:
        with torch.set_grad_enabled(self.enable_grad):
            return self._measure(engine, batch)

    def _measure(self, engine: Engine, batch: Any) -> dict[str, Tensor]:
        state: Any = engine.state
        seed_torch(derive_seed(state.seed, "validation", state.iteration, *self.exchange.key), self.device)
        batch = self.prepare_batch(batch, self.device, True)
        part = getattr(state.dataloader, "part", None)
        own = self.batch_size(batch)
        by_length = self.batch_size is count_samples
        state.num_samples, share = self.exchange.count(own, part, by_length=by_length)
        if not state.num_samples:
            state.predictions = Predictions(None, None, 0)
            return {}  # of no sample there is no mean
        try:
            losses = self.losses(self.model, self.get_inputs(batch), batch)
        except RuntimeError as error:
            if self.enable_grad or "does not require grad" not in str(error):
                raise
            raise RuntimeError(
                "a loss that is made of derivatives needs gradients while it is evaluated too: pass "
                "create_evaluator(..., enable_grad=True)"
            ) from error
        with torch.no_grad():
            check_loss(losses)
        state.predictions = _predictions(losses, own, part)
        return self.exchange.end_average(self.exchange.begin_average(losses, share))


def _predictions(losses: Mapping[str, Any], num_samples: int, part: Any) -> Predictions | None:
    """What metrics are given; None if the loss function gives no outputs and targets."""
    if not {"outputs", "targets"} <= losses.keys():
        return None
    is_one_of_copies = part is not None and part.copies > 1 and rank() > 0
    outputs, targets = detached(losses["outputs"]), detached(losses["targets"])
    return Predictions(outputs, targets, num_samples, counts=not is_one_of_copies)


class EvaluationEngine(KeyedEngine):
    """The evaluator that :func:`create_evaluator` makes: losses without gradients, in evaluation mode.

    Modules that the loss function holds, e.g. a criterion, are in evaluation mode too. A run leaves each module in the
    mode in which it found it, and draws the same random numbers every time, so that a sampled validation loss shows the
    model and not the random numbers.

    >>> model = nn.Dropout()
    >>> def noisy_loss(model, x, batch):
    ...     return {"loss": (model(x) + torch.randn_like(x)).mean()}
    >>> evaluator = create_evaluator(model, noisy_loss)
    >>> first, second = (evaluator.run([torch.ones(4)]).output["loss"] for _ in range(2))
    >>> bool(first == second), model.training
    (True, True)
    """

    step: "EvaluationStep"

    def __init__(self, step: "EvaluationStep", *, seed: int) -> None:
        super().__init__(step, "validation", step.device, seed)
        self.model = step.model

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
        *,
        batch_size: int | None = None,
    ) -> State:
        """Evaluate the model on ``data``; the averages are in ``state.metrics`` afterwards.

        A data set's rows are fetched in batches of ``batch_size``, as for ``TrainingEngine.run``, and in order.
        """
        if data is not None:
            data = as_loader(data, batch_size, shuffle=False, name="data")
        self.state.max_epochs = self.state.max_iters = None  # every evaluation is a new one
        self.state.metrics = {}
        try:
            with in_evaluation_mode(self.model, *modules_of(self.step.loss_fn)):
                return super().run(data, max_epochs, max_iters, epoch_length)
        finally:
            self.state.predictions = None


def create_evaluator(
    model: Models,
    loss_fn: LossFunction,
    *,
    device: str | torch.device | None = "cpu",
    seed: int = 0,
    get_inputs: Callable[[Any], Any] = first_item,
    batch_size: Callable[[Any], int] = count_samples,
    prepare_batch: Transfer = to_device,
    compile: bool | str = False,
    enable_grad: bool = False,
    metrics: Metrics | MetricSet = None,
) -> EvaluationEngine:
    """An Ignite Engine that computes a model's losses without training it, in float32.

    Arguments as in :func:`create_trainer`; ``Validation`` gives it the trainer's seed.

    Args:
        metrics: metrics of outputs and targets, measured over all samples: ``{"f1": "f1", "mine": function}``, see
            :class:`~ignite_recipes.MetricSet`. ``loss_fn`` must give ``"outputs"`` and ``"targets"`` too; a trainer
            with the same function leaves them out of its losses.
        enable_grad: for a loss that is made of derivatives, e.g. a gradient penalty or the residual of a differential
            equation: ``torch.autograd.grad`` works in ``loss_fn``. The weights get no gradients.

    >>> from ignite_recipes import EpochAverages
    >>> evaluator = create_evaluator(nn.Identity(), lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> _ = EpochAverages().attach(evaluator)
    >>> evaluator.run([torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0])]).metrics
    {'loss': 7.0}

    >>> def loss_fn(model, inputs, batch):
    ...     outputs, targets = model(inputs), batch[1]
    ...     return {"loss": (outputs - targets).square().mean(), "outputs": outputs, "targets": targets}
    >>> x, y = torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0.0, 1.0, 3.5])
    >>> evaluator = create_evaluator(nn.Identity(), loss_fn, metrics=["mae", "r2"])
    >>> {name: round(value, 3) for name, value in evaluator.run([(x[:2], y[:2]), (x[2:], y[2:])]).metrics.items()}
    {'mae': 0.5, 'r2': 0.654}
    """
    check_loss_function(loss_fn)
    metrics = metrics if isinstance(metrics, MetricSet) else MetricSet(metrics)
    target = as_device(device)
    join_ranks(target)
    moved = move_model(as_module(model), target)
    step = EvaluationStep(
        moved, loss_fn, target, get_inputs, batch_size, prepare_batch, compile=compile, enable_grad=enable_grad
    )
    evaluator = EvaluationEngine(step, seed=seed)
    if metrics:
        metrics.attach(evaluator)
    return evaluator

"""The training step, once for every recipe and every Engine."""

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from ignite.engine import Engine
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.compiling import WHOLE_STEP
from ignite_recipes.engine.copies import state_of_step
from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.losses import LossFunction, check_loss, check_loss_function
from ignite_recipes.engine.models import Models, as_module
from ignite_recipes.engine.optimizer_step import check_optimizer
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.updates import Updates
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.engine.whole_step import WholeStep
from ignite_recipes.exchange import exchange_of
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.loading.batches import Transfer, count_samples, first_item, to_device
from ignite_recipes.loading.randomness import derive_seed, seed_torch

__all__ = ["TrainingStep"]

logger = logging.getLogger(__name__)


class TrainingStep:
    """One batch of training, as drawn in :mod:`ignite_recipes.engine.events`; an update function for any Engine.

    ``create_trainer`` puts it into a trainer of ours. In an Engine of your own, ``Engine(TrainingStep(...))``, it does
    the same: exact accumulation, mixed precision, the events of a step, the guard. Where ``state.seed`` is None, it
    draws from torch's generators as they are.

    Arguments and what is raised as for :func:`~ignite_recipes.create_trainer`.

    Attributes:
        model, optimizer, loss_fn, device: as given; with several updates those of the first.
        updates: they process the gradients of a window of batches, :class:`~ignite_recipes.Update` by name.
        exchange: with the other ranks of the run.
        progress: where the run is.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def loss_fn(model, inputs, batch):
    ...     return {"loss": (model(inputs) - 1).square().mean()}
    >>> step = TrainingStep(model, optimizer, loss_fn, accumulation_steps=2)
    >>> engine = Engine(step)
    >>> _ = engine.run(torch.ones(12, 1).split(4), max_epochs=10)  # windows of two batches and of one
    >>> step.progress.optimizer_steps
    20
    """

    def __init__(
        self,
        model: Models,
        optimizer: Optimizer | None = None,
        loss_fn: LossFunction | None = None,
        *,
        updates: Iterable[Update] | None = None,
        device: str | torch.device | None = "cpu",
        accumulation_steps: int = 1,
        get_inputs: Callable[[Any], Any] = first_item,
        batch_size: Callable[[Any], int] = count_samples,
        prepare_batch: Transfer = to_device,
        compile: bool | str = False,
    ) -> None:
        accumulation_steps = whole_number(accumulation_steps, "accumulation_steps", "batches")
        self.device = as_device(device)
        if updates is None:
            check_optimizer(optimizer)
            check_loss_function(loss_fn)
            updates = [Update(optimizer, loss_fn, accumulation_steps=accumulation_steps)]  # type: ignore[arg-type]
        else:
            updates = _checked(updates, [optimizer, loss_fn, None if accumulation_steps == 1 else accumulation_steps])
        join_ranks(self.device)
        self.model = move_model(as_module(model), self.device)
        _check_parameters(self.model, updates)
        self.get_inputs, self.batch_size, self.prepare_batch = get_inputs, batch_size, prepare_batch
        self.compile = compile
        self.exchange = exchange_of(self.model, self.device, overlaps=len(updates) == 1)
        self.updates = Updates(updates)
        self.updates.prepare(unwrap(self.model), self.exchange, self.device, alone=len(updates) == 1)
        self.whole: WholeStep | None = WholeStep(self) if compile == WHOLE_STEP else None
        self._compile()

    @property
    def optimizer(self) -> Optimizer:
        """That of the first update."""
        return self.updates.first.optimizer

    @property
    def optimizers(self) -> dict[str, Optimizer]:
        """By the name under which a checkpoint has their state."""
        if self.updates.first.is_alone:
            return {"optimizer": self.optimizer}
        return {name: update.optimizer for name, update in self.updates.items()}

    @property
    def progress(self) -> Progress | None:
        """Where the run is; None before the step belongs to an engine."""
        return self.updates.progress

    @property
    def loss_fn(self) -> LossFunction:
        """What computes the losses of the first update; a handler may put another one in its place."""
        assert self.updates.first.loss_fn is not None
        return self.updates.first.loss_fn

    @loss_fn.setter
    def loss_fn(self, loss_fn: LossFunction) -> None:
        self.updates.first.loss_fn = loss_fn
        self._compile()

    def _compile(self) -> None:
        """Compute the losses through ``torch.compile``, if asked for."""
        self.updates.compile(self.compile, self.device)

    def loss_functions(self) -> list[LossFunction]:
        """Those of all updates."""
        return [update.loss_fn for update in self.updates.values() if update.loss_fn is not None]

    def __getstate__(self) -> dict[str, Any]:
        return state_of_step(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._compile()

    def attach(self, engine: Engine) -> "TrainingStep":
        """Give an Engine of your own the step's events; the first call does so if it was not done before.

        Call it, or attach a handler, before you add functions of your own to these events.
        """
        self.updates.attach(engine)
        return self

    def start_epoch(self, engine: Engine) -> None:
        """Begin an epoch with empty windows."""
        self.updates.start_epoch(engine, self.optimizers)
        if self.whole is not None:
            self.whole.start_epoch(self, engine)

    def __call__(self, engine: Engine, batch: Any) -> dict[str, Tensor]:
        """Train on one batch; the losses, detached, on the device."""
        state: Any = engine.state
        if self.progress is None or self.progress.state is not state:
            self.attach(engine)
            state.iteration -= 1  # the epoch began before this batch
            self.start_epoch(engine)
            state.iteration += 1
        try:
            return self._train(engine, batch, state)
        finally:
            state.inputs = state.losses = None  # frees the activations before the next forward, also after an error

    def _train(self, engine: Engine, batch: Any, state: Any) -> dict[str, Tensor]:
        updates = self.updates
        if not self.model.training:
            self.model.train()

        # The batch, on the device. One without a sample, on all ranks together, has no loss and no gradient.
        batch = self.prepare_batch(batch, self.device, True)
        part = getattr(state.dataloader, "part", None)
        by_length = self.batch_size is count_samples
        state.num_samples, share = self.exchange.count(self.batch_size(batch), part, by_length=by_length)
        if not state.num_samples:
            logger.warning("iteration %d: the batch has no sample and is passed over", state.iteration)
            updates.end_batch()
            return {}
        if self.whole is not None:  # all of what follows, as one program
            weigh = partial(updates.first.window.weigh, state.num_samples)
            if (computed := self.whole.take(self, engine, batch, weigh)) is not None:
                return computed
        state.inputs = self.get_inputs(batch)

        # Noise and augmentation.
        if engine._event_handlers[TrainEvents.INPUTS_READY]:
            self._seed(state, "inputs")
            engine._fire_event(TrainEvents.INPUTS_READY)

        # Each update, in their order.
        if updates.only is not None:
            return self._update(engine, updates.only, batch, share)
        output: dict[str, Tensor] = {}
        due = updates.due(state.iteration)
        for update in due:
            losses = updates.named(update, self._update(engine, update, batch, share))
            if same := output.keys() & losses.keys():
                raise ValueError(f"two updates have a loss named {', '.join(same)}: give one of them another name")
            output.update(losses)
        updates.end_batch()
        return output

    def _update(self, engine: Engine, update: Update, batch: Any, share: float) -> dict[str, Tensor]:
        state: Any = engine.state
        exchange, window, progress = self.exchange, update.window, self.updates.progress
        update.begin(state)
        assert progress is not None
        is_last = len(window.losses) + 1 == window.length or progress.is_last_batch

        # Forward and loss, and backward of the batch's share of its window; gradients are averaged over the ranks.
        weight = window.weigh(state.num_samples) * share * exchange.world_size
        with exchange.batch(is_last=is_last or state.epoch_length is None):
            average = self._backward(engine, update, batch, share, weight)
        output = exchange.end_average(average)
        window.losses.append(output["loss"])
        fire(engine, TrainEvents.BACKWARD_COMPLETED)

        # The optimizer's step, where the window ends.
        if is_last:
            again = partial(self._compute_again, engine, update, batch, share, weight) if update.needs_closure else None
            note = progress.note_update if update.is_alone else self.updates.note_if_last
            update.take(engine, note=note, compute_again=again)
        return output

    def _backward(self, engine: Engine, update: Update, batch: Any, share: float, weight: float) -> Any:
        """Gradients of a batch; the losses on their way to an average over the ranks."""
        state: Any = engine.state
        # Seeded again, so that dropout does not depend on earlier draws.
        self._seed(state, update.place)
        with update.autocast() if update.is_alone else self._watched(update):
            losses = state.losses = self.exchange.forward(update.losses, self.model, state.inputs, batch)
        loss = check_loss(losses)
        fire(engine, TrainEvents.LOSSES_READY)
        average = self.exchange.begin_average(losses, share)
        update.backward(loss, weight)
        return average

    @contextmanager
    def _watched(self, update: Update) -> Iterator[None]:
        """Where there are several updates, take notice of the buffers that this one changes."""
        assert update.statistics is not None
        with update.statistics.watching(), update.autocast():
            yield

    def _compute_again(self, engine: Engine, update: Update, batch: Any, share: float, weight: float) -> Tensor:
        """The loss of a batch once more, with its gradients, for an optimizer that needs a closure."""
        with self.exchange.batch(is_last=True):
            average = self._backward(engine, update, batch, share, weight)
        loss = self.exchange.end_average(average)["loss"]
        update.window.losses[-1] = loss
        return loss

    def repeat_forward(self, engine: Engine, update: Update) -> Mapping[str, Tensor]:
        """The losses of the current batch once more, from the same inputs and the same random numbers."""
        state: Any = engine.state
        self._seed(state, update.place)
        with update.autocast():
            batch = self.prepare_batch(state.batch, self.device, True)
            assert update.loss_fn is not None
            return update.loss_fn(unwrap(self.model), self.inputs_of(batch, state), batch)

    def inputs_of(self, batch: Any, state: Any) -> Any:
        """The inputs of the current batch; a program has computed with some that are not there any more."""
        return self.get_inputs(batch) if state.inputs is None else state.inputs

    def waiting_gradients(self) -> dict[str, Any]:
        """Between optimizer steps no gradients wait."""
        return {}

    def put_back_gradients(self, gradients: Mapping[str, Any]) -> None:
        """A step of ours begins without any."""

    def seed(self, state: Any, place: str | None = None) -> None:
        """Let torch's generators draw what belongs to a place in the current step; None is the first update's."""
        self._seed(state, self.updates.first.place if place is None else place)

    def _seed(self, state: Any, place: str) -> None:
        # Only torch is seeded again; Python and NumPy were seeded at the fetch.
        if state.seed is not None:
            seed_torch(derive_seed(state.seed, place, state.iteration, *self.exchange.key), self.device)


def _checked(updates: Iterable[Update], others: list[Any]) -> list[Update]:
    """Several updates, each with its own optimizer and loss function."""
    if any(other is not None for other in others):
        raise ValueError(
            "optimizer, loss_fn and accumulation_steps are of each update, Update(optimizer, loss_fn, name=..., "
            "accumulation_steps=...); got updates and one of these too: leave it out"
        )
    updates = list(updates) if isinstance(updates, Iterable) else [updates]
    if not updates or not all(isinstance(update, Update) and update.loss_fn is not None for update in updates):
        raise TypeError(f"updates must be at least one Update(optimizer, loss_fn, name=...); got {updates!r}")
    return updates


def _check_parameters(model: nn.Module, updates: Iterable[Update]) -> None:
    own = {id(parameter) for parameter in model.parameters()}
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("the model must have a parameter to train; got none that requires a gradient")
    for update in updates:
        if not any(id(parameter) in own for parameter in parameters_of(update.optimizer)):
            raise ValueError(
                "the optimizer must have parameters of the model; got another model's: make it for this one"
            )

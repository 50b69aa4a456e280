"""The training step, once for every recipe and every Engine."""

import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.compiling import compiled
from ignite_recipes.engine.copies import state_of_step
from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.losses import LossFunction, check_loss, check_loss_function
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.statistics import RunningStatistics
from ignite_recipes.engine.unfired import STEP_EVENTS, say_unfired
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import unwrap
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

    Args:
        model: moved to ``device``.
        optimizer: any torch optimizer of the model's parameters.
        loss_fn: ``loss_fn(model, inputs, batch) -> {"loss": total, ...}``, 0-d tensors.
        device: None or ``"auto"`` is the best one there is.
        accumulation_steps: batches per optimizer step.
        get_inputs: makes the model's inputs of a batch; by default a tuple's or list's first item.
        batch_size: counts the samples of a batch; by default the length of its first tensor.
        prepare_batch: ``prepare_batch(batch, device, non_blocking)`` gives the batch on the device, as in Ignite; by
            default every tensor in it is moved, and whatever has a ``to`` of its own.
        compile: compute the losses through ``torch.compile``: True, or one of its modes.

    Attributes:
        model, optimizer, loss_fn, device: as given.
        losses: ``loss_fn``, compiled if asked for.
        exchange: with the other ranks of the run.
        statistics: the model's buffers before the current window, e.g. batch norm's.
        update: what is done with the gradients of a window of batches, :class:`~ignite_recipes.engine.update.Update`.
        progress: where the run is.

    Raises:
        ValueError: if ``accumulation_steps`` is below 1, the model has nothing to train, or there is no such device.
        TypeError: for a model, optimizer or loss function of another kind.

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
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFunction,
        *,
        device: str | torch.device | None = "cpu",
        accumulation_steps: int = 1,
        get_inputs: Callable[[Any], Any] = first_item,
        batch_size: Callable[[Any], int] = count_samples,
        prepare_batch: Transfer = to_device,
        compile: bool | str = False,
    ) -> None:
        accumulation_steps = whole_number(accumulation_steps, "accumulation_steps", "batches")
        self.device = as_device(device)
        _check_optimizer(optimizer)
        check_loss_function(loss_fn)
        join_ranks(self.device)
        self.model, self.optimizer = move_model(model, self.device), optimizer
        _check_parameters(model, optimizer)
        self.get_inputs, self.batch_size, self.prepare_batch = get_inputs, batch_size, prepare_batch
        self.compile = compile
        self.loss_fn = loss_fn
        self.exchange = exchange_of(self.model, self.device)
        self.update = Update(optimizer, accumulation_steps, self.device)
        self.statistics = RunningStatistics(unwrap(self.model))
        self.progress: Progress | None = None
        self._begun = 0  # the last iteration whose batch was begun

    @property
    def loss_fn(self) -> LossFunction:
        """What computes the losses; a handler may put another one in its place."""
        return self._loss_fn

    @loss_fn.setter
    def loss_fn(self, loss_fn: LossFunction) -> None:
        self._loss_fn, self.losses = loss_fn, compiled(loss_fn, self.compile, self.device)

    def __getstate__(self) -> dict[str, Any]:
        return state_of_step(self)

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self.loss_fn = state["_loss_fn"]

    def attach(self, engine: Engine) -> "TrainingStep":
        """Give an Engine of your own the step's events; the first call does so if it was not done before.

        Call it, or attach a handler, before you add functions of your own to these events.
        """
        known = set(engine._allowed_events)
        engine.register_events(*(event for event in TrainEvents if event not in known))
        self.progress = Progress(engine.state)
        engine.add_event_handler(Events.STARTED, self._start_run)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish_window)
        say_unfired(engine, sure=STEP_EVENTS)
        return self

    def _start_run(self, engine: Engine) -> None:
        if engine.state.iteration == 0 and self.progress is not None:  # Ignite starts anew
            self.progress.restart()

    def start_epoch(self, engine: Engine) -> None:
        """Begin an epoch with an empty window."""
        assert self.progress is not None
        self.abandon()  # what a failure in an Engine of the user's own has left
        self.progress.start_epoch(float(self.optimizer.param_groups[0]["lr"]))
        self.statistics.find()

    def __call__(self, engine: Engine, batch: Any) -> dict[str, Tensor]:
        """Train on one batch; the losses, detached, on the device."""
        state: Any = engine.state
        if self.progress is None or self.progress.state is not state:
            self.attach(engine)
            state.iteration -= 1  # the epoch began before this batch
            self.start_epoch(engine)
            state.iteration += 1
        self._begun = state.iteration
        try:
            return self._train(engine, batch, state)
        finally:
            state.inputs = state.losses = None  # frees the activations before the next forward, also after an error

    def _train(self, engine: Engine, batch: Any, state: Any) -> dict[str, Tensor]:
        assert self.progress is not None
        model, exchange, update, window = self.model, self.exchange, self.update, self.update.window
        if not model.training:
            model.train()
        if not window.losses:
            update.zero_gradients()
            self.statistics.keep()

        # The batch, on the device. One without a sample, on all ranks together, has no loss and no gradient.
        batch = self.prepare_batch(batch, self.device, True)
        part = getattr(state.dataloader, "part", None)
        by_length = self.batch_size is count_samples
        state.num_samples, share = exchange.count(self.batch_size(batch), part, by_length=by_length)
        if not state.num_samples:
            return self._pass_over(state)
        state.inputs = self.get_inputs(batch)

        # Noise and augmentation.
        if engine._event_handlers[TrainEvents.INPUTS_READY]:
            self._seed(state, "inputs")
            engine._fire_event(TrainEvents.INPUTS_READY)

        # Forward and loss. Seeded again, so that dropout does not depend on earlier draws.
        self._seed(state, "step")
        is_last = len(window.losses) + 1 == window.length or self.progress.is_last_batch
        with exchange.batch(is_last=is_last or state.epoch_length is None):
            with update.autocast():
                losses = state.losses = exchange.forward(self.losses, model, state.inputs, batch)
            loss = check_loss(losses)
            fire(engine, TrainEvents.LOSSES_READY)

            # Backward, of the batch's share of its window; gradients are averaged over the ranks.
            average = exchange.begin_average(losses, share)
            update.backward(loss, window.weigh(state.num_samples) * share * exchange.world_size)
        output = exchange.end_average(average)
        window.losses.append(output["loss"])
        fire(engine, TrainEvents.BACKWARD_COMPLETED)

        # The optimizer's step, where the window ends.
        if is_last:
            update.take(engine, self.progress)
        return output

    def _pass_over(self, state: Any) -> dict[str, Tensor]:
        """A batch without a sample belongs to no window; one that is open at the epoch's end is finished there."""
        assert self.progress is not None
        logger.warning("iteration %d: the batch has no sample and is passed over", state.iteration)
        if not self.update.window.is_open:
            self.progress.note_update()
        return {}

    def finish_window(self, engine: Engine) -> None:
        """Take the step of a window inside which the epoch has ended: its length was unknown, or it was cut short."""
        if self.update.window.is_open:
            assert self.progress is not None
            self.exchange.finish_gradients(self.update.gradients())
            self.update.take(engine, self.progress)

    def abandon(self) -> None:
        """Forget an update that was cut short, its window, and what its batches have left in the model's buffers."""
        if self.progress is not None and self.progress.iteration < self._begun:
            self.statistics.put_back()
        self.settle()
        self.update.abandon()

    def settle(self) -> None:
        """What the buffers are now belongs to the weights."""
        self._begun = 0

    def repeat_forward(self, engine: Engine) -> Mapping[str, Tensor]:
        """The losses of the current batch once more, from the same inputs and the same random numbers."""
        state: Any = engine.state
        self._seed(state, "step")
        with self.update.autocast():
            batch = self.prepare_batch(state.batch, self.device, True)
            return self.loss_fn(unwrap(self.model), state.inputs, batch)

    def _seed(self, state: Any, place: str) -> None:
        # Only torch is seeded again; Python and NumPy were seeded at the fetch.
        if state.seed is not None:
            seed_torch(derive_seed(state.seed, place, state.iteration, *self.exchange.key), self.device)


def _check_optimizer(optimizer: Any) -> None:
    if not isinstance(optimizer, Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(f"optimizer must be a torch.optim.Optimizer made for the model's parameters; got {got}")


def _check_parameters(model: nn.Module, optimizer: Optimizer) -> None:
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("the model must have a parameter to train; got none that requires a gradient")
    if not any(id(parameter) in trained for parameter in parameters_of(optimizer)):
        raise ValueError("the optimizer must have parameters of the model; got another model's: make it for this one")

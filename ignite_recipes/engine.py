"""The trainer: runs of the training step that begin, stop, fail and go on, once for every recipe."""

import math
import weakref
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from ignite.engine import Engine, Events, State
from ignite.engine.events import RemovableEventHandle
from torch import nn
from torch.optim import Optimizer

from ignite_recipes.batches import count_samples, first_item
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.distributed import (
    are_equal,
    join_processes,
    largest,
    lost_process,
    on_first_process,
    share_buffers,
)
from ignite_recipes.environment import deterministic_algorithms
from ignite_recipes.events import TrainEvents
from ignite_recipes.keyed_engine import LossFunction
from ignite_recipes.loading import KeyedLoader
from ignite_recipes.randomness import draw_seed, preserve_generators
from ignite_recipes.training_step import SteppingEngine
from ignite_recipes.weights import WeightSwap

__all__ = ["Stateful", "TrainingEngine", "create_trainer", "keep_state", "runs_first"]


# What of the state a checkpoint holds, besides Ignite's own counters.
_COUNTERS = (
    "seed",
    "opened_epochs",
    "closed_epochs",
    "epoch_start",
    "optimizer_steps",
    "skipped_steps",
    "steps_owed",
    "learning_rate",
)


class Stateful(Protocol):
    """What a checkpoint can hold: anything with torch's ``state_dict`` and ``load_state_dict``."""

    def state_dict(self) -> Mapping[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Any, /) -> Any: ...  # noqa: D102


_Handler = TypeVar("_Handler", bound=Callable[..., Any])


def runs_first(handler: _Handler) -> _Handler:
    """Mark a function, or a method, that runs before the other handlers of its event, whenever it is attached."""
    handler.runs_first = True  # type: ignore[attr-defined]
    return handler


class TrainingEngine(SteppingEngine):
    """The trainer that :func:`create_trainer` makes: an Ignite Engine that runs our training step.

    Attributes:
        model, optimizer, loss_fn, device, compile: what it was made with.
        precision: set by ``MixedPrecisionTrainer.attach``; None is float32.
        stateful: name -> object, everything whose state a checkpoint of this run holds besides the model
            and the optimizer; handlers enter themselves when they are attached (:meth:`keep_state`).
        metadata: plain values that its checkpoints hold besides, e.g. a recipe's settings.
        veto: what a handler of OPTIMIZER_STEP_STARTED sets to drop the step: True, or a 0-d tensor on the
            device that is nonzero where the step must be dropped.
        recover: called with the trainer and an exception that ends its run; may put the run back to where it can
            go on, and return True.
        state: a :class:`~ignite_recipes.keyed_engine.TrainingState`.

    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> batches = [torch.ones(4, 2)] * 5
    >>> [trainer.run(batches, max_epochs=n).iteration for n in (2, 3, 3)]  # the second goes on, the third is at its end
    [10, 15, 15]
    """

    def __init__(self, *of_the_step: Any, deterministic: bool = False) -> None:
        super().__init__(*of_the_step)
        self.deterministic = deterministic
        self.stateful: dict[str, Stateful] = {}
        self.metadata: dict[str, Any] = {}
        self.monitored: tuple[Any, str] | None = None
        self.recover: Callable[[TrainingEngine, BaseException], bool] | None = None
        self._saved_epoch = 0
        self._loader_place: Mapping[str, Any] | None = None  # of a run that was restored inside an epoch
        self._swap = WeightSwap(self.model)
        self.state_dict_user_keys.extend(_COUNTERS)
        self.add_event_handler(Events.EPOCH_STARTED, begin_epoch)
        self.add_event_handler(Events.EPOCH_COMPLETED, finish_last_window)
        if self.processes > 1:
            self.add_event_handler(Events.EPOCH_COMPLETED, agree_on_buffers)
        self.add_event_handler(Events.EPOCH_COMPLETED, decide_and_save)
        self.add_event_handler(Events.COMPLETED, free_gradients)

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
    ) -> State:
        """Train on ``data`` until ``max_epochs``, from where the state stands.

        Unlike Ignite's: a run that has reached its end goes straight to COMPLETED instead of starting
        anew on the trained weights (``state.max_epochs = None`` asks for that), one that was stopped inside
        an epoch goes on with the next batch of that epoch, and an exception always reaches the caller, unless a
        handler can recover from it.
        """
        while True:
            try:
                self.take_back()
                return self._run(data, max_epochs, max_iters, epoch_length)
            except BaseException as error:
                self.take_back()
                if (lost := lost_process(error)) is not None:
                    raise lost from error
                if not isinstance(error, Exception) or self.recover is None or not self.recover(self, error):
                    raise

    def _run(
        self, data: Iterable[Any] | None, max_epochs: int | None, max_iters: int | None, epoch_length: int | None
    ) -> State:
        state = self.state
        if state.max_epochs is None and state.max_iters is None:  # a first run, or one that is to start anew
            state.opened_epochs = state.closed_epochs = state.epoch_start = 0
        else:
            if self.window_losses:  # stopped inside an accumulation window, whose gradients are gone
                state.iteration = self._updated_at
            state.epoch = self._epochs_behind
            self._check_same_length(data, epoch_length)
            if self._is_at_end(max_epochs or state.max_epochs, max_iters or state.max_iters):
                self._fire_event(Events.COMPLETED)
                return state
        self._updated_at = state.iteration
        try:
            with deterministic_algorithms(self.deterministic):
                return super().run(data, max_epochs, max_iters, epoch_length)
        except BaseException:
            state.iteration = self._updated_at  # what failed has changed nothing: it is still to be done
            self.window_losses = []
            if self.precision is not None:
                self.precision.abandon_step()
            raise

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """As Ignite's; the epoch is the one that was closed last, however long epochs were."""
        super().load_state_dict(state_dict)
        self.state.epoch, self._saved_epoch = self._epochs_behind, self.state.closed_epochs
        self._swap.forget()

    def hand_over(self, weights: Mapping[str, Any]) -> None:
        """Put other weights into the model, for those who look at it or get it; the trained ones are kept.

        A handler of COMPLETED decides so with which weights the model leaves the run; the last one prevails. One
        of EPOCH_COMPLETED decides on which weights the epoch is measured. The trained ones come back by
        themselves: after METRICS_READY, before an exception reaches anybody, and when the run goes on. Then they
        replace what the model holds: call :meth:`take_back` before you load weights of your own into it.

        Args:
            weights: of all names of the model's state dict.
        """
        self._swap.put_in(weights)
        share_buffers(self.model)

    def take_back(self) -> None:
        """Put the trained weights back into the model, if it holds others."""
        self._swap.take_out()

    def trained_weights(self) -> dict[str, Any]:
        """The state dict of the trained weights, also while the model holds others."""
        return self._swap.own_weights()

    def _handle_exception(self, error: BaseException) -> None:
        self.take_back()
        super()._handle_exception(error)

    def _is_at_end(self, max_epochs: int | None, max_iters: int | None) -> bool:
        """Do what was left undone at an epoch's end; whether that, or an end that is reached, ends the run."""
        state = self.state
        self.should_terminate = False
        with preserve_generators(self.device):
            if state.opened_epochs > state.closed_epochs and self.position == state.epoch_length:
                state.epoch = state.opened_epochs
                state.metrics["learning_rate"] = state.learning_rate
                self._fire_event(Events.EPOCH_COMPLETED)
            elif state.closed_epochs > self._saved_epoch:  # the last save has failed
                _save_epoch(self)
        is_last_epoch = max_epochs is not None and state.epoch == max_epochs
        return bool(self.should_terminate) or is_last_epoch or state.iteration == max_iters

    def count_from(self, epoch: int, epoch_length: int) -> None:
        """Count as if ``epoch`` epochs of so many batches were behind, for weights that come from elsewhere."""
        state = self.state
        state.epoch = state.opened_epochs = state.closed_epochs = self._saved_epoch = state.max_epochs = epoch
        state.epoch_start = state.iteration = epoch * epoch_length
        state.epoch_length = epoch_length

    @property
    def _epochs_behind(self) -> int:
        opened, closed = self.state.opened_epochs, self.state.closed_epochs
        return closed if opened == closed else opened - 1

    def loader_place(self) -> dict[str, Any] | None:
        """What a checkpoint notes of the loader, inside an epoch."""
        loader: Any = self.state.dataloader
        if not isinstance(loader, KeyedLoader) or not 0 < self.position < (self.state.epoch_length or math.inf):
            return None if self._loader_place is None else dict(self._loader_place)
        return loader.place(self.state.batch)

    def restore_loader_place(self, place: Mapping[str, Any] | None) -> None:
        """Enter the epoch at hand where the loader was then."""
        self._loader_place = place

    @property
    def can_be_cut(self) -> bool:
        """Whether a checkpoint taken now, inside an epoch, can be resumed from exactly."""
        return not self.window_losses and self.position < (self.state.epoch_length or math.inf)

    def _check_same_length(self, data: Iterable[Any] | None, epoch_length: int | None) -> None:
        length = epoch_length or (data is not None and self._get_data_length(data))
        if self.state.iteration and length and length != self.state.epoch_length:
            raise ValueError(
                f"the loader must have the {self.state.epoch_length} batches an epoch that this run began with; "
                f"got {length}: resume with the same data and batch size"
            )

    def add_event_handler(
        self, event_name: Any, handler: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> RemovableEventHandle:
        """As Ignite's; but a handler can say that it ``runs_first`` or ``saves_last`` of its event.

        An epoch is closed (metrics decided on, then saved) after all its handlers. A checkpoint holds what every
        other handler of its event has come to.
        """
        handle = super().add_event_handler(event_name, handler, *args, **kwargs)
        for handlers in self._event_handlers.values():
            handlers.sort(key=lambda entry: _place(entry[0]))
        return handle

    def keep_state(self, name: str, handler: Stateful) -> None:
        """Enter an object whose state belongs to the run. A second one of a name gets a number behind it."""
        number = 2
        unique = name
        while unique in self.stateful:
            unique, number = f"{name}_{number}", number + 1
        self.stateful[unique] = handler

    def watch(self, metric: Any, mode: str) -> None:
        """Note that a handler decides on ``metric``, which is better when it is smaller or larger (``mode``).

        Raises:
            ValueError: if another handler watches something else: a plateau schedule and early stopping that
                disagree about what is better work against each other.
        """
        if self.monitored not in (None, (metric, mode)):
            raise ValueError(
                f"every handler of a trainer must watch the same metric in the same direction; "
                f"{self.monitored} is watched already, got {(metric, mode)}"
            )
        self.monitored = (metric, mode)


_attached: "weakref.WeakSet[Any]" = weakref.WeakSet()


def keep_state(engine: Engine, name: str, handler: Any) -> None:
    """Enter the state of a handler that is being attached in a trainer of ours, and refuse a second attachment.

    Raises:
        RuntimeError: if it is attached already, to this engine or another: it would count twice, or bring one
            run's state into another.
    """
    if handler in _attached:
        raise RuntimeError(f"{handler!r} is attached to an engine already; make a new one for each attachment")
    _attached.add(handler)
    if isinstance(engine, TrainingEngine):
        engine.keep_state(name, handler)


# The trainer's own handlers: plain functions, so that describe() shows them by name.


def begin_epoch(engine: TrainingEngine) -> None:
    state = engine.state
    if state.opened_epochs < state.epoch:
        state.opened_epochs, state.epoch_start = state.epoch, state.iteration
        state.learning_rate = float(engine.optimizer.param_groups[0]["lr"])
    state.metrics["learning_rate"] = state.learning_rate
    loader: Any = state.dataloader
    if isinstance(loader, KeyedLoader):
        loader.enter(state.epoch, engine.position, engine._loader_place)
        engine._loader_place = None
    # Each epoch is a pass of its own, also where its length is not the loader's; Ignite would divide to know
    # how much of it is done, which terminate_epoch() makes wrong.
    engine._dataloader_iter, engine._init_iter = None, engine.position
    engine.begin_window()


@runs_first
def finish_last_window(engine: TrainingEngine) -> None:
    engine.finish_window()


@runs_first
def agree_on_buffers(engine: TrainingEngine) -> None:
    share_buffers(engine.model)


def decide_and_save(engine: TrainingEngine) -> None:
    engine.fire(TrainEvents.METRICS_READY)
    if largest(bool(engine.should_terminate)) and not engine.should_terminate:
        engine.terminate()  # a handler of another process has decided so
    engine.take_back()
    engine.state.closed_epochs = engine.state.epoch
    _save_epoch(engine)


@runs_first
def free_gradients(engine: TrainingEngine) -> None:
    engine.zero_gradients()  # their memory is taken by the trained weights where the model ends with others


def _place(handler: Callable[..., Any]) -> tuple[bool, bool, bool]:
    """By what the handlers of an event are sorted: False comes before True."""
    is_first, is_last = getattr(handler, "runs_first", False), getattr(handler, "saves_last", False)
    return handler is decide_and_save, is_last, not is_first


def _save_epoch(engine: TrainingEngine) -> None:
    engine.fire(TrainEvents.CHECKPOINT_READY)
    engine._saved_epoch = engine.state.epoch


def create_trainer(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFunction,
    *,
    device: str | torch.device | None = "cpu",
    seed: int | None = None,
    accumulation_steps: int = 1,
    get_inputs: Callable[[Any], Any] = first_item,
    batch_size: Callable[[Any], int] = count_samples,
    deterministic: bool = False,
    compile: bool | str = False,
) -> TrainingEngine:
    """An Ignite Engine that trains ``model`` with the step drawn in :mod:`ignite_recipes.events`.

    Attach handlers to it, then call ``run(loader, max_epochs=...)``. A bare trainer neither averages nor
    guards nor saves: every feature is a handler, and ``describe(trainer)`` prints which one runs when.

    Args:
        model: moved to ``device``.
        optimizer: any torch optimizer of the model's parameters; a fused one lets the non-finite guard
            decide on an accelerator without making the host wait.
        loss_fn: ``loss_fn(model, inputs, batch) -> {"loss": total, ...}``, 0-d tensors; ``inputs`` is what
            augmentation made of the batch, ``batch`` is clean; both are on the device.
        device: ``None`` or ``"auto"`` is the best one there is.
        seed: of everything random in the run; None draws one from torch's global generator.
        accumulation_steps: batches per optimizer step. The gradient is that of the mean over all samples of
            the window, also for a short last batch and for the short window at the end of an epoch.
        get_inputs: makes the model's inputs of a batch; by default a tuple's or list's first item.
        batch_size: counts the samples of a batch; by default the length of its first tensor.
        deterministic: run with algorithms only that give the same bits in every process
            (``deterministic_algorithms``).
        compile: compute the loss, the model included, through ``torch.compile``: True, or one of its modes, e.g.
            ``"reduce-overhead"``. The first step then takes its time; the results differ by roundings.

    Raises:
        ValueError: if ``accumulation_steps`` is below 1, the model has nothing to train, there is no such device, or
            nothing on this machine to compile with.

    >>> model = nn.Linear(1, 1, bias=False)
    >>> def loss_fn(model, inputs, batch):
    ...     x, y = batch
    ...     return {"loss": nn.functional.mse_loss(model(inputs), y)}
    >>> trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=0)
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> trainer.run([(x, 3 * x)], max_epochs=30).optimizer_steps
    30
    >>> round(model.weight.item(), 3)
    3.0
    """
    if not isinstance(accumulation_steps, int) or accumulation_steps < 1:
        raise ValueError(f"accumulation_steps must be a whole number, at least one batch; got {accumulation_steps}")
    target = as_device(device)
    if not isinstance(optimizer, Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(f"optimizer must be a torch.optim.Optimizer made for the model's parameters; got {got}")
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be called as loss_fn(model, inputs, batch); got {loss_fn!r}")
    join_processes(target)
    model = move_model(model, target)
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    if not trained:
        raise ValueError("the model must have a parameter to train; got none that requires a gradient")
    if not any(id(parameter) in trained for group in optimizer.param_groups for parameter in group["params"]):
        raise ValueError("the optimizer must have parameters of the model; got another model's: make it for this one")
    if seed is not None and not isinstance(seed, int):
        raise ValueError(f"seed must be a whole number, or None; got {seed!r}")
    seed = on_first_process(draw_seed) if seed is None else seed
    if not are_equal(hash(seed)):
        raise ValueError(f"seed must be the same in all processes, which share each batch; got {seed} in this one")
    of_the_step = (model, optimizer, loss_fn, target, seed, accumulation_steps, get_inputs, batch_size, compile)
    return TrainingEngine(*of_the_step, deterministic=deterministic)

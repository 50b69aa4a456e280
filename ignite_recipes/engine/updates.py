"""The updates of a training step, in their order, and where the run is that they are part of."""

import weakref
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.engine.compiling import compiled
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.optimizer_step import veto_lag_on
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.statistics import RunningStatistics
from ignite_recipes.engine.unfired import FIRED_BY_STEP, say_unfired
from ignite_recipes.exchange import Exchange

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["Updates", "updates_of"]


class Updates(Mapping[str, "Update"]):
    """One or more :class:`~ignite_recipes.Update`, by name.

    Attributes:
        progress: where the run is; None before they belong to an engine.
        exchange: with the other ranks; None where an update function of the user's own is alone.
        only: the only one, if it is computed with every batch.
        registered: the events that :meth:`attach` has registered.
    """

    def __init__(self, updates: Iterable["Update"] = (), exchange: Exchange | None = None) -> None:
        self._updates: dict[str, Update] = {}
        self._all: tuple[Update, ...] = ()
        self._turns: list[Update] = []  # those that have stepped with the current batch, in this order
        self._seen: tuple[Update, ...] = ()  # the same of the first batch with which the most have stepped
        self._engine: weakref.ref[Engine] | None = None
        self.only: Update | None = None
        self.registered: set[TrainEvents] = set()
        self.progress: Progress | None = None
        self.exchange = exchange
        for update in updates:
            self._enter(update)

    def _enter(self, update: "Update") -> None:
        if update.name in self._updates:
            raise ValueError(f"each update of a step must have a name of its own; got {update.name!r} twice")
        if any(update.optimizer is other.optimizer for other in self._all):
            raise ValueError(f"each update must have an optimizer of its own; got that of another for {update.name!r}")
        for other in self._all:
            self._check_apart(update, other)
        update.place = f"step {update.name}" if self._all else "step"
        self._updates[update.name], self._all = update, (*self._all, update)
        self.only = update if len(self._all) == 1 and update.every == 1 else None
        update.exchange = self.exchange

    @staticmethod
    def _check_apart(one: "Update", other: "Update") -> None:
        shared = {id(p) for p in parameters_of(one.optimizer)} & {id(p) for p in parameters_of(other.optimizer)}
        if shared and max(one.window.length, other.window.length) > 1:
            raise ValueError(
                f"updates that have parameters in common must step with every batch, because each begins with empty "
                f"gradients; got {one!r} and {other!r} with accumulation_steps above 1"
            )

    def add(self, update: "Update") -> None:
        """Enter an update of an Engine of the user's own."""
        engine = None if self._engine is None else self._engine()
        assert engine is not None
        assert self.progress is not None
        self._enter(update)
        self.bind(engine, self.progress)
        update.settle(self.progress.iteration)

    def __getitem__(self, name: str) -> "Update":
        if name not in self._updates:
            raise KeyError(f"there is no update {name!r}; there are: {', '.join(self._updates) or 'none yet'}")
        return self._updates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._updates)

    def __len__(self) -> int:
        return len(self._all)

    @property
    def first(self) -> "Update":
        """The only one of most steps."""
        return self._all[0]

    @property
    def is_open(self) -> bool:
        """Whether gradients of some batches wait for others, in one of them."""
        if self.only is not None:  # asked after every batch
            return bool(self.only.window.losses)
        return any(update.window.losses for update in self._all)

    @property
    def is_order_known(self) -> bool:
        """Whether they step in their order: an update function of the user's own is seen to step in an order."""
        return bool(self._seen) or all(update.loss_fn is not None for update in self._all)

    def in_order(self) -> list["Update"]:
        """In the order of their steps, as far as it is known."""
        return [*self._seen, *(update for update in self._all if update not in self._seen)]

    # Where they belong.

    def bind(self, engine: Engine, progress: Progress) -> None:
        """Be those of ``engine``."""
        vars(engine)["updates"], self.progress, self._engine = self, progress, weakref.ref(engine)
        for update in self._all:
            update.belong_to(engine)
            progress.counts[update.name] = update.count

    def attach(self, engine: Engine, but: Iterable[TrainEvents] = ()) -> None:
        """Give an Engine of the user's own the events of a step, ``but`` some, and follow its run."""
        known = {*engine._allowed_events, *but}
        self.registered = {event for event in TrainEvents if event not in known}
        engine.register_events(*self.registered)
        self.bind(engine, Progress(engine.state))
        engine.add_event_handler(Events.STARTED, self._start_run)
        engine.add_event_handler(Events.EPOCH_STARTED, self.start_epoch)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self.finish)
        say_unfired(engine, sure=FIRED_BY_STEP.difference(but))

    def prepare(self, model: nn.Module, exchange: Exchange, device: torch.device, *, alone: bool) -> None:
        """Let them train ``model``."""
        self.exchange = exchange
        for update in self._all:
            update.exchange, update.is_alone = exchange, alone
            update.veto_lag = veto_lag_on(device)
            update.statistics = RunningStatistics(model, among_several=not alone)

    def compile(self, compile: bool | str, device: torch.device) -> None:
        """Compute the losses through ``torch.compile``, if asked for."""
        for update in self._all:
            if update.loss_fn is not None:
                update.losses = compiled(update.loss_fn, compile, device)

    def _start_run(self, engine: Engine) -> None:
        if engine.state.iteration == 0:  # Ignite starts again
            self.restart()

    def restart(self) -> None:
        """Before the first batch of a run."""
        assert self.progress is not None
        self.progress.restart()
        self.settle()

    def start_epoch(self, engine: Engine, optimizers: Mapping[str, Optimizer] | None = None) -> None:
        """Begin an epoch with empty windows; its learning rates are those of ``optimizers``, or of the updates'."""
        assert self.progress is not None
        self.abandon()  # what a failure in an Engine of the user's own has left
        if optimizers is None:
            optimizers = {name: update.optimizer for name, update in self._updates.items()}
        self.progress.start_epoch({name: float(part.param_groups[0]["lr"]) for name, part in optimizers.items()})
        for update in self._all:
            if update.statistics is not None:
                update.statistics.find()

    # One batch.

    def due(self, iteration: int) -> list["Update"]:
        """Those that are computed with a batch; after an error only those that are not in the weights yet."""
        return [update for update in self._all if iteration % update.every == 0 and update.done < iteration]

    def named(self, update: "Update", losses: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Losses under the names that the step's output has for them: of several updates with the update's in front."""
        return losses if len(self._all) == 1 else {f"{update.name}_{name}": loss for name, loss in losses.items()}

    def note_if_last(self) -> None:
        """After an optimizer step, note that all batches are in the weights, unless another one is due."""
        assert self.progress is not None
        if len(self._all) == 1 or not self.due(self.progress.state.iteration):
            self.note_unless_open()

    def note_unless_open(self) -> None:
        """Note that all batches so far are in the weights, if no window is open."""
        assert self.progress is not None
        if not self.is_open:
            self.progress.note_update()

    def note_turn(self, update: "Update") -> None:
        """An update function of the user's own has stepped it."""
        if update not in self._turns:
            self._turns.append(update)

    def end_round(self) -> None:
        """After each update was computed once: adapt a scale that they share, unless a window has gradients of it."""
        if len(self._all) > 1:
            precisions = {
                id(update.precision): update.precision for update in self._all if update.precision is not None
            }
            for precision in precisions.values():
                precision.end_round(adapt=not self.is_open)

    def end_batch(self) -> None:
        """After a batch: note what is in the weights."""
        if len(self._turns) > len(self._seen):
            self._seen = tuple(self._turns)
        self._turns.clear()
        self.end_round()
        self.note_unless_open()

    def finish(self, engine: Engine) -> None:
        """Take the steps of windows inside which the epoch has ended: its length was unknown, or it was cut short."""
        assert self.progress is not None
        for update in self._all:
            if update.window.is_open:
                update.take(engine, note=self.note_unless_open)
        self.end_batch()

    # What was cut short.

    def abandon(self) -> None:
        """Forget what an error has cut short."""
        self._turns.clear()
        for update in self._all:
            update.abandon()

    def settle(self) -> None:
        """What the model holds now is what the run has where it is."""
        assert self.progress is not None
        for update in self._all:
            update.settle(self.progress.iteration)

    def zero_gradients(self) -> None:
        """Free all gradients, except for those that an update function of the user's own takes care of."""
        for update in self._all:
            if not update.is_observed:
                update.zero_gradients()

    def __getstate__(self) -> dict[str, object]:
        return {**vars(self), "_engine": None}


def updates_of(engine: Engine) -> Updates:
    """The updates of an engine, ours or any other; it is given the events of a step if it has none yet."""
    if "updates" not in vars(engine):
        updates = Updates()
        updates.attach(engine, but=[TrainEvents.INPUTS_READY])
        engine.add_event_handler(Events.ITERATION_COMPLETED, updates.end_batch)
    found: Updates = vars(engine)["updates"]
    return found

"""Say which handlers wait at an event of a step, or of an epoch's end, that the user's own Engine never fires."""

import logging
from collections.abc import Iterable

from ignite.engine import Engine, Events

from ignite_recipes.engine.describe import is_filtered, name_of
from ignite_recipes.engine.events import TrainEvents

__all__ = ["FIRED_BY_STEP", "say_unfired", "will_be_fired"]

logger = logging.getLogger(__name__)

_UPDATE = "to the update function add engine.fire_event(TrainEvents.{}), "
_EPOCH = "add engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.fire_event(TrainEvents.{})), "

# Where an event of a step belongs in an update function.
_IN_STEP = {
    TrainEvents.INPUTS_READY: "before the forward pass",
    TrainEvents.LOSSES_READY: "between the losses and backward()",
    TrainEvents.BACKWARD_COMPLETED: "after backward()",
    TrainEvents.GRADIENTS_READY: "between backward() and optimizer.step()",
    TrainEvents.OPTIMIZER_STEP_STARTED: "before optimizer.step()",
    TrainEvents.OPTIMIZER_STEP_COMPLETED: "after an optimizer.step() that was taken; if it is there already, "
    "every step of the epoch was dropped",
}
# And an event of an epoch's end among the handlers of EPOCH_COMPLETED. The others need not come in every epoch.
_AT_END = {
    TrainEvents.EPOCH_TRAINED: "before what measures",
    TrainEvents.METRICS_READY: "after what measures",
    TrainEvents.EPOCH_DECIDED: "after what decides",
    TrainEvents.CHECKPOINT_READY: "after what decides",
}
_PLACES = {**_IN_STEP, **_AT_END}

FIRED_BY_STEP = frozenset(_IN_STEP)
"""What a step of ours fires in every epoch."""


def say_unfired(engine: Engine, sure: Iterable[TrainEvents] = ()) -> None:
    """Let a warning say at the end of an epoch which event with handlers it has not fired, once for each event.

    Args:
        engine: the user's own; a second call changes nothing.
        sure: events that are known to be fired, which are not looked at.

    >>> import sys
    >>> shown = logging.StreamHandler(sys.stdout)
    >>> logger.addHandler(shown)
    >>> engine = Engine(lambda engine, batch: None)
    >>> engine.register_events(*TrainEvents)
    >>> _ = engine.add_event_handler(TrainEvents.GRADIENTS_READY, print, "clip")
    >>> say_unfired(engine)
    >>> _ = engine.run([0], max_epochs=2)
    epoch 1 has not fired GRADIENTS_READY, at which print waits: to the update function add
    engine.fire_event(TrainEvents.GRADIENTS_READY), between backward() and optimizer.step()
    >>> logger.removeHandler(shown)
    """
    watch = _watch_of(engine)
    if watch is None:
        watch = _Watch()
        engine.add_event_handler(Events.EPOCH_STARTED, watch)
    watch.known.update(sure)


def will_be_fired(engine: Engine, events: Iterable[TrainEvents]) -> None:
    """Let nobody be warned of these events, which an engine that has become a trainer fires itself from now on."""
    watch = _watch_of(engine)
    if watch is not None:
        watch.known.update(events)


def _watch_of(engine: Engine) -> "_Watch | None":
    watches = (entry[0] for entry in engine._event_handlers[Events.EPOCH_STARTED])
    return next((handler for handler in watches if isinstance(handler, _Watch)), None)


class _Watch:
    """Note in an epoch which events come, by a handler that is removed when its event has come.

    Attributes:
        known: events that have come, or that were said not to.
    """

    def __init__(self) -> None:
        self.known: set[TrainEvents] = set()
        self._awaited: set[TrainEvents] = set()

    def __repr__(self) -> str:
        return "say which events never come"

    def __call__(self, engine: Engine) -> None:
        """Wait for each event that has handlers and is not known yet."""
        for event in _PLACES:
            if event not in self.known | self._awaited and _waiting(engine, event):
                if not self._awaited:  # as the last handler: one before it may fire events of an epoch's end
                    engine.add_event_handler(Events.EPOCH_COMPLETED, self._say)
                self._awaited.add(event)
                engine.add_event_handler(event, self._note, event)

    def _note(self, engine: Engine, event: TrainEvents) -> None:
        self._awaited.discard(event)
        self.known.add(event)
        engine.remove_event_handler(self._note, event)
        if not self._awaited and engine.has_event_handler(self._say, Events.EPOCH_COMPLETED):
            engine.remove_event_handler(self._say, Events.EPOCH_COMPLETED)

    def _say(self, engine: Engine) -> None:
        for event in [event for event in _PLACES if event in self._awaited]:
            self._note(engine, event)
            handlers = ", ".join(_waiting(engine, event))
            if handlers:  # none where they were removed inside the epoch
                line = (_UPDATE if event in FIRED_BY_STEP else _EPOCH).format(event.name)
                logger.warning(
                    "epoch %d has not fired %s, at which %s waits: %s%s",
                    engine.state.epoch,
                    event.name,
                    handlers,
                    line,
                    _PLACES[event],
                )


def _waiting(engine: Engine, event: TrainEvents) -> list[str]:
    """The handlers of every occurrence of an event, by name."""
    handlers = [entry[0] for entry in engine._event_handlers.get(event, ())]
    return [name_of(handler) for handler in handlers if not is_filtered(handler)]

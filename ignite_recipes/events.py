"""The training step, drawn, with each event at its place.

One run, top to bottom. ``Events`` are Ignite's own, ``TrainEvents`` are ours; what stands beside an event
is what runs there by convention. :func:`~ignite_recipes.describe` prints this drawing with the handlers
of a given engine.

::

    STARTED
      EPOCH_STARTED
        GET_BATCH_STARTED
        GET_BATCH_COMPLETED
        ITERATION_STARTED               the batch, on the host, as the loader gave it
          (batch to the device)
          INPUTS_READY                  noise and augmentation: rewrite state.inputs
          (forward and loss, under autocast)
          LOSSES_READY                  state.losses, attached to the graph
          (backward)
          BACKWARD_COMPLETED            gradients, still scaled under float16: look, don't touch
        (the rest of the step only where an accumulation window ends)
          (unscale, average over the window)
          GRADIENTS_READY               clip, add noise, monitor
          OPTIMIZER_STEP_STARTED        last look before the weights change: the non-finite guard may veto
          (optimizer step, unless vetoed or overflown)
          OPTIMIZER_STEP_COMPLETED      once for each step really taken: per-step schedules, weight averages
          OPTIMIZER_STEP_SKIPPED        once for each step dropped
        ITERATION_COMPLETED             state.output: the losses, detached, on the device; last, saves inside epochs
      EPOCH_COMPLETED                   measure: epoch averages, validation, your own metrics; with averaged weights
                                        in the model, if there are, until METRICS_READY is over
        METRICS_READY                   decide, on state.metrics: schedules, early stopping, history
        CHECKPOINT_READY                save, after every decision of the epoch
    TERMINATE
    COMPLETED                           the gradients are freed; best weights come back

METRICS_READY and CHECKPOINT_READY are fired by the trainer itself after the last EPOCH_COMPLETED handler,
whenever that was attached: nothing can be measured too late to be decided on, or decided too late to be saved.
"""

import sys
from collections.abc import Callable
from typing import Any, TextIO

from ignite.engine import Engine, EventEnum, Events, State

__all__ = ["DRAWING", "TrainEvents", "describe", "require_event"]


class TrainEvents(EventEnum):
    """The moments of a training step and of an epoch's end that Ignite has no event for.

    A user's own Engine registers those that it fires, and fires them in its update function:

    >>> def update(engine, batch):
    ...     engine.fire_event(TrainEvents.GRADIENTS_READY)  # between backward() and step()
    >>> engine = Engine(update)
    >>> engine.register_events(TrainEvents.GRADIENTS_READY)
    >>> @engine.on(TrainEvents.GRADIENTS_READY(every=2))
    ... def look(engine):
    ...     print("gradients of iteration", engine.state.iteration)
    >>> _ = engine.run([0, 1, 2, 3])
    gradients of iteration 2
    gradients of iteration 4
    """

    INPUTS_READY = "inputs_ready"
    LOSSES_READY = "losses_ready"
    BACKWARD_COMPLETED = "backward_completed"
    GRADIENTS_READY = "gradients_ready"
    OPTIMIZER_STEP_STARTED = "optimizer_step_started"
    OPTIMIZER_STEP_COMPLETED = "optimizer_step_completed"
    OPTIMIZER_STEP_SKIPPED = "optimizer_step_skipped"
    METRICS_READY = "metrics_ready"
    CHECKPOINT_READY = "checkpoint_ready"


_EPOCH_EVENTS = (TrainEvents.METRICS_READY, TrainEvents.CHECKPOINT_READY)

# Ignite keeps this map on the class, for every engine: filters (every=2) and loggers look the counter up here.
State.event_to_attr.update({event: "epoch" if event in _EPOCH_EVENTS else "iteration" for event in TrainEvents})

# (event, depth) in the order of the drawing above; the rare events of Ignite stand where they can occur.
DRAWING: tuple[tuple[EventEnum, int], ...] = (
    (Events.STARTED, 0),
    (Events.EPOCH_STARTED, 1),
    (Events.GET_BATCH_STARTED, 2),
    (Events.DATALOADER_STOP_ITERATION, 2),
    (Events.GET_BATCH_COMPLETED, 2),
    (Events.ITERATION_STARTED, 2),
    (TrainEvents.INPUTS_READY, 3),
    (TrainEvents.LOSSES_READY, 3),
    (TrainEvents.BACKWARD_COMPLETED, 3),
    (TrainEvents.GRADIENTS_READY, 3),
    (TrainEvents.OPTIMIZER_STEP_STARTED, 3),
    (TrainEvents.OPTIMIZER_STEP_COMPLETED, 3),
    (TrainEvents.OPTIMIZER_STEP_SKIPPED, 3),
    (Events.ITERATION_COMPLETED, 2),
    (Events.TERMINATE_SINGLE_EPOCH, 1),
    (Events.EPOCH_COMPLETED, 1),
    (TrainEvents.METRICS_READY, 2),
    (TrainEvents.CHECKPOINT_READY, 2),
    (Events.INTERRUPT, 0),
    (Events.EXCEPTION_RAISED, 0),
    (Events.TERMINATE, 0),
    (Events.COMPLETED, 0),
)


def require_event(engine: Engine, event: Any, handler: object, remedy: str) -> None:
    """Refuse to attach ``handler`` to an engine that will never fire ``event``.

    Raises:
        RuntimeError: naming the handler, the event and the ``remedy``, a sentence that says what to do by hand.
    """
    if event not in engine._allowed_events:
        raise RuntimeError(
            f"{type(handler).__name__} runs at {event.name}, which this engine does not fire. If its update "
            f"function fires it, say so with engine.register_events(TrainEvents.{event.name}); otherwise {remedy}"
        )


def describe(engine: Engine, file: TextIO | None = None) -> None:
    """Print which handler runs at which event, in the order of the drawing above.

    Args:
        engine: any Ignite engine; events of its own that the drawing lacks come last.
        file: where to; standard output by default.

    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = trainer.add_event_handler(Events.STARTED, print, "go")
    >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), print, "two more epochs")
    >>> describe(trainer)
    STARTED                         print
      EPOCH_COMPLETED               print, on some only
    """
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be an Ignite engine, e.g. of create_trainer(...); got {type(engine).__name__}")
    drawn = {event for event, _ in DRAWING}
    others = [(event, 0) for event in engine._event_handlers if event not in drawn]
    for event, depth in (*DRAWING, *others):
        left = "  " * depth + getattr(event, "name", str(event))
        for handler, _, _ in engine._event_handlers.get(event, ()):
            print(f"{left:<32}{_name(handler)}", file=file or sys.stdout)
            left = ""


def _name(handler: Callable[..., Any]) -> str:
    """What a reader knows a handler by: an object's own repr, or the name of a function or method."""
    filtered = getattr(handler, "_parent", None)  # Ignite wraps a handler of every=, once= and the like
    if filtered is not None:
        return f"{_name(filtered())}, on some only"
    owner = getattr(handler, "__self__", None)
    if owner is not None and not isinstance(owner, type(sys)) and "__repr__" in _defined_by(type(owner)):
        return repr(owner)
    return getattr(handler, "__qualname__" if owner is not None else "__name__", None) or repr(handler)


def _defined_by(kind: type) -> set[str]:
    """What a class and its bases define, but for ``object``."""
    return {name for base in kind.__mro__[:-1] for name in vars(base)}

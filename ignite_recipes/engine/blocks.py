"""What handlers of events between two steps need of a block of steps that is computed at once."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.programs.function import Places

__all__ = [
    "AFTER_STEP",
    "BEFORE_STEP",
    "MOST_STEPS",
    "Outcome",
    "after_block",
    "batches_until_needed",
    "is_called_for_each",
    "looks_at_batch",
    "needs_each_step",
    "with_numbers_only",
]

MOST_STEPS = 256
"""The most batches of a block: a signal waits for its end."""

Handler = TypeVar("Handler", bound=Callable[..., Any])

BEFORE_STEP = (Events.GET_BATCH_STARTED, Events.GET_BATCH_COMPLETED, Events.ITERATION_STARTED)
AFTER_STEP = (
    TrainEvents.OPTIMIZER_STEP_COMPLETED,
    TrainEvents.OPTIMIZER_STEP_SKIPPED,
    Events.ITERATION_COMPLETED,
    TrainEvents.DECISION_POINT,
    TrainEvents.RESUME_POINT,
)
"""Events of a step at which a handler may do what it likes."""

_NUMBERS, _BLOCK, _BATCH = "numbers", "block", "batch"


@dataclass
class Outcome:
    """What the steps of a block have come to.

    Attributes:
        places: where is what in the outputs.
        outputs: (count,) of all that the program of a step gives; only the last step can have been dropped.
        losses: (count * the batches of a step,) of each.
        refused: why the steps cannot be computed at once; None if they were.
        error: what has ended the block.
    """

    places: Places = field(default_factory=Places)
    outputs: Sequence[Tensor] = ()
    losses: Mapping[str, Tensor] = field(default_factory=dict)
    refused: str | None = None
    error: BaseException | None = None

    @property
    def count(self) -> int:
        """The number of the steps."""
        return len(self.outputs[0]) if self.outputs else 0

    @classmethod
    def of(cls, outputs: Sequence[Tensor], places: Places) -> "Outcome":
        """Steps of one batch each, up to the first one that was dropped; ``outputs`` are (count,)."""
        if places.drop is not None:
            dropped = outputs[places.drop].nonzero()
            if len(dropped):
                outputs = [column[: int(dropped[0]) + 1] for column in outputs]
        return cls(places, outputs, dict(zip(places.names, outputs, strict=False)))


def with_numbers_only(handler: Handler) -> Handler:
    """Mark a handler that looks at losses, counts and rates, and not at weights, batches or a checkpoint's place.

    Of a block it is called for each step in turn, when all of them are computed.
    """
    vars(handler)["in_block"] = _NUMBERS
    return handler


def after_block(handler: Handler) -> Handler:
    """Mark a handler that need not be called after each step: of a block it is called after the last one.

    An object with a method ``batches_until_needed(engine)`` says how long the block may be: up to the step that has
    the last of these batches.
    """
    vars(handler)["in_block"] = _BLOCK
    return handler


def looks_at_batch(handler: Handler) -> Handler:
    """Mark a handler of ITERATION_STARTED that looks at ``state.batch``, and at nothing else of the step.

    Before a block it is called once, with the rows of all its batches as one batch.
    """
    vars(handler)["in_block"] = _BATCH
    return handler


def _mark(handler: Any) -> str | None:
    function = handler if hasattr(handler, "__name__") else type(handler).__call__
    return getattr(function, "in_block", None)


def needs_each_step(handler: Any) -> bool:
    """Whether blocks must be of one step, because a handler says nothing about them."""
    return _mark(handler) is None


def is_called_for_each(handler: Any) -> bool:
    """Whether a handler is called for every step of a block; otherwise for its last one."""
    return _mark(handler) == _NUMBERS


def batches_until_needed(handler: Any, engine: Engine) -> int | None:
    """How many batches a block may have for the sake of a handler that does not need each step; None is any number."""
    say = getattr(getattr(handler, "__self__", handler), "batches_until_needed", None)
    return None if say is None else int(say(engine))

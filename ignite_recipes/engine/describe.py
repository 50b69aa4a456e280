"""Print which handler of an engine runs at which event."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from types import FunctionType
from typing import Any, TextIO

from ignite.engine import Engine

from ignite_recipes.engine.events import DRAWING, STEP_EVENTS

__all__ = ["describe", "is_filtered", "name_of"]

_ORDER_TO_COME = "(in the order in which they were named; after the first batch in that of their steps)"


def describe(engine: Any, file: TextIO | None = None) -> None:
    """Print which handler runs at which event, in the order of the drawing in :mod:`ignite_recipes.engine.events`.

    Several updates stand in the order in which they step. In which order an update function of your own steps them is
    seen in its first batch; before it a line says so.

    Args:
        engine: any Ignite engine, or an object with one, e.g. the classification ``Trainer``; its own events that the
            drawing lacks come last.
        file: the file to print to; by default standard output.

    >>> from ignite.engine import Events
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = trainer.add_event_handler(Events.STARTED, print, "go")
    >>> _ = trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), print, "two more epochs")
    >>> describe(trainer)
    STARTED                         print
      EPOCH_COMPLETED               print, on some only
    """
    engine = engine if isinstance(engine, Engine) else getattr(engine, "engine", engine)
    if not isinstance(engine, Engine):
        raise TypeError(f"engine must be an Ignite engine, e.g. of create_trainer(...); got {type(engine).__name__}")
    drawn = {event for event, _ in DRAWING}
    others = [(event, 0) for event in engine._event_handlers if event not in drawn]
    updates: Any = vars(engine).get("updates")
    for event, depth, update in _in_order((*DRAWING, *others), [] if updates is None else updates.in_order()):
        if event is None:
            if not updates.is_order_known and update is updates.first:
                print("  " * depth + _ORDER_TO_COME, file=file or sys.stdout)
            print("  " * depth + repr(update), file=file or sys.stdout)
            continue
        left = "  " * depth + getattr(event, "name", str(event))
        for handler, _, _ in engine._event_handlers.get(event, ()):
            if update is None or getattr(handler, "of_update", update.name) == update.name:
                print(f"{left:<32}{name_of(handler)}", file=file or sys.stdout)
                left = ""


def _in_order(drawing: Iterable[tuple[Any, int]], updates: Sequence[Any]) -> Iterator[tuple[Any, int, Any]]:
    """(event, depth, update): the events of an update stand once for each of several, each with a line of its own."""
    several = updates if len(updates) > 1 else []
    of_one = [(event, depth) for event, depth in drawing if event in STEP_EVENTS]
    for event, depth in drawing:
        if not several or event not in STEP_EVENTS:
            yield event, depth, None
        elif event is of_one[0][0]:
            for update in several:
                yield None, depth - 1, update
                yield from ((inner, inner_depth, update) for inner, inner_depth in of_one)


def is_filtered(handler: Callable[..., Any]) -> bool:
    """Whether it runs at some occurrences of its event only: Ignite wraps a handler of every=, once= and the like."""
    return isinstance(handler, FunctionType) and hasattr(handler, "_parent")


def name_of(handler: Callable[..., Any]) -> str:
    """What a reader knows a handler by: an object's own repr, or the name of a function or method."""
    if is_filtered(handler):
        return f"{name_of(handler._parent())}, on some only"  # type: ignore[attr-defined]
    owner = getattr(handler, "__self__", None)
    if owner is not None and not isinstance(owner, type(sys)) and "__repr__" in _defined_by(type(owner)):
        return repr(owner)
    named = getattr(handler, "__qualname__" if owner is not None else "__name__", None)
    return named or (repr(handler) if "__repr__" in _defined_by(type(handler)) else type(handler).__name__)


def _defined_by(kind: type) -> set[str]:
    """What a class and its bases define, but for ``object``."""
    return {name for base in kind.__mro__[:-1] for name in vars(base)}

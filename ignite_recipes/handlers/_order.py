"""On an Engine of the user's own, what measures an epoch must be attached before what decides on it."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events
from ignite.metrics import Metric

__all__ = ["MeasuresFirst"]


class MeasuresFirst:
    """Refuse to start where a metric of Ignite's would be computed after a handler that reads it.

    Ours are refused when they are attached; Ignite's attach themselves, so it is seen when the run starts.

    Attributes:
        deciding: the handlers of EPOCH_COMPLETED that decide on metrics, or record them.
    """

    def __init__(self) -> None:
        self.deciding: list[Callable[..., Any]] = []

    def __repr__(self) -> str:
        return "check that metrics are computed before they are read"

    def __call__(self, engine: Engine) -> None:
        """Raise RuntimeError, naming both and the order that works."""
        reader = None
        for handler, *_ in engine._event_handlers[Events.EPOCH_COMPLETED]:
            owner = getattr(handler, "__self__", None)
            if any(handler is other for other in self.deciding):
                reader = reader or handler
            elif reader is not None and isinstance(owner, Metric):
                raise RuntimeError(
                    f"{type(owner).__name__} must be attached before {reader!r}: on an engine of your own they run at "
                    "EPOCH_COMPLETED in the order of their attachment, and the metric would be read before it is "
                    f"computed. Attach {type(owner).__name__} first, then {reader!r}"
                )

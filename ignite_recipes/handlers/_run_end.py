"""The end of a run: metrics that never came are logged, and failures reach the handlers that wait for them."""

import logging
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

__all__ = ["Failures", "MissingMetrics"]

logger = logging.getLogger(__name__)


class MissingMetrics:
    """Say when a run ends which metrics have never come, once for each.

    Attributes:
        names: the names of the metrics for which a handler still waits.
    """

    def __init__(self) -> None:
        self.names: dict[object, list[str]] = {}
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return "say which metrics never came"

    def __call__(self, engine: Engine) -> None:
        waiting: dict[str, list[str]] = {}
        for handler, names in self.names.items():
            for name in names:
                waiting.setdefault(name, []).append(repr(handler))
        known = ", ".join(sorted(engine.state.metrics)) or "none"
        for name, handlers in waiting.items():
            if name not in self._said:
                self._said.add(name)
                logger.warning(
                    "the metric %r, for which %s waits, never came when it was asked for; there are: %s. Attach what "
                    "computes it (Validation, EpochAverages) to this engine, or name another metric",
                    name,
                    ", ".join(handlers),
                    known,
                )


class Failures:
    """What is to be told of a failure on an Engine that is not ours.

    Ignite treats an exception as handled when a handler returns, so it is raised again if no other handler exists.
    """

    def __init__(self) -> None:
        self.handlers: list[Callable[..., Any]] = []
        self._told: BaseException | None = None

    def __repr__(self) -> str:
        return f"tell {len(self.handlers)} handlers, and raise it again"

    def __call__(self, engine: Engine, error: BaseException) -> None:
        if self._told is not error:  # Ignite calls a handler that raises a second time
            self._told = error
            for handler in self.handlers:
                handler(engine, error)
        if len(engine._event_handlers[Events.EXCEPTION_RAISED]) == 1:
            raise error

"""Warn once of what many runs, or the members of an ensemble, find alike."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = ["said_once", "warn"]

_said: ContextVar[set[str] | None] = ContextVar("said", default=None)


@contextmanager
def said_once(said: set[str]) -> Iterator[None]:
    """Let :func:`warn` in the block, in this thread only, warn of nothing that is in ``said``, and add what it says.

    >>> logger = logging.getLogger("ignite_recipes.example")
    >>> said: set[str] = set()
    >>> for member in range(2):
    ...     with said_once(said):
    ...         warn(logger, "1 row has no target")
    >>> said
    {'1 row has no target'}
    """
    token = _said.set(said)
    try:
        yield
    finally:
        _said.reset(token)


def warn(logger: logging.Logger, line: str) -> None:
    """Log a warning; where it was said before, as information, such that each run's own log has it."""
    said = _said.get()
    is_new = said is None or line not in said
    if said is not None:
        said.add(line)
    logger.log(logging.WARNING if is_new else logging.INFO, "%s", line)

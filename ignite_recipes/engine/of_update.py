"""A handler of one update's events, where a step has several updates."""

import inspect
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine

from ignite_recipes.engine.describe import name_of

__all__ = ["OfUpdate"]


class OfUpdate:
    """Call a handler at the events of one update, and not at those of the others.

    Args:
        name: the name of the update.
        handler: called with the engine, if it takes an argument, and with what it was attached with.

    >>> engine = Engine(lambda engine, batch: None)
    >>> engine.state.update = None
    >>> clip = OfUpdate("critic", lambda: print("clip"))
    >>> clip(engine)
    """

    def __init__(self, name: str, handler: Callable[..., Any]) -> None:
        self.of_update, self.handler = name, handler
        self._takes_engine = bool(inspect.signature(handler).parameters)

    def __repr__(self) -> str:
        return f"{name_of(self.handler)} of {self.of_update}"

    def __call__(self, engine: Engine, *args: Any) -> None:
        """Call the handler, if the current update is its own."""
        if getattr(getattr(engine.state, "update", None), "name", None) == self.of_update:
            self.handler(*((engine,) if self._takes_engine else ()), *args)

"""Classes and functions by name, for a command's options and for what users add of their own."""

import difflib
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

__all__ = ["Registry"]

T = TypeVar("T")
F = TypeVar("F", bound=Callable[..., Any])


class Registry(Generic[T]):
    """A table from names to the classes or functions that make something of one kind.

    Args:
        kind: what they make, in the words of an error: "data set", "model".
        on_create: called with everything that is made, the name and the settings it was made with.

    Attributes:
        otherwise: asked for what is not a name: what makes something of it, or None.

    >>> shapes = Registry("shape")
    >>> @shapes.register("square")
    ... def square(side=1):
    ...     return [(0, 0), (side, side)]
    >>> shapes.names(), "square" in shapes, shapes.create("square", side=2)
    (('square',), True, [(0, 0), (2, 2)])
    >>> shapes.create("sqare")
    Traceback (most recent call last):
    ValueError: the shape must be one of square; got 'sqare': did you mean 'square'?
    """

    def __init__(self, kind: str, on_create: Callable[[T, str, Mapping[str, Any]], None] | None = None) -> None:
        self.kind, self._on_create = kind, on_create
        self._entries: dict[str, Callable[..., T]] = {}
        self.otherwise: Callable[[str], Callable[..., T] | None] | None = None

    def register(self, name: str) -> Callable[[F], F]:
        """A decorator that enters a class or function under ``name`` and hands it back as it is.

        In a notebook or an interactive session, where a cell is run again, a new definition takes the place
        of the one of the same name from the same cell.

        Raises:
            TypeError: if ``name`` is not a string, or what it names cannot be called.
            ValueError: if ``name`` is empty, or taken by another class or function.
        """
        if not isinstance(name, str):
            raise TypeError(f'register takes a name; got {name!r}: write @register("name") above the definition')
        if not name.strip():
            raise ValueError(f"the name of a {self.kind} must not be empty; got {name!r}")

        def enter(entry: F) -> F:
            if not callable(entry):
                raise TypeError(f"a {self.kind} must be a class or a function that makes one; got {entry!r}")
            taken = self._entries.get(name)
            if taken is not None and taken is not entry and not _is_run_again(taken, entry):
                raise ValueError(f"{self.kind} {name!r} is taken, by {taken!r}: choose another name")
            self._entries[name] = entry
            return entry

        return enter

    def get(self, name: str) -> Callable[..., T]:
        """The class or function under ``name``.

        Raises:
            ValueError: if there is none; the message lists those that there are.
        """
        if name in self:
            return self._entries[name]
        if self.otherwise is not None and isinstance(name, str) and (entry := self.otherwise(name)) is not None:
            return entry
        known = ", ".join(self.names()) or "none yet"
        close = difflib.get_close_matches(str(name), self.names(), n=1)
        guess = f"did you mean {close[0]!r}?" if close else 'enter your own with @register("name")'
        path = "" if self.otherwise is None else ", or give the path of a folder; there is none of this name"
        raise ValueError(f"the {self.kind} must be one of {known}; got {name!r}: {guess}{path}")

    def create(self, name: str, /, **settings: Any) -> T:
        """What the class or function under ``name`` makes of these settings.

        Raises:
            ValueError: if there is no such name.
            TypeError: if it does not take these settings; the message lists those that it takes.
        """
        entry = self.get(name)
        self._check(name, entry, settings)
        made = entry(**settings)
        if self._on_create is not None:
            self._on_create(made, name, settings)
        return made

    def names(self) -> tuple[str, ...]:
        """All names, sorted."""
        return tuple(sorted(self._entries))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._entries

    def _check(self, name: str, entry: Callable[..., T], settings: Mapping[str, Any]) -> None:
        """Checked before the call, so that a TypeError from within the entry keeps its own words."""
        try:
            signature = inspect.signature(entry)
        except ValueError:  # of some built-in types; the call itself will tell
            return
        try:
            signature.bind(**settings)
        except TypeError as error:
            takes = ", ".join(str(each) for each in signature.parameters.values()) or "none"
            raise TypeError(f"{self.kind} {name!r} takes these settings: {takes}; {error}") from None


def _is_run_again(taken: Any, entry: Any) -> bool:
    """Whether both come from one place of a notebook or an interactive session."""
    places = [(getattr(each, "__module__", None), getattr(each, "__qualname__", None)) for each in (taken, entry)]
    return places[0] == places[1] and places[0][0] == "__main__"

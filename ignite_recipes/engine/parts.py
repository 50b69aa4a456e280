"""Everything of a run that has a state of its own, by name."""

import weakref
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from ignite.engine import Engine

from ignite_recipes.engine.foreign import as_part, original

__all__ = ["Parts", "Stateful", "check_free", "check_stateful", "forget_state", "keep_state", "parts_of"]


class Stateful(Protocol):
    """What a checkpoint can hold: anything with torch's ``state_dict`` and ``load_state_dict``."""

    def state_dict(self) -> Mapping[str, Any]: ...  # noqa: D102
    def load_state_dict(self, state_dict: Any, /) -> Any: ...  # noqa: D102


class Parts(Mapping[str, Any]):
    """Objects with a state that belongs to a run, in the order in which they were entered.

    >>> import torch
    >>> parts = Parts()
    >>> parts.add("scale", torch.optim.SGD([torch.zeros(1)], lr=0.5))
    >>> parts.add("scale", torch.optim.SGD([torch.zeros(1)], lr=0.25))
    >>> list(parts)
    ['scale', 'scale_2']
    """

    def __init__(self) -> None:
        self._parts: dict[str, Stateful] = {}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        _attached.update({id(original(part)): original(part) for part in self._parts.values()})

    def add(self, name: str, part: Stateful) -> None:
        """Enter an object; the second one of a name gets a number after it."""
        unique, number = name, 2
        while unique in self._parts:
            unique, number = f"{name}_{number}", number + 1
        self._parts[unique] = part

    def remove(self, name: str) -> Stateful:
        """Take an object out, and give it back."""
        return self._parts.pop(name)

    def __getitem__(self, name: str) -> Any:
        return self._parts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def state_dict(self) -> dict[str, Any]:
        """The state of each, by name."""
        return {name: part.state_dict() for name, part in self._parts.items()}

    def load_state_dict(self, states: Mapping[str, Any]) -> None:
        """Give each the state under its name; those without one keep theirs.

        Raises:
            ValueError: naming the part whose state does not fit; parts before it have theirs already.
        """
        for name, part in self._parts.items():
            if name in states:
                try:
                    part.load_state_dict(states[name])
                except Exception as error:
                    raise ValueError(f"{name}: {error}") from error


_attached: "weakref.WeakValueDictionary[int, Any]" = weakref.WeakValueDictionary()  # by id: not all can be hashed


def parts_of(engine: Engine) -> Parts:
    """The objects registered with an engine by :func:`keep_state`, ours or any other.

    >>> from ignite_recipes import History
    >>> engine = Engine(lambda engine, batch: None)
    >>> history = History(["loss"]).attach(engine)
    >>> engine.state.metrics["loss"] = 0.5
    >>> _ = engine.run([0], max_epochs=2)
    >>> parts_of(engine).state_dict()  # write this with write_checkpoint, and give it to load_state_dict
    {'history': {'epochs': {'loss': [0.5, 0.5]}, 'count': 2}}
    """
    if not hasattr(engine, "parts"):
        engine.parts = Parts()  # type: ignore[attr-defined]
    parts: Parts = vars(engine)["parts"]
    return parts


def check_stateful(part: Any) -> None:
    """Raise TypeError for an object without a state."""
    if not callable(getattr(part, "state_dict", None)) or not callable(getattr(part, "load_state_dict", None)):
        raise TypeError(f"a part of a run must have state_dict and load_state_dict; got {part!r}")


def check_free(part: Any) -> None:
    """Refuse an object without a state, or one whose state belongs to a run already; errors as :func:`keep_state`."""
    check_stateful(part)
    if _attached.get(id(part)) is part:
        raise RuntimeError(f"{part!r} is attached to an engine already; make a new one for each attachment")


def keep_state(engine: Engine, name: str, part: Stateful) -> None:
    """Register an object whose state belongs to the run of ``engine``, ours or any other.

    Handlers do so when they are attached. A checkpoint of a trainer of this library holds the state of all registered
    objects; that of any other Engine is :func:`parts_of` ``(engine).state_dict()``.

    Args:
        engine: the engine of the run.
        name: the name under which the state is saved; the second object of a name gets a number after it.
        part: anything with ``state_dict()`` and ``load_state_dict(state)``.

    Raises:
        RuntimeError: if it was registered already, with this engine or another: it would count twice, or carry the
            state of one run into another.
        TypeError: if it has no state.

    >>> class Counter:
    ...     count = 0
    ...     def state_dict(self): return {"count": self.count}
    ...     def load_state_dict(self, state): self.count = state["count"]
    >>> engine = Engine(lambda engine, batch: None)
    >>> keep_state(engine, "counter", Counter())
    >>> parts_of(engine).state_dict()
    {'counter': {'count': 0}}
    """
    check_free(part)
    _attached[id(part)] = part
    parts_of(engine).add(name, as_part(engine, part))


def forget_state(engine: Engine, name: str) -> None:
    """Take an object out again that :func:`keep_state` has entered; it may be entered into another engine then."""
    _attached.pop(id(original(parts_of(engine).remove(name))), None)

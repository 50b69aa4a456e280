"""Name what an update function of the user's own changes and no checkpoint holds."""

import dis
import logging
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ignite.engine import Engine
from torch import nn
from torch.utils.data import DataLoader

from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.generators import closed_over

__all__ = ["NameInexact"]

logger = logging.getLogger(__name__)

_FEW = 64  # items of a container that are looked at


class NameInexact:
    """Say once, when the run begins, what of the update function's state is in no checkpoint.

    Args:
        function: the update function.
        parts: what the checkpoints of the run hold.
    """

    def __init__(self, function: Callable[..., Any], parts: Iterable[Any]) -> None:
        self.function = function
        self._known = {id(inner) for part in parts for inner in _with_inner(part)}
        self._is_done = False

    def __repr__(self) -> str:
        return "name what is not resumed exactly"

    def __call__(self) -> None:
        """Warn."""
        if self._is_done:
            return
        self._is_done = True
        found = dict.fromkeys(_changing(self.function, self._known, set()))
        if found:
            logger.warning(
                "a resume cannot be exact: the update function changes %s, whose state no checkpoint holds. Name it "
                "among the parts of make_resumable; a variable is to be kept in an object with state_dict and "
                "load_state_dict",
                ", ".join(found),
            )


def _with_inner(part: Any) -> Iterator[Any]:
    yield part
    if isinstance(part, nn.Module):
        yield from unwrap(part).modules()


def _changing(function: Any, known: set[int], seen: set[int]) -> Iterator[str]:
    """The names of what a function, and those that it calls, refer to, that has a state and is not known."""
    while isinstance(function, partial):
        yield from _of_values({f"argument {k}": value for k, value in enumerate(function.args)}, known, seen)
        yield from _of_values(function.keywords, known, seen)
        function = function.func
    if callable(function) and not isinstance(function, (types.FunctionType, types.MethodType)):
        function = function.__call__
    owner = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType) and id(owner) not in known:
        yield from _of_values(getattr(owner, "__dict__", {}), known, seen)
        function = function.__func__
    if not isinstance(function, types.FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    yield from _assigned(function, {} if id(owner) in known else getattr(owner, "__dict__", {}))
    yield from _of_values(_referred_to(function), known, seen)


def _assigned(function: types.FunctionType, attributes: Mapping[str, Any]) -> Iterator[str]:
    """The variables outside a function, and the attributes of the object that it belongs to, that it assigns."""
    for instruction in dis.get_instructions(function):
        name = instruction.argval
        if instruction.opname in ("STORE_GLOBAL", "STORE_DEREF") and name not in function.__code__.co_cellvars:
            yield f"the variable {name}"
        elif instruction.opname == "STORE_ATTR" and name in attributes:
            yield f"the attribute {name}"


def _referred_to(function: types.FunctionType) -> dict[str, Any]:
    """The global variables that a function uses, and those of the functions around it, as far as they have a value."""
    found = {name: function.__globals__[name] for name in function.__code__.co_names if name in function.__globals__}
    return {**found, **closed_over(function)}


def _of_values(values: Mapping[str, Any], known: set[int], seen: set[int]) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, (types.FunctionType, types.MethodType, partial)):
            yield from _changing(value, known, seen)
        elif isinstance(value, (dict, list, tuple)) and len(value) <= _FEW:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            yield from (f"{name}[{k!r}] ({type(v).__name__})" for k, v in items if id(v) not in known and _changes(v))
        elif id(value) not in known and _changes(value):
            yield f"{name} ({type(value).__name__})"


def _changes(value: Any) -> bool:
    """Whether an object has a state that training changes."""
    if isinstance(value, (type, Engine, DataLoader, Update)):
        return False
    if isinstance(value, nn.Module):  # a frozen teacher stays as it is
        return any(parameter.requires_grad for parameter in value.parameters()) or (
            value.training and any(True for _ in value.buffers())
        )
    return all(callable(getattr(value, name, None)) for name in ("state_dict", "load_state_dict"))

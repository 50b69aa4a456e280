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

from ignite_recipes.engine.foreign import original
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
        parts = list(parts)
        self._known = {id(inner) for part in parts for inner in _with_inner(part)}
        self._tensors = {id(tensor) for part in parts if isinstance(part, nn.Module) for tensor in _tensors_of(part)}
        self._is_done = False

    def __repr__(self) -> str:
        return "name what is not resumed exactly"

    def __call__(self, engine: Engine) -> None:
        """Warn."""
        if self._is_done:
            return
        self._is_done = True
        self._known |= {id(original(part)) for part in getattr(engine, "parts", {}).values()}  # of keep_state, later
        found = dict.fromkeys(_changing(self.function, self._known, set(), self._tensors))
        if found:
            logger.warning(
                "a resume cannot be exact: the update function changes %s, whose state no checkpoint holds. Name it "
                "among the parts of make_resumable; a variable is to be kept in an object with state_dict and "
                "load_state_dict",
                ", ".join(found),
            )
        if schedules := dict.fromkeys(_schedules_of(engine, self._known)):
            logger.warning(
                "a resume cannot be exact: event handlers change %s, whose state no checkpoint holds. Name it among "
                "the parts of make_resumable",
                ", ".join(schedules),
            )


def _schedules_of(engine: Engine, known: set[int]) -> Iterator[str]:
    """Schedules and stopping rules of other libraries that handlers of the engine are, or refer to.

    Other objects in a handler of the user's, e.g. a metric or a file that is written, say nothing of the training.
    """
    from ignite.handlers import EarlyStopping
    from ignite.handlers.param_scheduler import BaseParamScheduler
    from torch.optim.lr_scheduler import LRScheduler

    kinds = (LRScheduler, BaseParamScheduler, EarlyStopping)
    for entries in engine._event_handlers.values():
        for handler, *_ in entries:
            function = getattr(handler, "__wrapped__", handler)
            owner = getattr(function, "__self__", function)
            if str(type(owner).__module__).startswith("ignite_recipes."):
                continue
            near = {type(owner).__name__: owner}
            if isinstance(function, types.FunctionType):
                near |= _referred_to(function)
            for name, value in near.items():
                if isinstance(value, kinds) and id(value) not in known:
                    own = type(value).__name__
                    yield own if name == own else f"{name} ({own})"


def _tensors_of(module: nn.Module) -> Iterator[Any]:
    yield from module.parameters()
    yield from module.buffers()


def _with_inner(part: Any) -> Iterator[Any]:
    yield part
    if isinstance(part, nn.Module):
        yield from unwrap(part).modules()


def _changing(function: Any, known: set[int], seen: set[int], tensors: set[int]) -> Iterator[str]:
    """The names of what a function, and those that it calls, refer to, that has a state and is not known."""
    while isinstance(function, partial):
        yield from _of_values({f"argument {k}": v for k, v in enumerate(function.args)}, known, seen, tensors)
        yield from _of_values(function.keywords, known, seen, tensors)
        function = function.func
    if callable(function) and not isinstance(function, (types.FunctionType, types.MethodType)):
        function = function.__call__
    owner = getattr(function, "__self__", None)
    if isinstance(function, types.MethodType) and id(owner) not in known:
        yield from _of_values(getattr(owner, "__dict__", {}), known, seen, tensors)
        function = function.__func__
    if not isinstance(function, types.FunctionType) or id(function) in seen:
        return
    seen.add(id(function))
    yield from _assigned(function, {} if id(owner) in known else getattr(owner, "__dict__", {}))
    yield from _of_values(_referred_to(function), known, seen, tensors)


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


def _of_values(values: Mapping[str, Any], known: set[int], seen: set[int], tensors: set[int]) -> Iterator[str]:
    def is_missing(value: Any) -> bool:
        if isinstance(value, nn.Module) and all(id(tensor) in tensors for tensor in _tensors_of(value)):
            return False  # made of modules that are parts
        return id(value) not in known and _changes(value)

    for name, value in values.items():
        if isinstance(value, (types.FunctionType, types.MethodType, partial)):
            yield from _changing(value, known, seen, tensors)
        elif isinstance(value, (dict, list, tuple)) and len(value) <= _FEW:
            items = value.items() if isinstance(value, dict) else enumerate(value)
            yield from (f"{name}[{k!r}] ({type(v).__name__})" for k, v in items if is_missing(v))
        elif is_missing(value):
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

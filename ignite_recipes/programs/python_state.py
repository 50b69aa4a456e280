"""What Python objects hold other than tensors: constants of a program, which is out of date when they change."""

import dataclasses
import functools
import hashlib
import types
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ignite.engine import Engine, State
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.loading.generators import closed_over

__all__ = ["changed", "code_of", "has_hooks", "holds_engine", "python_state", "tensors_in"]

_PLAIN = (bool, int, float, complex, str, bytes, type(None))
_OTHERS = (Tensor, type, types.ModuleType, types.BuiltinFunctionType, Engine, State, Optimizer)
_MOST = 100_000  # objects that are looked at
_LONG = 500  # items of a container; a longer one holds data


def python_state(roots: Iterable[Any]) -> dict[str, Any]:
    """Numbers, words and flags in modules, functions' closures and objects, and which tensors are not parameters.

    >>> layer = nn.Dropout(0.5)
    >>> before = python_state([layer])
    >>> layer.p = 0.25
    >>> changed(before, python_state([layer]))
    '.p'
    """
    found: dict[str, Any] = {}
    for path, part in _parts(roots):
        if isinstance(part, _PLAIN):
            found[path] = part
        elif isinstance(part, Tensor):
            found[path] = ("tensor", id(part))
    return found


def code_of(roots: Iterable[Any], kinds: Iterable[type] = ()) -> str:
    """A digest of the code of functions, and of the classes of objects, that are not torch's.

    Args:
        roots: where the functions and objects are found.
        kinds: further classes.
    """
    parts = [part for _, part in _parts(roots, inner=True)]
    functions = [part for part in parts if isinstance(part, types.FunctionType)]
    digest = hashlib.sha256()
    for kind in dict.fromkeys(base for own in (*map(type, parts), *kinds) for base in own.__mro__):
        if kind.__module__.split(".")[0] not in ("builtins", "torch"):
            digest.update(kind.__qualname__.encode())
            functions += [value for value in vars(kind).values() if isinstance(value, types.FunctionType)]
    for function in functions:
        digest.update(_digest_of(function.__code__))
    return digest.hexdigest()


@functools.lru_cache(maxsize=4096)  # asked for in every epoch
def _digest_of(code: types.CodeType) -> bytes:
    digest = hashlib.sha256(code.co_code)
    digest.update(repr(code.co_names).encode())
    for constant in code.co_consts:
        digest.update(_digest_of(constant) if isinstance(constant, types.CodeType) else repr(constant).encode())
    return digest.digest()


def tensors_in(roots: Iterable[Any]) -> dict[str, Tensor]:
    """The tensors in modules, functions' closures and objects, but for parameters and buffers, by their path."""
    return {path: part for path, part in _parts(roots) if isinstance(part, Tensor)}


def holds_engine(roots: Iterable[Any]) -> str | None:
    """The kind of the first engine, state or optimizer that functions and modules hold; None if there is none."""
    kinds = (Engine, State, Optimizer)
    return next((type(part).__name__ for _, part in _parts(roots) if isinstance(part, kinds)), None)


def _parts(roots: Iterable[Any], *, inner: bool = False) -> Iterator[tuple[str, Any]]:
    """All that they hold, with its path; what engines, states and optimizers hold is left out.

    Args:
        roots: of the search.
        inner: also what holds others, not only what is at the end.
    """
    seen: set[int] = set()
    waiting = [("", root) for root in roots]
    while waiting and len(seen) < _MOST:
        path, part = waiting.pop()
        if isinstance(part, (*_PLAIN, *_OTHERS)):
            yield path, part
            continue
        if id(part) in seen:
            continue
        seen.add(id(part))
        if inner:
            yield path, part
        waiting += [(f"{path}.{name}", value) for name, value in _held(part)]


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    """The first name under which two states differ; None if they are the same."""
    if before == after:
        return None
    names = [*before, *(name for name in after if name not in before)]
    return next((name for name in names if not _same(before.get(name), after.get(name))), None)


def _same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and (one == other or (one != one and other != other))


def has_hooks(modules: Iterable[nn.Module]) -> bool:
    """Whether a function of the user's own is called in the forward or backward pass of one of them."""
    of_modules = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    of_weights = ("_backward_hooks", "_post_accumulate_grad_hooks")
    return any(
        any(getattr(part, name) for part in module.modules() for name in of_modules)
        or any(getattr(weight, name) for weight in module.parameters() for name in of_weights)
        for module in modules
    )


def _held(part: Any) -> Iterable[tuple[str, Any]]:
    if isinstance(part, (list, tuple)):
        return [(str(k), item) for k, item in enumerate(part[:_LONG])]
    if isinstance(part, dict):
        return [(str(name), item) for name, item in list(part.items())[:_LONG]]
    if isinstance(part, types.FunctionType):
        held = [*closed_over(part).items()]
        held += [("defaults", part.__defaults__), ("kwdefaults", part.__kwdefaults__)]
        # Global variables, as a notebook has them: numbers, settings, and functions of the same file.
        names = [name for name in part.__code__.co_names if name in part.__globals__]
        globals_ = [(name, part.__globals__[name]) for name in names]
        return held + [(name, value) for name, value in globals_ if _is_setting(value, part.__module__)]
    if isinstance(part, functools.partial):
        return [("func", part.func), *(("args", arg) for arg in part.args), *part.keywords.items()]
    if isinstance(part, types.MethodType):
        return [("self", part.__self__), ("func", part.__func__)]
    if isinstance(part, nn.Module):
        own = [(name, value) for name, value in vars(part).items() if not name.startswith("_") or name == "_modules"]
        return own + _of_class(part)
    return [*getattr(part, "__dict__", {}).items(), *_of_class(part)]


def _is_setting(value: Any, module: str) -> bool:
    """Whether a global variable is looked at: what a user changes, and not the world that it stands in."""
    if isinstance(value, types.FunctionType):
        return value.__module__ == module
    kinds = (*_PLAIN, Tensor, list, tuple, dict, types.SimpleNamespace)
    return isinstance(value, kinds) or (dataclasses.is_dataclass(value) and not isinstance(value, type))


def _of_class(part: Any) -> list[tuple[str, Any]]:
    """Numbers and words in the attributes of an object's own class, which all of its objects share."""
    classes = [kind for kind in type(part).__mro__ if kind.__module__.split(".")[0] not in ("builtins", "torch")]
    held = [item for kind in classes for item in vars(kind).items() if not item[0].startswith("__")]
    return [(name, value) for name, value in held if isinstance(value, _PLAIN)]

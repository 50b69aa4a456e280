"""Find the random generators that a loader, its samplers, its data set and its transforms hold."""

import functools
import itertools
import logging
import random
import types
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

__all__ = ["closed_over", "held_by", "is_generator", "preserved", "reachable", "seed_generator"]

logger = logging.getLogger(__name__)

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = (str, bytes, int, float, torch.Tensor, np.ndarray, type, types.ModuleType, types.BuiltinFunctionType)
_MOST = 1000  # objects that are looked at
_FEW = 100  # items; a longer container whose first ones are plain holds data, which are not place for generators


def reachable(loaders: Iterable[Any], but: Iterable[Any] = ()) -> Iterator[Any]:
    """Loaders and the objects that they hold, and those that these hold: samplers, data sets, transforms."""
    waiting, later = deque(loaders), deque[Any]()  # the items of long containers come last
    seen: dict[int, Any] = {id(part): part for part in but}  # keeps them alive, so that no two share an id
    while waiting or later:
        part = (waiting or later).popleft()
        if _is_plain(part) or id(part) in seen:
            continue
        if len(seen) >= _MOST:
            logger.warning(
                "a loader and its data set hold more than %d objects, in which random generators were looked for: one "
                "in the others is not seeded, so that a resume may draw other numbers. Keep it in an attribute of the "
                "data set or of a transform, not deep in the data",
                _MOST,
            )
            return
        seen[id(part)] = part
        yield part
        held = held_by(part)
        (waiting if len(held) <= _FEW else later).extend(held)


def is_generator(part: Any) -> bool:
    """Whether it is a generator of torch, NumPy or Python."""
    return isinstance(part, _GENERATORS)


def held_by(part: Any) -> Collection[Any]:
    """What an object holds: its items or attributes; of a function its closure and defaults."""
    if isinstance(part, _GENERATORS):
        return ()
    if isinstance(part, (list, tuple, set, frozenset)):
        return () if _is_data(part) else part
    if isinstance(part, dict):
        return () if _is_data(part.values()) else part.values()
    if isinstance(part, types.FunctionType):
        return (*closed_over(part).values(), *(part.__defaults__ or ()), *(part.__kwdefaults__ or {}).values())
    if isinstance(part, functools.partial):
        return (part.func, *part.args, *part.keywords.values())
    if isinstance(part, types.MethodType):
        return (part.__self__,)
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
    return (*(getattr(part, name, None) for name in slots), *getattr(part, "__dict__", {}).values())


def closed_over(function: types.FunctionType) -> dict[str, Any]:
    """The variables of a function's closure, by name; those that were never set are left out."""
    found = {}
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


def _is_plain(part: Any) -> bool:
    return part is None or isinstance(part, _PLAIN)


def _is_data(items: Collection[Any]) -> bool:
    """Whether a container is too long to be looked through, and its first items are plain, or of plain ones."""
    if len(items) <= _FEW:
        return False
    for item in itertools.islice(items, _FEW):
        inner = item.values() if isinstance(item, dict) else item
        if not _is_plain(item) and not (isinstance(item, (list, tuple, dict)) and all(map(_is_plain, inner))):
            return False
    return True


@contextmanager
def preserved(loaders: Iterable[Any]) -> Iterator[None]:
    """Put the generators that loaders and the objects in them hold back afterwards."""
    put_back = [_as_now(part) for part in reachable(loaders) if is_generator(part)]
    try:
        yield
    finally:
        for put in put_back:
            put()


def _as_now(generator: Any) -> Callable[[], object]:
    """What puts a generator to where it is now."""
    if isinstance(generator, np.random.Generator):
        return functools.partial(setattr, generator.bit_generator, "state", generator.bit_generator.state)
    if isinstance(generator, random.Random):
        return functools.partial(generator.setstate, generator.getstate())
    return functools.partial(generator.set_state, generator.get_state())


def seed_generator(generator: Any, seed: int) -> None:
    """Seed a generator that an object keeps for itself, of any of the four kinds."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed & 0xFFFFFFFF)
    else:
        generator.seed(seed)

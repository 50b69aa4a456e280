"""Find the random generators that a loader, its samplers, its data set and its transforms hold."""

import functools
import itertools
import random
import types
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

__all__ = ["is_generator", "reachable", "seed_generator"]

_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = (str, bytes, int, float, torch.Tensor, np.ndarray, type, types.ModuleType, types.FunctionType)
_MOST = 1000  # items of a list, and objects altogether: data are no place for generators


def reachable(loaders: Iterable[Any], but: Iterable[Any] = ()) -> Iterator[Any]:
    """Loaders and the objects that they hold, and those that these hold: samplers, data sets, transforms."""
    waiting: deque[Any] = deque(loaders)
    seen: dict[int, Any] = {id(part): part for part in but}  # keeps them alive, so that no two share an id
    while waiting and len(seen) < _MOST:
        part = waiting.popleft()
        if part is None or isinstance(part, _PLAIN) or id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        waiting.extend(_held_by(part))


def is_generator(part: Any) -> bool:
    """Whether it is a generator of torch, NumPy or Python."""
    return isinstance(part, _GENERATORS)


def _held_by(part: Any) -> Iterable[Any]:
    if isinstance(part, _GENERATORS):
        return ()
    if isinstance(part, (list, tuple, set)):
        return itertools.islice(part, _MOST)
    if isinstance(part, dict):
        return itertools.islice(part.values(), _MOST)
    if isinstance(part, functools.partial):
        return (part.func, *part.args, *part.keywords.values())
    if isinstance(part, types.MethodType):
        return (part.__self__,)
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
    return (*(getattr(part, name, None) for name in slots), *getattr(part, "__dict__", {}).values())


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

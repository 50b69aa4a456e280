"""Whether two data sets hold the same rows, so that the batches of several runs can be fetched at once."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["KnownPairs", "same_rows"]

_PLAIN = (bool, int, float, str, bytes, type(None))


def same_rows(one: Any, other: Any) -> bool:
    """Whether two data sets are of one type and hold the same values; what cannot be compared must be one object.

    >>> from torch.utils.data import TensorDataset
    >>> same_rows(TensorDataset(torch.ones(3)), TensorDataset(torch.ones(3)))
    True
    >>> same_rows(TensorDataset(torch.ones(3)), TensorDataset(torch.zeros(3)))
    False
    """
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if isinstance(one, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype or one.device != other.device:
            return False
        return one.data_ptr() == other.data_ptr() or torch.equal(one, other)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    if isinstance(one, _PLAIN):
        return bool(one == other)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same_rows, one, other))
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same_rows(one[name], other[name]) for name in one)
    names = getattr(one, "__dict__", None)
    return bool(names) and same_rows(names, vars(other))


class KnownPairs:
    """Which data sets hold the same rows: each pair is compared once, and kept, so that none takes its place."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, int], tuple[Any, Any, bool]] = {}

    def are_same(self, one: Any, other: Any) -> bool:
        """Whether two hold the same rows."""
        pair = id(one), id(other)
        if pair not in self._known:
            self._known[pair] = one, other, same_rows(one, other)
        return self._known[pair][2]

"""What a metric keeps of a batch, such that its value is that of all samples together, and not a mean of means."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Statistic", "exact_dtype", "fold"]


class Statistic(NamedTuple):
    """What a metric keeps of some samples.

    Attributes:
        kind: the kind of the task, e.g. ``"classes"``; the same for all batches.
        parts: tensors that are summed or put one after the other, as the metric says.
    """

    kind: str
    parts: tuple[Tensor, ...]


def fold(statistics: Sequence[Statistic], how: str) -> Statistic:
    """One statistic of all samples of several: with ``"sum"`` their sums, with ``"cat"`` one after the other.

    Raises:
        ValueError: if they are of different tasks, e.g. because a model's outputs change their shape.

    >>> halves = [Statistic("numbers", (torch.tensor([3.0]),)), Statistic("numbers", (torch.tensor([1.0]),))]
    >>> fold(halves, "sum").parts, fold(halves, "cat").parts
    ((tensor([4.]),), (tensor([3., 1.]),))
    """
    first = statistics[0]
    shapes = {(kind, *(part.shape[how == "cat" :] for part in parts)) for kind, parts in statistics}
    if len(shapes) > 1:
        raise ValueError(
            f"outputs and targets must be of one kind and width in all batches; got {len(shapes)} different ones"
        )
    if len(statistics) == 1:
        return first
    columns = zip(*(parts for _, parts in statistics), strict=True)
    joined = (torch.stack(column).sum(0) if how == "sum" else torch.cat(column) for column in columns)
    return Statistic(first.kind, tuple(joined))


def exact_dtype(tensor: Tensor) -> torch.dtype:
    """float64, or float32 where the tensor's device has none."""
    return torch.float32 if tensor.device.type == "mps" else torch.float64

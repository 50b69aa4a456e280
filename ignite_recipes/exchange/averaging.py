"""Losses as means over all samples of a batch, whose parts lie on several ranks."""

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ignite_recipes.exchange.ranks import all_reduce_sum

__all__ = ["LossAverage", "count_over_ranks", "losses_in"]

_FOR_METRICS = ("outputs", "targets")


def losses_in(values: Mapping[str, Any]) -> dict[str, Any]:
    """What a loss function gave, without ``outputs`` and ``targets``, which are for an evaluator's metrics.

    >>> losses_in({"loss": 0.5, "outputs": [0.1, 0.9]})
    {'loss': 0.5}
    """
    return {name: value for name, value in values.items() if name not in _FOR_METRICS}


class LossAverage:
    """Begin to average 0-d tensors over all ranks, weighted by ``share``; :meth:`result` waits for it.

    Args:
        values: name -> this rank's mean.
        share: the fraction of all samples that is on this rank; those of all ranks add up to 1.
    """

    def __init__(self, values: Mapping[str, Any], share: float) -> None:
        values = losses_in(values)
        self._names = list(values)
        device = next(value.device for value in values.values() if isinstance(value, Tensor))
        exact = torch.float32 if device.type == "mps" else torch.float64
        numbers = [torch.as_tensor(value).detach() for value in values.values()]
        self._dtype = exact if any(number.dtype == torch.float64 for number in numbers) else torch.float32
        self._sums = torch.stack([number.to(device, exact) for number in numbers]) * share
        self._work = dist.all_reduce(self._sums, async_op=True)

    def result(self) -> dict[str, Tensor]:
        """The averages over all ranks."""
        assert self._work is not None
        self._work.wait()
        return dict(zip(self._names, self._sums.to(self._dtype).unbind(), strict=True))


def count_over_ranks(num_samples: int, part: Any, by_length: bool, world_size: int) -> tuple[int, float]:
    """The samples of the whole batch, and the fraction of them that this rank counts for.

    Args:
        num_samples: the samples of this rank's part.
        part: the loader's :class:`~ignite_recipes.loading.shares.Part`, or None.
        by_length: whether ``part`` counts samples in the same way.
        world_size: how many ranks there are.
    """
    if part is not None and by_length:
        return part.whole, part.share
    own = num_samples / (1 if part is None else part.copies)
    whole = all_reduce_sum(own)  # only the ranks together know
    return round(whole), own / whole if whole else 1 / world_size

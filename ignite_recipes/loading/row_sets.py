"""Data sets that give a whole batch of rows at once, by one index."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, default_collate

__all__ = ["BatchDataset", "can_pin", "collate_rows", "row_numbers", "spaced_rows", "take_rows"]

Sample = TypeVar("Sample", covariant=True)


class BatchDataset(Dataset[Sample], ABC):
    """A data set whose ``__getitems__(indices)`` gives a whole batch, a tensor or a tuple of tensors, not a list.

    A ``DataLoader`` of one needs ``collate_fn=collate_rows``; our trainers and evaluators do without.

    Attributes:
        settings: what the checkpoints of a run on it say of it, and a resumed run must have as it was.
        draws_nothing: whether the same rows are the same batch at any time: nothing is drawn, and nothing read again.
    """

    settings: Mapping[str, Any] = MappingProxyType({})
    draws_nothing = False

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitems__(self, indices: list[int]) -> Any:
        """The batch of these rows: what a torch ``DataLoader`` calls."""


def collate_rows(batch: Any) -> Any:
    """A batch that was fetched at once, a tensor or a tuple of them, as it is; a list of samples as torch does."""
    return batch if isinstance(batch, (Tensor, tuple)) else default_collate(batch)


def spaced_rows(count: int, most: int) -> NDArray[np.int64]:
    """At most ``most`` of ``count`` row numbers, evenly spaced from the first to the last.

    >>> spaced_rows(9, 3).tolist(), spaced_rows(2, 3).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def row_numbers(indices: Any) -> NDArray[np.int64]:
    """A sampler's list of rows as an array, from which torch takes the rows sooner than from the list."""
    return np.asarray(indices, dtype=np.int64)


def take_rows(rows: Tensor, numbers: NDArray[np.int64]) -> Tensor:
    """The rows (B, ...) of a tensor (N, ...), contiguous, on its device.

    Equal to ``torch.stack([rows[number] for number in numbers])`` to the last bit; from -N to -1 they count from the
    end. Numbers (K, B) give batches (K, B, ...).

    Raises:
        IndexError: for a number that is none of a row.
    """
    if rows.device.type != "cpu":
        if numbers.size and not -len(rows) <= numbers.min() <= numbers.max() < len(rows):
            raise IndexError(f"rows must be from 0 to {len(rows) - 1}; got {numbers.min()} to {numbers.max()}")
        return rows[_on_device(numbers, rows.device)]
    index = torch.from_numpy(numbers)
    if index.dim() == 1:
        try:
            return rows.index_select(0, index)
        except (IndexError, NotImplementedError):  # it knows no numbers from the end, nor all types; this does
            pass
    return rows[index].contiguous()


def _on_device(numbers: NDArray[np.int64], device: torch.device) -> Tensor:
    """From pinned memory, so that the host does not wait for the copy."""
    index = torch.from_numpy(numbers)
    return torch.empty(index.shape, dtype=torch.int64, pin_memory=can_pin()).copy_(index).to(device, non_blocking=True)


def can_pin() -> bool:
    """Where this is false, torch would warn and pin nothing."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type != "mps"

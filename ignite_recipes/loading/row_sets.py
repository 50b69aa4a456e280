"""Data sets that give a whole batch of rows at once, by one index."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, default_collate

__all__ = ["BatchDataset", "can_pin", "collate_rows", "take_rows"]

Sample = TypeVar("Sample", covariant=True)


class BatchDataset(Dataset[Sample]):
    """A data set whose ``__getitems__(indices)`` gives a whole batch, a tensor or a tuple of tensors, not a list.

    A ``DataLoader`` of one needs ``collate_fn=collate_rows``; our trainers and evaluators do without.

    Attributes:
        settings: what the checkpoints of a run on it say of it, and a resumed run must have as it was.
    """

    settings: Mapping[str, Any] = MappingProxyType({})

    def __len__(self) -> int:
        raise NotImplementedError

    def __getitems__(self, indices: list[int]) -> Any:
        """The batch of these rows: what a torch ``DataLoader`` calls."""
        raise NotImplementedError


def collate_rows(batch: Any) -> Any:
    """A batch that was fetched at once, a tensor or a tuple of them, as it is; a list of samples as torch does."""
    return batch if isinstance(batch, (Tensor, tuple)) else default_collate(batch)


def take_rows(rows: Tensor, indices: Sequence[int]) -> Tensor:
    """The rows (len(indices), ...) of a tensor (N, ...), contiguous, on its device.

    Equal to ``torch.stack([rows[index] for index in indices])`` to the last bit; from -N to -1 they count from the end.
    A list of lists gives a list of batches, one dimension more.
    """
    numbers = np.asarray(indices, dtype=np.int64)  # a list would take torch longer to read than the rows to fetch
    if len(numbers) and numbers.min() < 0:  # index_select knows none
        numbers = np.where(numbers < 0, numbers + len(rows), numbers)
    index = torch.from_numpy(numbers)
    if rows.device.type != "cpu":  # from pinned memory nobody waits for the copy
        pinned = torch.empty(len(index), dtype=torch.int64, pin_memory=can_pin()).copy_(index)
        index = pinned.to(rows.device, non_blocking=True)
    if index.dim() == 1:
        return rows.index_select(0, index)
    return rows.index_select(0, index.flatten()).view(*index.shape, *rows.shape[1:])


def can_pin() -> bool:
    """Where this is false, torch would warn and pin nothing."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type != "mps"

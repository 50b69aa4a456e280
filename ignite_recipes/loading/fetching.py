"""Fetch the batches of a plain ``DataLoader`` by one index each, where this gives the same batches."""

import logging
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import ConcatDataset, DataLoader, Subset, TensorDataset, default_collate
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from ignite_recipes.loading.row_sets import BatchDataset, collate_rows, take_rows

__all__ = ["fetched_at_once"]

logger = logging.getLogger(__name__)


def fetched_at_once(loader: Iterable[Any], purpose: str) -> Iterable[Any]:
    """A loader of the same batches in the same order that fetches each by one index; or the loader itself.

    torch fetches a batch row by row and stacks the rows, which costs more than the step of a small model. A
    ``DataLoader`` over a ``TensorDataset``, over a ``Subset`` (which ``random_split`` gives) or a ``ConcatDataset`` of
    such, or over a data set of ours, with torch's own collate function and without workers, can do without: its
    sampler, its generator and what they draw stay as they are. Every other loader is left alone. Which of the two it
    is, and why, is logged for debugging.

    Args:
        loader: any.
        purpose: of its batches, for the log.
    """
    if not isinstance(loader, DataLoader):
        return loader
    reason = _why_not(loader)
    if reason is None:
        logger.debug("%s: the loader's batches are fetched by one index each", purpose)
        return DataLoader(
            BatchesOf(loader.dataset),
            batch_sampler=loader.batch_sampler,
            collate_fn=_as_fetched,
            pin_memory=loader.pin_memory,
            generator=loader.generator,
        )
    logger.debug("%s: the loader fetches its batches itself, for %s", purpose, reason)
    return loader


class BatchesOf(BatchDataset[Any]):
    """The batches that torch's own collate function makes of a data set's rows, fetched by one index."""

    def __init__(self, dataset: Any) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Any) -> Any:
        """A batch; of indices that are no whole numbers it is put together of rows, as ever."""
        rows = _numbers(indices)
        batch = None if rows is None else _batch(self.dataset, rows)
        return default_collate([self.dataset[index] for index in indices]) if batch is None else batch


def _as_fetched(batch: Any) -> Any:
    return batch


def _why_not(loader: DataLoader[Any]) -> str | None:
    """Why a loader cannot be fetched by one index; None if it can."""
    if type(loader) is not DataLoader:
        return f"it is a {type(loader).__name__}"
    if loader.batch_sampler is None:
        return "it has no batches of indices"
    if loader.num_workers:
        return "it has workers"
    if loader.collate_fn is collate_rows:  # which does the same with rows, and leaves whole batches as they are
        if isinstance(_without_subsets(loader.dataset), BatchDataset):
            return "its data set gives whole batches already"
    elif loader.collate_fn is not default_collate:
        return "it has a collate function of its own"
    if loader.pin_memory_device:
        return "it pins memory for a device of its own"
    if default_collate_fn_map.get(Tensor) is not collate_tensor_fn:
        return "torch's collate function was changed"
    return _why_no_batch(loader.dataset)


def _without_subsets(dataset: Any) -> Any:
    while type(dataset) is Subset:
        dataset = dataset.dataset
    return dataset


def _why_no_batch(dataset: Any) -> str | None:
    """Why a data set's rows cannot be fetched by one index; None if they can."""
    if isinstance(dataset, BatchDataset):
        kind = type(dataset)
        for owner in kind.__mro__:  # a subclass may change the rows and know nothing of batches
            if "__getitems__" in vars(owner):
                return None
            if "__getitem__" in vars(owner):
                return f"{owner.__name__} has a __getitem__ of its own and no __getitems__"
    if type(dataset) is Subset:
        return _why_no_batch(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return _why_no_concatenation(dataset)
    if type(dataset) is not TensorDataset:
        return f"its data set is a {type(dataset).__name__}"
    for tensor in dataset.tensors:
        is_plain = type(tensor) is Tensor and tensor.layout == torch.strided and not tensor.is_nested
        if not is_plain or tensor.is_quantized or tensor.is_complex() or tensor.is_neg():
            return "its tensors are no plain ones"
    return None


def _why_no_concatenation(dataset: ConcatDataset[Any]) -> str | None:
    for part in dataset.datasets:
        if (reason := _why_no_batch(part)) is not None:
            return reason
    kinds = [_kind_of_row(part) for part in dataset.datasets if len(part)]  # type: ignore[arg-type]
    if any(kind is None or kind != kinds[0] for kind in kinds):
        return "the parts of its ConcatDataset have other rows than one another, or are no TensorDataset"
    return None


def _kind_of_row(dataset: Any) -> list[Any] | None:
    """Type, shape and device of the tensors of a row; None for a data set that is none of torch's."""
    if type(dataset) is Subset:
        return _kind_of_row(dataset.dataset)
    if type(dataset) is ConcatDataset:
        return _kind_of_row(next((part for part in dataset.datasets if len(part)), None))  # type: ignore[arg-type]
    if type(dataset) is not TensorDataset:
        return None
    return [(tensor.dtype, tensor.shape[1:], tensor.device) for tensor in dataset.tensors]


def _numbers(indices: Any) -> Sequence[int] | None:
    """A batch of a sampler as whole numbers; None where it holds something else, or nothing."""
    if not isinstance(indices, (list, tuple)) or not indices:
        return None
    kinds = set(map(type, indices))
    if kinds == {int}:
        return indices
    if kinds == {Tensor}:
        is_number = all(index.dim() == 0 and index.dtype == torch.int64 for index in indices)
        return [int(index) for index in indices] if is_number else None
    is_number = bool not in kinds and all(issubclass(kind, (int, np.integer)) for kind in kinds)
    return [int(index) for index in indices] if is_number else None


def _batch(dataset: Any, indices: Sequence[int]) -> Any:
    """The rows of a batch as torch's collate function would put them together; None where rows must tell a mistake."""
    if isinstance(dataset, BatchDataset):
        return dataset.__getitems__(list(indices))
    if type(dataset) is Subset:
        rows = _numbers([dataset.indices[index] for index in indices])  # read now: they may be changed in between
        return None if rows is None else _batch(dataset.dataset, rows)
    if type(dataset) is ConcatDataset:
        return _batch_of_parts(dataset, indices)
    if max(indices) >= len(dataset) or min(indices) < -len(dataset):
        return None
    return [take_rows(tensor, indices) for tensor in dataset.tensors]


def _batch_of_parts(dataset: ConcatDataset[Any], indices: Sequence[int]) -> Any:
    """The rows of each part by one index, put in the order in which they were asked for."""
    length = len(dataset)
    rows = np.asarray(indices)
    rows = np.where(rows < 0, rows + length, rows)
    if rows.min() < 0 or rows.max() >= length:
        return None
    ends = np.asarray(dataset.cumulative_sizes)
    of_part = np.searchsorted(ends, rows, side="right")
    order = np.argsort(of_part, kind="stable")
    fetched = []
    for number in np.unique(of_part):
        part = dataset.datasets[number]
        first = ends[number] - len(part)
        fetched.append(_batch(part, (rows[of_part == number] - first).tolist()))
    if any(batch is None for batch in fetched):
        return None
    places = np.empty(len(rows), np.int64)
    places[order] = np.arange(len(rows))
    return [take_rows(torch.cat(column), places) for column in zip(*fetched, strict=True)]  # type: ignore[arg-type]

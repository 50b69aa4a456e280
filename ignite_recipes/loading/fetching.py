"""Fetch the batches of a plain ``DataLoader`` by one index each, where this gives the same batches."""

import logging
import weakref
from collections.abc import Iterable, Iterator
from itertools import pairwise
from operator import itemgetter
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    default_collate,
    default_convert,
)
from torch.utils.data._utils.collate import collate_tensor_fn, default_collate_fn_map

from ignite_recipes.loading.row_sets import BatchDataset, collate_rows, row_numbers, take_rows

__all__ = ["dataset_of", "fetched_at_once", "sampled_ahead"]

logger = logging.getLogger(__name__)

Rows: TypeAlias = list[int] | tuple[int, ...] | NDArray[np.int64]
_Piece: TypeAlias = tuple[Any, NDArray[np.int64], NDArray[np.int64]]  # a part, its rows, and their places in the batch

_OF_NUMPY = {
    *(torch.float64, torch.float32, torch.float16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
}

_said: "weakref.WeakSet[Any]" = weakref.WeakSet()  # loaders of which the log has said it


def fetched_at_once(loader: Iterable[Any], purpose: str) -> Iterable[Any]:
    """A loader of the same batches in the same order that fetches each by one index; or the loader itself.

    torch fetches a batch row by row and stacks the rows, which costs more than the step of a small model. A
    ``DataLoader`` over a ``TensorDataset``, over a ``Subset`` (which ``random_split`` gives) or a ``ConcatDataset`` of
    such, or over a data set of ours, with torch's own collate function and without workers, can do without: its
    sampler, its generator and what they draw stay as they are. Every other loader is left alone. Which of the two it
    is, and why, is logged for debugging, once for each loader.

    Args:
        loader: any.
        purpose: of its batches, for the log.
    """
    if not isinstance(loader, DataLoader):
        return loader
    reason = _why_not(loader)
    if loader not in _said:  # validation starts again in every epoch
        _said.add(loader)
        how = "'s batches are fetched by one index each" if reason is None else f" fetches its batches itself: {reason}"
        logger.debug("%s: the loader%s", purpose, how)
    if reason is None:
        return DataLoader(
            BatchesOf(loader.dataset, has_numbers=_gives_numbers(_batches_of_numbers(loader))),
            batch_sampler=_batches_of_numbers(loader),
            collate_fn=_as_fetched,
            pin_memory=loader.pin_memory,
            generator=loader.generator,
        )
    return loader


def sampled_ahead(loader: Any, batches: Iterator[Any]) -> Iterator[Any] | None:
    """The row numbers of an epoch's batches, where they are all drawn with the first one and fetching draws nothing.

    Args:
        loader: any.
        batches: ``iter(loader)``, whose place moves with what is returned.

    Returns:
        An iterator of lists of rows; None for another loader.
    """
    if type(loader) is not DataLoader or loader.num_workers or not _gives_numbers(loader.batch_sampler):
        return None
    if not _is_drawn_at_once(loader.batch_sampler.sampler):  # type: ignore[union-attr]
        return None
    return getattr(batches, "_sampler_iter", None) if _draws_nothing(dataset_of(loader)) else None


def dataset_of(loader: Any) -> Any:
    """The data set of a loader of :func:`fetched_at_once`: the user's own."""
    return loader.dataset.dataset if isinstance(loader.dataset, BatchesOf) else loader.dataset


def _is_drawn_at_once(sampler: Any) -> bool:
    """Whether a sampler of torch's draws all rows with the first; later ones would be drawn after another seed."""
    if type(sampler) is SequentialSampler or sampler.generator is None:  # then it seeds one of its own
        return True
    return not sampler.replacement and sampler.num_samples <= len(sampler.data_source)


def _draws_nothing(dataset: Any) -> bool:
    """Whether the rows of a data set are there, as those of tensors are."""
    dataset = _without_subsets(dataset)
    if type(dataset) is ConcatDataset:
        return all(map(_draws_nothing, dataset.datasets))
    return type(dataset) is TensorDataset or (isinstance(dataset, BatchDataset) and dataset.draws_nothing)


class BatchesOf(BatchDataset[Any]):
    """The batches that torch's own collate function makes of a data set's rows, fetched by one index.

    Args:
        dataset: with the rows.
        has_numbers: whether it is only ever asked for whole numbers; otherwise each batch is looked at.
    """

    def __init__(self, dataset: Any, *, has_numbers: bool = False) -> None:
        self.dataset, self._has_numbers = dataset, has_numbers

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitems__(self, indices: Any) -> Any:
        """A batch; of indices that are not whole numbers it is put together of rows, as usual."""
        rows = indices if self._has_numbers else _numbers(indices)
        batch = None if rows is None else _batch(self.dataset, rows)
        return default_collate([self.dataset[index] for index in indices]) if batch is None else batch


def _as_fetched(batch: Any) -> Any:
    return batch


def _why_not(loader: DataLoader[Any]) -> str | None:
    """Why a loader cannot be fetched by one index; None if it can."""
    if type(loader) is not DataLoader:
        return f"it is a {type(loader).__name__}"
    if _batches_of_numbers(loader) is None:
        return "it has no batches of indices"
    if loader.num_workers:
        return "it has workers"
    if loader.batch_sampler is None:  # torch indexes the data set with the whole batch of indices
        dataset = _without_subsets(loader.dataset)
        if type(dataset) is not TensorDataset or not all(tensor.is_contiguous() for tensor in dataset.tensors):
            return "its data set is asked for a whole batch"
        if loader.collate_fn is not default_convert:
            return "it has a collate function of its own"
    if loader.collate_fn is collate_rows:  # which does the same with rows, and leaves whole batches as they are
        if isinstance(_without_subsets(loader.dataset), BatchDataset):
            return "its data set gives whole batches already"
    elif loader.batch_sampler is not None and loader.collate_fn is not default_collate:
        return "it has a collate function of its own"
    if loader.pin_memory_device:
        return "it pins memory for a device of its own"
    if default_collate_fn_map.get(Tensor) is not collate_tensor_fn:
        return "torch's collate function was changed"
    return _why_no_batch(loader.dataset)


def _batches_of_numbers(loader: DataLoader[Any]) -> Any:
    """What gives the indices of each batch, also where it stands in the place of a sampler."""
    if loader.batch_sampler is not None:
        return loader.batch_sampler
    return loader.sampler if type(loader.sampler) is BatchSampler else None


def _gives_numbers(batch_sampler: Any) -> bool:
    """Whether the batches are lists of Python's own whole numbers, as those of torch's samplers are."""
    return type(batch_sampler) is BatchSampler and type(batch_sampler.sampler) in (RandomSampler, SequentialSampler)


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


def _numbers(indices: Any) -> list[int] | tuple[int, ...] | None:
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


def _batch(dataset: Any, rows: Rows) -> Any:
    """The rows of a batch as torch's collate function would put them together; None where rows must tell a mistake."""
    if type(dataset) is TensorDataset:
        numbers = row_numbers(rows)
        return [take_rows(tensor, numbers) for tensor in dataset.tensors]
    if type(dataset) is Subset:
        chosen = _chosen(dataset.indices, rows)
        return None if chosen is None else _batch(dataset.dataset, chosen)
    if type(dataset) is ConcatDataset:
        return _batch_of_parts(dataset, row_numbers(rows))
    return dataset.__getitems__(_as_list(rows))


def _as_list(rows: Rows) -> list[int]:
    return rows.tolist() if isinstance(rows, np.ndarray) else list(rows)


def _chosen(indices: Any, rows: Rows) -> Rows | None:
    """The rows that a subset's indices mean, which are read now: they may be changed in between."""
    if isinstance(indices, Tensor) and indices.device.type == "cpu":
        indices = indices.numpy()
    if isinstance(indices, np.ndarray):
        is_plain = indices.ndim == 1 and indices.dtype == np.int64
        return indices[row_numbers(rows)] if is_plain else _numbers([indices[row] for row in rows])
    rows = _as_list(rows)
    return _numbers(itemgetter(*rows)(indices) if len(rows) > 1 else [indices[rows[0]]])


def _batch_of_parts(dataset: ConcatDataset[Any], numbers: NDArray[np.int64]) -> Any:
    """The rows of each part by one index, put in the order in which they were asked for."""
    ends = np.array(dataset.cumulative_sizes)
    order = numbers.argsort()  # in which the rows of a part stand together
    ordered = numbers[order]
    if ordered[0] < 0:
        numbers = np.where(numbers < 0, numbers + ends[-1], numbers)
        order = numbers.argsort()
        ordered = numbers[order]
    if ordered[0] < 0 or ordered[-1] >= ends[-1]:
        return None
    cuts = [0, *ordered.searchsorted(ends).tolist()]
    pieces: list[_Piece] = []
    for part, (first, last) in enumerate(pairwise(cuts)):
        before = ends[part - 1] if part else 0
        if last - first == len(numbers):
            return _batch(dataset.datasets[part], numbers - before)
        if first != last:
            pieces.append((dataset.datasets[part], ordered[first:last] - before, order[first:last]))
    if all(_is_plain(part) for part, *_ in pieces):
        return [_column(pieces, k, len(numbers)) for k in range(len(pieces[0][0].tensors))]
    batches = [_batch(part, rows) for part, rows, _ in pieces]
    if any(batch is None for batch in batches):
        return None
    places = np.empty_like(order)
    places[order] = np.arange(len(order))
    return [take_rows(torch.cat(columns), places) for columns in zip(*batches, strict=True)]


def _is_plain(dataset: Any) -> bool:
    """Whether NumPy can take its rows, which needs half as long for it as torch."""
    return type(dataset) is TensorDataset and all(
        tensor.dtype in _OF_NUMPY and tensor.device.type == "cpu" and not tensor.requires_grad
        for tensor in dataset.tensors
    )


def _column(pieces: list[_Piece], k: int, length: int) -> Tensor:
    """The rows of the parts' tensors number ``k``, each at its place."""
    first = pieces[0][0].tensors[k]
    column = torch.empty(length, *first.shape[1:], dtype=first.dtype)  # whose memory is aligned as usual
    into = column.numpy()
    for part, rows, places in pieces:
        into[places] = part.tensors[k].numpy().take(rows, 0)
    return column

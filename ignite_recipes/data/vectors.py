"""The vectors of a data set, in its order, whatever holds them; looking at them changes nothing."""

import logging
from collections.abc import Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from ignite_recipes.data.frames import frame_rows, is_frame
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.loading.batches import first_item
from ignite_recipes.loading.given import as_loader
from ignite_recipes.loading.randomness import preserve_generators
from ignite_recipes.loading.row_sets import BatchDataset, collate_rows

__all__ = ["feature_names_of", "read_vectors", "unchanged", "vector_batches"]
logger = logging.getLogger(__name__)

_BATCH = 1024


def feature_names_of(data: Any) -> list[str] | None:
    """The names of the columns, if the frame, the data set or the loader's data set knows them."""
    if is_frame(data):
        data = frame_rows(data)
    names = getattr(getattr(data, "dataset", data), "feature_names", None)
    return None if names is None else [str(name) for name in names]


def read_vectors(data: Any, at_most: int | None = None, *, any_order: bool = False) -> Tensor:
    """The vectors or images of ``data``, (N, ...) float32 on the CPU; the first ``at_most`` of them.

    Args:
        data, any_order: as of :func:`vector_batches`.
        at_most: how many to read; by default all.

    Raises:
        TypeError, ValueError: as :func:`vector_batches`; also if there is none.
    """
    parts: list[Tensor] = []
    with unchanged(data):
        for batch in vector_batches(data, any_order=any_order):
            parts.append(batch.detach().cpu().float())
            if at_most is not None and sum(map(len, parts)) >= at_most:
                break
    if not sum(map(len, parts)):
        raise ValueError("data must hold at least one vector; got none")
    return torch.cat(parts)[:at_most]


def vector_batches(data: Any, *, any_order: bool = False) -> Iterator[Tensor]:
    """The vectors or images of ``data`` in its order, in batches (n, ...) of the type that they have.

    Args:
        data: a tensor or an array (N, ...), a CSR matrix, a frame of pandas or polars, of which the columns of
            numbers are read, a data set, a loader or another iterable of batches; of samples that are tuples, the
            first item. A loader that shuffles, or drops the last batch, is read in its data set's order and as a
            whole, which is logged as a warning; a batch of another iterable comes where the iterable gives it.
        any_order: take a loader also if its sampler gives other rows than each once.

    Raises:
        TypeError: for anything else.
        ValueError: if a batch is not (N, D) or (N, ..., H, W), or a sampler gives other rows than each once.
    """
    for batch in _batches(data, any_order):
        part = first_item(batch)
        if isinstance(part, np.ndarray) and part.dtype.kind in "biuf":
            part = torch.from_numpy(np.ascontiguousarray(part))
        if not isinstance(part, Tensor):
            raise TypeError(f"data must yield batches (N, D) of tensors; got {type(part).__name__}")
        if part.dim() < 2:
            raise ValueError(
                f"data must be (N, D) vectors or (N, H, W) images; got shape {tuple(part.shape)}: "
                "pass single vectors as one tensor, by torch.stack(list(data))"
            )
        yield part


@contextmanager
def unchanged(data: Any) -> Iterator[None]:
    """A loader draws from the global generators, or from its own, whenever it is iterated over."""
    own: Any = getattr(data, "generator", None)
    state = own.get_state() if isinstance(own, torch.Generator) else None
    try:
        with preserve_generators():
            yield
    finally:
        if state is not None:
            own.set_state(state)


def _batches(data: Any, any_order: bool) -> Iterable[Any]:
    if isinstance(data, np.ndarray) and data.ndim != 2:
        data = torch.from_numpy(np.ascontiguousarray(data))
    if isinstance(data, Tensor) and data.dim() != 2:
        return [data]
    if is_frame(data):
        data = frame_rows(data)
    elif isinstance(data, (Tensor, np.ndarray)) or hasattr(data, "tocsr"):
        data = RowDataset(data.tocsr() if hasattr(data, "tocsr") else data)
    if isinstance(data, DataLoader):
        return _ordered(data, any_order)
    if isinstance(data, Dataset):
        return DataLoader(data, _BATCH, collate_fn=collate_rows)
    if isinstance(data, tuple):
        return as_loader(data, shuffle=False, name="data", of="vectors")  # type: ignore[no-any-return]
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise TypeError(
            f"data must be a tensor, an array, a data set or a loader of vectors; got {type(data).__name__}"
        )
    return data


def _ordered(loader: DataLoader[Any], any_order: bool) -> DataLoader[Any]:
    """The loader, if it gives each row of its data set once, in its order; or else one that does."""
    dataset, batches = loader.dataset, loader.batch_sampler
    if isinstance(dataset, IterableDataset) or not isinstance(dataset, Sized):
        return loader
    sampler = batches.sampler if type(batches) is BatchSampler else None
    in_order = type(sampler) is SequentialSampler and len(sampler) == len(dataset)
    shuffles = type(sampler) is RandomSampler and not sampler.replacement and sampler.num_samples == len(dataset)
    drops = type(batches) is BatchSampler and batches.drop_last and len(dataset) % batches.batch_size != 0
    # A data set of ours fetches a batch at once, which torch's own function cannot put together.
    is_whole = isinstance(dataset, BatchDataset) and loader.collate_fn is default_collate
    collate = collate_rows if is_whole else loader.collate_fn
    if in_order and not drops:
        return DataLoader(dataset, loader.batch_size, collate_fn=collate) if is_whole else loader
    if type(batches) is BatchSampler and (in_order or shuffles):
        logger.warning(
            "the loader %s: the %d rows of its data set are read in their order; pass the data set itself instead",
            "shuffles" if shuffles else "drops its last rows", len(dataset),
        )  # fmt: skip
        return DataLoader(dataset, batches.batch_size, collate_fn=collate)
    if any_order:
        return loader
    order: Iterable[Any] = loader.sampler if batches is None else batches
    if (drawn := _draw_in_order(order, len(dataset))) is not None:  # and not again, which may give another order
        how: dict[str, Any] = (
            {"batch_sampler": drawn} if batches is not None else {"batch_size": None, "sampler": drawn}
        )
        return DataLoader(dataset, collate_fn=loader.collate_fn, **how)
    raise ValueError(
        "the loader must give each row of its data set once and in the data set's order, so that row k of the result "
        f"belongs to row k of the data; its {type(order if sampler is None else sampler).__name__} gives others: pass "
        "the data set itself, or a Subset of it"
    )


def _draw_in_order(order: Iterable[Any], num_rows: int) -> list[Any] | None:
    """What a sampler gives, if it is the rows 0, 1, ... to the last; it may have no end, and is asked no further."""
    drawn, count = [], 0
    for part in order:
        rows = part if isinstance(part, (list, tuple)) else [part]
        if list(rows) != list(range(count, min(count + len(rows), num_rows))):
            return None
        drawn.append(part)
        count += len(rows)
    return drawn if count == num_rows else None

"""The vectors of a data set, in its order, whatever holds them; looking at them changes nothing."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler

from ignite_recipes.data.rows import RowDataset, collate_rows
from ignite_recipes.loading.batches import first_item
from ignite_recipes.loading.randomness import preserve_generators

__all__ = ["feature_names_of", "read_vectors"]

_BATCH = 1024


def feature_names_of(data: Any) -> list[str] | None:
    """The names of the columns, if the data set or the loader's data set knows them."""
    names = getattr(getattr(data, "dataset", data), "feature_names", None)
    return None if names is None else [str(name) for name in names]


def read_vectors(data: Any, at_most: int | None = None) -> Tensor:
    """The vectors or images of ``data``, (N, ...) float32 on the CPU; the first ``at_most`` of them.

    Args:
        data: a tensor or an array (N, ...), a CSR matrix, a data set, a loader or another iterable of batches; of
            samples that are tuples, the first item. A loader that shuffles is read in its data set's order.
        at_most: how many to read; by default all.

    Raises:
        TypeError: for anything else.
        ValueError: if there is none, or a batch is not (N, D) or (N, ..., H, W).
    """
    parts: list[Tensor] = []
    with _unchanged(data):
        for batch in _batches(data):
            part = first_item(batch)
            if not isinstance(part, Tensor):
                raise TypeError(f"data must yield batches (N, D) of tensors; got {type(part).__name__}")
            if part.dim() < 2:
                raise ValueError(f"data must be (N, D) vectors or (N, H, W) images; got shape {tuple(part.shape)}")
            parts.append(part.detach().cpu().float())
            if at_most is not None and sum(map(len, parts)) >= at_most:
                break
    if not sum(map(len, parts)):
        raise ValueError("data must hold at least one vector; got none")
    return torch.cat(parts)[:at_most]


def _batches(data: Any) -> Iterable[Any]:
    if isinstance(data, np.ndarray) and data.ndim != 2:
        data = torch.from_numpy(np.ascontiguousarray(data))
    if isinstance(data, Tensor) and data.dim() != 2:
        return [data]
    if isinstance(data, (Tensor, np.ndarray)) or hasattr(data, "tocsr"):
        data = RowDataset(data.tocsr() if hasattr(data, "tocsr") else data)
    if isinstance(data, DataLoader):
        if isinstance(data.sampler, RandomSampler) and data.batch_size is not None:
            return DataLoader(data.dataset, data.batch_size, collate_fn=data.collate_fn)
        return data
    if isinstance(data, Dataset):
        return DataLoader(data, _BATCH, collate_fn=collate_rows)
    if isinstance(data, (str, bytes)) or not isinstance(data, Iterable):
        raise TypeError(
            f"data must be a tensor, an array, a data set or a loader of vectors; got {type(data).__name__}"
        )
    return data


@contextmanager
def _unchanged(data: Any) -> Iterator[None]:
    """A loader draws from the global generators, or from its own, whenever it is iterated over."""
    own: Any = getattr(data, "generator", None)
    state = own.get_state() if isinstance(own, torch.Generator) else None
    try:
        with preserve_generators():
            yield
    finally:
        if state is not None:
            own.set_state(state)

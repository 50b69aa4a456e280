"""What is trained or evaluated on, as people have it: a loader, a data set, or arrays, whose batches are made here."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, default_collate

from ignite_recipes.arguments import kind_of, whole_number
from ignite_recipes.loading.arrays import ArrayDataset, Labels, is_array
from ignite_recipes.loading.row_sets import BatchDataset, collate_rows

__all__ = ["as_loader", "as_loaders", "batch_size_for", "settings_of"]

BATCHES = 50  # an epoch, about, if the batch size is not given; of 32 to 1024 rows

_KINDS = {
    "pairs": "a loader of batches (inputs, targets), a data set of such pairs or a tuple of two arrays",
    "vectors": "a loader of batches (N, D), a data set of vectors or an array (N, D)",
    "batches": "a data set, a loader or another iterable of batches",
}


def as_loader(
    data: Any,
    batch_size: int | None = None,
    *,
    shuffle: bool,
    name: str,
    of: str = "batches",
    labels: Labels | None = None,
) -> Any:
    """A loader as it is; of a data set or of arrays a loader that fetches each batch by one index.

    Arrays are tensors, NumPy's, scipy's CSR matrices, frames and Series of pandas and polars; a tuple of them is a data
    set of their rows. Nothing else is taken for rows: a list is a list of batches. What could be batches too is rows if
    ``batch_size`` is given: a tuple of tensors, as ``x.split(32)`` is, and an ``IterableDataset``.

    Args:
        data: what is to be trained or evaluated on.
        batch_size: rows per batch; the last one may be shorter. None is 32 to 1024, by the number of rows.
        shuffle: the rows, in every epoch.
        name: the name of the argument, for errors.
        of: what batches the recipe takes: ``"pairs"`` of inputs and targets, ``"vectors"``, or any ``"batches"``.
        labels: number the targets where they are text.

    Raises:
        TypeError: for anything else, in one line.
        ValueError: for a loader and ``batch_size``, arrays of different lengths or without rows, text in the inputs.
    """
    if batch_size is not None:
        batch_size = int(whole_number(batch_size, "batch_size"))
    if isinstance(data, Dataset) and not (isinstance(data, IterableDataset) and batch_size is None):
        dataset: Dataset[Any] = data
    elif _are_rows(data, of, batch_size):
        arrays = data if isinstance(data, tuple) else (data,)
        if of == "pairs" and len(arrays) < 2:
            raise TypeError(f"{name} must be {_KINDS[of]}; got {kind_of(data)} alone: pass (inputs, targets)")
        dataset = ArrayDataset(data, name=name, labels=labels)
    elif not _is_loader(data):
        raise TypeError(f"{name} must be {_KINDS[of]}; got {kind_of(data)}{_next_step(data, of)}")
    elif batch_size is not None:
        raise ValueError(
            f"batch_size is of a data set or of arrays; {name} has batches already, it is a {kind_of(data)}: leave it "
            "out, or pass the data set itself"
        )
    else:
        return data
    if isinstance(dataset, IterableDataset):
        return DataLoader(dataset, batch_size)
    length = len(dataset) if hasattr(dataset, "__len__") else None
    if length is None:
        raise TypeError(f"{name} must be a data set that knows its length; got {kind_of(data)}: give it __len__")
    if not length:
        raise ValueError(f"{name} must hold at least one row; got {kind_of(data)} without any")
    return DataLoader(
        dataset,
        batch_size or batch_size_for(length),
        shuffle=shuffle,
        collate_fn=collate_rows if isinstance(dataset, BatchDataset) else default_collate,
    )


def as_loaders(train: Any, val: Any, batch_size: int | None, *, of: str) -> tuple[Any, Any]:
    """:func:`as_loader` of what is trained on, shuffled, and of what is validated on, if it is not None.

    Where only one of them is without batches, ``batch_size`` is of that one.
    """
    labels = Labels()
    has_batches = [data is None or _has_batches(data, of, batch_size) for data in (train, val)]
    sizes = [None if has and not all(has_batches) else batch_size for has in has_batches]
    train = as_loader(train, sizes[0], shuffle=True, name="train_loader", of=of, labels=labels)
    if val is not None:
        val = as_loader(val, sizes[1], shuffle=False, name="val_loader", of=of, labels=labels)
    return train, val


def settings_of(loader: Any) -> dict[str, Any]:
    """What a loader's data set has to say in checkpoints, e.g. ``class_names``; see :class:`BatchDataset`."""
    dataset = getattr(loader, "dataset", None)
    while isinstance(dataset, Subset):
        dataset = dataset.dataset
    return dict(dataset.settings) if isinstance(dataset, BatchDataset) else {}


def batch_size_for(num_rows: int) -> int:
    """The default number of rows in a batch: about 50 batches an epoch, of 32 to 1024 rows.

    >>> [batch_size_for(n) for n in (100, 10_000, 1_000_000)]
    [32, 256, 1024]
    """
    return int(2 ** np.clip(round(np.log2(max(num_rows / BATCHES, 1))), 5, 10))


def _are_rows(data: Any, of: str, batch_size: int | None) -> bool:
    """Whether they are arrays of rows, and not a loader's batches."""
    arrays = data if isinstance(data, tuple) else (data,)
    if not arrays or isinstance(arrays[0], list) or not all(map(is_array, arrays)):
        return False
    if batch_size is not None or not all(isinstance(array, (Tensor, np.ndarray)) for array in arrays):
        return True
    if of == "pairs":  # a batch is a pair, so that a tensor is none
        return True
    if of == "batches":
        return False
    if not isinstance(data, tuple):
        return bool(data.ndim == 2)
    return any(array.ndim != 2 or array.shape[1] != data[0].shape[1] for array in arrays)


def _has_batches(data: Any, of: str, batch_size: int | None) -> bool:
    return not isinstance(data, Dataset) and not _are_rows(data, of, batch_size) and _is_loader(data)


def _is_loader(data: Any) -> bool:
    if data is None or isinstance(data, (str, bytes, type, dict, set, torch.nn.Module)):
        return False
    return isinstance(data, Iterable) or hasattr(data, "__getitem__")


def _next_step(data: Any, of: str) -> str:
    if isinstance(data, (str, bytes)) or hasattr(data, "__fspath__"):
        return ": train_on_table reads files of tables, DatasetRegistry folders of images"
    if isinstance(data, type):
        return ": make one"
    if isinstance(data, dict) and of == "pairs":
        return ": pass a tuple (inputs, targets)"
    return ""

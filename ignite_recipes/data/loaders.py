"""Loaders of data sets that fetch a whole batch at once; nothing is dropped."""

from collections.abc import Sized
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.frames import is_frame
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.loading.arrays import ArrayDataset
from ignite_recipes.loading.row_sets import can_pin, collate_rows

__all__ = ["create_dataloader", "create_dataloaders"]

_NEXT_STEP = {"train": "check the filters that made it", "val": "pass None to train without validation"}


def create_dataloaders(
    train: Any,
    val: Any,
    batch_size: int = 128,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Loaders of batches of all rows, shuffled for training, in order for validation; (N, D) float32 for matrices.

    Args:
        train: the rows to train on: a data set, a tensor or an array, or a tuple of these; other data sets than ours
            are batched as torch does.
        val: the rows to validate on, or None for no such loader.
        batch_size: rows per batch; the last batch may be shorter.
        num_workers: processes that fetch batches; with 0 the caller's own does, mostly the quickest here.
        pin_memory: fetch into page-locked memory, for quicker copies to an accelerator; nothing without one.

    Raises:
        TypeError: for a frame, the name of a file, or no training set.
        ValueError: if a data set has no rows, or a number is too small; for workers, if the rows are on an
            accelerator, which other processes have no part in.

    >>> import torch
    >>> from ignite_recipes import split_train_val
    >>> train_loader, val_loader = create_dataloaders(*split_train_val(torch.eye(10)), batch_size=4)
    >>> [len(batch) for batch in train_loader], [len(batch) for batch in val_loader]
    ([4, 4], [2])
    """
    train, val = (_dataset(data, name) for data, name in ((train, "train"), (val, "val")))
    _check_datasets(train, val)
    train_loader = create_dataloader(train, batch_size, num_workers, pin_memory, shuffle=True)
    if val is None:
        return train_loader, None
    return train_loader, create_dataloader(val, batch_size, num_workers, pin_memory, shuffle=False)


def create_dataloader(
    dataset: Dataset[Any], batch_size: int, num_workers: int, pin_memory: bool, *, shuffle: bool
) -> DataLoader[Any]:
    """One loader of a data set that fetches a whole batch by ``__getitems__``; nothing is dropped.

    Raises:
        ValueError: if a number is too small, or there are to be workers for rows on an accelerator.
    """
    on_device = isinstance(dataset, RowDataset) and dataset.device.type != "cpu"
    if on_device and num_workers:
        raise ValueError(
            f"num_workers must be 0 for rows on an accelerator, which are fetched there; got {num_workers}"
        )
    return DataLoader(
        dataset,
        batch_size=whole_number(batch_size, "batch_size"),
        shuffle=shuffle,
        num_workers=whole_number(num_workers, "num_workers", at_least=0),
        collate_fn=collate_rows,
        pin_memory=pin_memory and not on_device and can_pin(),
    )


def _dataset(data: Any, name: str) -> Any:
    """A data set of arrays or tensors; what is one already as it is."""
    arrays = data if isinstance(data, tuple) else (data,)
    if arrays and all(isinstance(array, (Tensor, np.ndarray)) for array in arrays):
        return ArrayDataset(data, name=name)
    return data


def _check_datasets(train: Dataset[Any], val: Dataset[Any] | None) -> None:
    for name, dataset in (("train", train), ("val", val)):
        if is_frame(dataset) or isinstance(dataset, str) or train is None:
            got = type(dataset).__name__
            raise TypeError(f"{name} must be a data set; got {got}: split_train_val(matrix) makes two of a matrix")
        if isinstance(dataset, Sized) and not len(dataset):
            raise ValueError(f"{name} must hold at least one row; got none: {_NEXT_STEP[name]}")
    if isinstance(train, ArrayDataset) and isinstance(val, ArrayDataset):
        shapes = [[tuple(column.shape[1:]) for column in side.columns] for side in (train, val)]
        if shapes[0] != shapes[1]:
            raise ValueError(
                f"train and val must hold arrays of the same features; got rows of {shapes[0]} and {shapes[1]}: "
                "pass targets with their inputs, create_dataloaders((X, y), (X_val, y_val))"
            )
    if isinstance(train, RowDataset) and isinstance(val, RowDataset) and train.num_features != val.num_features:
        raise ValueError(
            f"train and val must have the same features; got {train.num_features} and {val.num_features}: "
            "take both from one split_train_val"
        )

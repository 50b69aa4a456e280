"""Arrays, frames and columns of labels as a data set of their rows."""

import logging
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.arguments import listed
from ignite_recipes.loading.row_sets import BatchDataset, row_numbers, take_rows

__all__ = ["REAL_KINDS", "ArrayDataset", "Labels", "is_array", "share_memory"]

logger = logging.getLogger(__name__)

REAL_KINDS = "buif"  # numpy's letters for booleans, unsigned and signed integers, and floats


def is_array(data: Any) -> bool:
    """Whether it is a tensor, an array, a CSR matrix, a frame or a Series; or a plain list of numbers or names."""
    if isinstance(data, (Tensor, np.ndarray)) or hasattr(data, "tocsr"):
        return True
    if isinstance(data, list):
        return bool(data) and isinstance(data[0], (str, numbers.Number))
    return hasattr(data, "to_numpy") and hasattr(data, "__len__") and not isinstance(data, type)


class Labels:
    """Numbers the classes of targets that are text: 0, 1, ... in the order of their names.

    Attributes:
        names: the names of the classes, by number; None before any text was seen.

    >>> labels = Labels()
    >>> labels.encode(np.array(["dog", "cat", "dog"]), "train_loader"), labels.names
    (tensor([1, 0, 1]), ['cat', 'dog'])
    """

    def __init__(self) -> None:
        self.names: list[str] | None = None

    def settings(self) -> dict[str, list[str]]:
        """``class_names``, for a checkpoint; nothing where no target was text."""
        return {} if self.names is None else {"class_names": self.names}

    def encode(self, column: NDArray[Any], name: str) -> Tensor:
        """The number of each label, (N,) -> (N,) int64; the first call finds the classes.

        Raises:
            ValueError: for a label that is missing, or not among the classes of the first call.
        """
        missing = np.array([_is_missing(value) for value in column.tolist()], dtype=bool)
        if missing.any():
            raise ValueError(
                f"{name} must have a label in every row; it is missing in {missing.sum()} of {len(column)}"
            )
        found, codes = np.unique(column.astype(str), return_inverse=True)
        if self.names is None:
            self.names = found.tolist()
            logger.warning("the targets are names: they are numbered in their order, %s", listed(self.names))
        number_of = {label: number for number, label in enumerate(self.names)}
        if unknown := [label for label in found.tolist() if label not in number_of]:
            raise ValueError(
                f"{name} must hold the classes that are trained on, {listed(self.names)}; got {listed(unknown)} too: "
                "leave those rows out, or train on such rows too"
            )
        return torch.tensor([number_of[label] for label in found.tolist()])[codes]


class ArrayDataset(BatchDataset[Any]):
    """The rows of an array, or of a tuple of arrays: a tensor, or a tuple of them, for each list of rows.

    Args:
        data: an array, or a tuple of arrays; a named tuple's batches are of its type.
        name: the name of the argument that it is, for errors.
        labels: numbers the targets, which are all arrays but the first, where they are text.

    Raises:
        ValueError: for arrays of different lengths, or what has no numbers.

    >>> dataset = ArrayDataset((np.eye(3), ["b", "a", "b"]), name="data")
    >>> dataset.__getitems__([2, 0])
    (tensor([[0., 0., 1.],
            [1., 0., 0.]], dtype=torch.float64), tensor([1, 1]))
    """

    draws_nothing = True

    def __init__(self, data: Any, *, name: str, labels: Labels | None = None) -> None:
        labels = Labels() if labels is None else labels
        self._make = None if not isinstance(data, tuple) else getattr(type(data), "_make", tuple)
        given = data if isinstance(data, tuple) else (data,)
        self.columns = [_column(array, name, labels if k else None) for k, array in enumerate(given)]
        self.settings = labels.settings()
        _check_same_rows(given, name)
        lengths = [column.shape[0] for column in self.columns]
        if len(set(lengths)) > 1:
            raise ValueError(
                f"{name} must hold arrays of one length, a row for each sample; got {' and '.join(map(str, lengths))}"
            )

    def __len__(self) -> int:
        return int(self.columns[0].shape[0])

    def __getitem__(self, index: int) -> Any:
        batch = self.__getitems__([index])
        return batch[0] if self._make is None else self._make(column[0] for column in batch)

    def __getitems__(self, indices: Sequence[int]) -> Any:
        """The rows of one batch, in the types that they have."""
        numbers = row_numbers(indices)
        rows = [
            take_rows(column, numbers) if isinstance(column, Tensor) else torch.from_numpy(column[numbers].toarray())
            for column in self.columns
        ]
        return rows[0] if self._make is None else self._make(rows)


def _check_same_rows(given: Sequence[Any], name: str) -> None:
    """Rows of pandas in different orders, by their index, would be put together wrongly."""
    first, *others = [data.index for data in given if hasattr(data, "iloc")] or [None]
    for other in others:
        if len(first) == len(other) and not first.equals(other) and first.sort_values().equals(other.sort_values()):
            raise ValueError(
                f"{name} must have the same rows in the same order; their indices have the same values in two orders: "
                "take targets.loc[inputs.index], or reset_index(drop=True) of both if their rows are in order"
            )


def _column(data: Any, name: str, labels: Labels | None) -> Any:
    """A tensor or a CSR matrix with a row for each sample."""
    if hasattr(data, "tocsr"):
        return data.tocsr()
    if isinstance(data, Tensor):
        column = data.detach()
    else:
        array = _as_numpy(data)
        if array.dtype.kind == "u" and array.dtype.itemsize > 1:  # with which torch can do little
            array = array.astype(np.int64)
        if array.dtype.kind in REAL_KINDS:
            column = share_memory(array)
        elif labels is not None and array.dtype.kind in "OUS" and array.size == len(array):
            column = labels.encode(array.reshape(-1), name)
        else:
            raise ValueError(
                f"{name} must hold numbers; got {_no_numbers(data, array)}: train_on_table takes such data"
            )
    if not column.dim():
        raise ValueError(f"{name} must hold arrays with a row for each sample; got a single number")
    return column


def _as_numpy(data: Any) -> NDArray[Any]:
    """An array of the type that its values have, where that is one type."""
    array = np.asarray(data.to_numpy() if hasattr(data, "to_numpy") else data)
    if array.dtype.kind != "O":
        return array
    kinds = {type(value) for value in array.reshape(-1).tolist()}
    if kinds and all(issubclass(kind, (bool, int, float, np.number, np.bool_)) for kind in kinds):
        return np.array(array.tolist())
    return array


def _is_missing(value: Any) -> bool:
    """None, NaN, or one of pandas' own, which equal nothing."""
    return value is None or type(value).__name__ in ("NAType", "NaTType") or value != value


def _no_numbers(data: Any, array: NDArray[Any]) -> str:
    if hasattr(data, "columns"):
        names = [name for name in data.columns if _as_numpy(data[name]).dtype.kind not in REAL_KINDS]
        return f"no numbers in {listed(names)}" if names else "values that are missing"
    return f"an array of {array.dtype}" if array.dtype.kind != "O" else "values of several kinds or none"


def share_memory(array: NDArray[Any]) -> Tensor:
    """A tensor of the array's memory; a copy where torch cannot share it: read-only, backwards, another byte order."""
    native = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)
    return torch.from_numpy(np.ascontiguousarray(native))

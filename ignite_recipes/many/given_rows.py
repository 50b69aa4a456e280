"""The rows that a recipe in Python is given, divided into folds: data sets and arrays by their rows."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset

from ignite_recipes.arguments import kind_of
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.vectors import unchanged
from ignite_recipes.loading.given import as_loader
from ignite_recipes.loading.row_sets import BatchDataset, collate_rows

__all__ = ["Folded", "RowsOf", "labelled_batches"]


class RowsOf(BatchDataset[Any]):
    """Some rows of a data set that fetches a whole batch at once.

    Args:
        dataset: of all rows.
        rows: their numbers.
    """

    def __init__(self, dataset: BatchDataset[Any], rows: NDArray[np.int64]) -> None:
        self.dataset, self.rows = dataset, rows
        self.settings = dataset.settings

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Any:
        return self.dataset[int(self.rows[index])]

    def __getitems__(self, indices: list[int]) -> Any:
        """The rows of one batch."""
        return self.dataset.__getitems__(self.rows[np.asarray(indices, dtype=np.int64)].tolist())


class Folded:
    """All rows of a data set, and which of them each fold trains and validates on.

    Args:
        data: a data set, or arrays, as a recipe takes them in a loader's place.
        of: ``"pairs"`` or ``"vectors"``.
        folds: how many.
        seed: the seed of the folds.
        group, time: (N,), by which rows are kept together, or in their order; None is neither.

    Raises:
        ValueError: for a loader, whose batches have no rows, or values by which rows are divided that are not N.
    """

    def __init__(self, data: Any, of: str, folds: int, seed: int, group: Any = None, time: Any = None) -> None:
        loader = as_loader(data, None, shuffle=False, name="train_loader", of=of)
        if loader is data or not isinstance(loader, DataLoader):
            raise ValueError(f"folds are of rows: pass a data set or arrays, without batches; got {kind_of(data)}")
        dataset: Any = loader.dataset
        self.dataset, count = dataset, len(dataset)
        by = {"groups": _values(group, "group", count), "times": _values(time, "time", count)}
        labels = _labels(self.dataset) if of == "pairs" else None
        self.sides = fold_rows(count, folds, seed, labels=labels, **by)

    def side(self, fold: int, part: int) -> Dataset[Any]:
        """The rows of a fold, from 1, to train on (0) or to validate on (1)."""
        rows = self.sides[fold - 1][part]
        return (
            RowsOf(self.dataset, rows)
            if isinstance(self.dataset, BatchDataset)
            else Subset(self.dataset, rows.tolist())
        )


def labelled_batches(data: Any) -> Iterator[tuple[Any, Any]]:
    """The pairs of a data set in the order of its rows, or of another iterable in its own, batch by batch.

    No generator is moved by it.
    """
    dataset = data.dataset if isinstance(data, DataLoader) else data
    has_rows = isinstance(dataset, Dataset) and hasattr(dataset, "__len__")
    batches = DataLoader(dataset, 256, collate_fn=_collate(dataset)) if has_rows else data
    with unchanged(batches):
        for batch in batches:
            yield batch[0], batch[1]


def _collate(dataset: Any) -> Any:
    from torch.utils.data import default_collate

    return collate_rows if isinstance(dataset, BatchDataset) else default_collate


def _labels(dataset: Any) -> NDArray[Any] | None:
    """The classes of all rows; None for targets that are none."""
    columns = getattr(dataset, "tensors", None) or getattr(dataset, "columns", None)
    if columns is not None and len(columns) > 1:
        targets = columns[1]
    else:
        targets = torch.cat([torch.as_tensor(batch[1]) for batch in labelled_batches(dataset)])
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.numel() != len(targets):
        return None
    found: NDArray[Any] = targets.reshape(-1).cpu().numpy()
    return found


def _values(values: Any, name: str, count: int) -> NDArray[Any] | None:
    if values is None:
        return None
    if isinstance(values, str):
        raise ValueError(
            f"{name} must be values, one for each row; a column's name is for train_on_table; got {values!r}"
        )
    found = np.asarray(values.to_numpy() if hasattr(values, "to_numpy") else _as_list(values))
    if found.shape != (count,):
        raise ValueError(f"{name} must have a value for each of the {count} rows; got shape {found.shape}")
    return found


def _as_list(values: Any) -> Any:
    return (
        values.cpu().numpy() if isinstance(values, Tensor) else list(values) if isinstance(values, Sequence) else values
    )

"""Split the rows of a matrix in a part to train on and one to validate on, without tearing groups of rows apart."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import shown
from ignite_recipes.data.ebird_columns import CHECKLIST, GROUP
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.frames import as_pandas, frame_rows, is_frame
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.optional import pandas as pd

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from ignite_recipes.data.rows import Rows

__all__ = ["CHECKLIST", "GROUP", "split_fold", "split_train_val"]

logger = logging.getLogger(__name__)


def split_train_val(
    matrix: "pd.DataFrame | Rows",
    species: Sequence[str] | None = None,
    val_size: float = 0.2,
    random_seed: int = 42,
    *,
    groups: "ArrayLike | None" = None,
) -> tuple[RowDataset, RowDataset]:
    """Split the rows at random in a part to train on and one to validate on.

    Rows of one group, e.g. the checklists that several observers made of the same walk, are nearly the same,
    so they stay on one side. Groups are known by a column GROUP IDENTIFIER of a frame, or by a level of its index
    of that name. A row without a group is in that of its SAMPLING EVENT IDENTIFIER, if the frame has this column or
    level, or is a group by itself. Whole groups are drawn for validation until it has the wanted number of rows; at
    least one group is left to train on. A warning is logged for a frame of checklists that has lost its groups, as
    after ``matrix.merge(facts)``; ``matrix.join`` keeps them.

    Args:
        matrix: (N, D), the frame of :func:`create_species_matrix`, sparse or dense, with
            or without the column of identifiers, or another frame of pandas or polars; or a numpy array, a torch
            tensor or a scipy CSR matrix.
        species: the columns of the frame to use, by default those of numbers; for another matrix, their names.
        val_size: the part for validation, a fraction of all rows in (0, 1) or a number of rows.
        random_seed: the split is a function of it and the matrix; no global generator is read or seeded.
        groups: (N,), the group of each row, in place of the groups of the frame, e.g. those of :func:`spatial_blocks`.
            Groups of the frame that are in several of these are not kept together.

    Returns:
        The rows to train on and those to validate on, both in their order in ``matrix``; their ``indices`` are the
        numbers of their rows there.

    Raises:
        ValueError: if a side would be empty, a column is missing, or there is not one of ``groups`` for each row.

    >>> import torch
    >>> train, val = split_train_val(torch.eye(10), val_size=0.3)
    >>> len(train), len(val)
    (7, 3)
    >>> torch.equal(torch.eye(10)[val.indices], val.rows)
    True
    """
    dataset, numbers = _rows_and_groups(matrix, species, groups)
    is_val = _draw_groups(numbers, _wanted_rows(val_size, len(dataset)), random_seed)
    return _sides(dataset, np.flatnonzero(~is_val), np.flatnonzero(is_val))


def split_fold(
    matrix: "pd.DataFrame | Rows",
    species: Sequence[str] | None,
    fold: int,
    folds: int,
    seed: int,
    groups: "ArrayLike | None" = None,
) -> tuple[RowDataset, RowDataset]:
    """The rows of a fold, from 1, to train on and those to validate on; groups are kept together as for a split."""
    dataset, numbers = _rows_and_groups(matrix, species, groups)
    are_alone = len(np.unique(numbers)) == len(numbers)
    return _sides(dataset, *fold_rows(len(dataset), folds, seed, groups=None if are_alone else numbers)[fold - 1])


def _rows_and_groups(
    matrix: Any, species: Sequence[str] | None, groups: "ArrayLike | None"
) -> tuple[RowDataset, NDArray[np.int64]]:
    dataset = frame_rows(matrix, species) if is_frame(matrix) else RowDataset(matrix, species)
    if groups is not None:
        given = np.asarray(groups)
        if given.shape != (len(dataset),):
            raise ValueError(f"groups must be one for each of the {len(dataset)} rows; got shape {given.shape}")
        return dataset, np.unique(given, return_inverse=True)[1]
    return dataset, _group_numbers(as_pandas(matrix)) if is_frame(matrix) else np.arange(len(dataset))


def _sides(dataset: RowDataset, *sides: NDArray[np.int64]) -> tuple[RowDataset, RowDataset]:
    train, val = (RowDataset(dataset.rows[rows], dataset.feature_names, rows) for rows in sides)
    return train, val


def _group_numbers(frame: "pd.DataFrame") -> NDArray[np.int64]:
    keys = [_labels(frame, name) for name in (GROUP, CHECKLIST)]
    if keys[0] is None and keys[1] is not None:
        logger.warning(
            "the matrix has %s but no %s: if checklists were shared, nearly the same ones may be on both sides; "
            "keep the index of create_species_matrix, by matrix.join(facts.set_index(%r), on=%r) where "
            "matrix.merge(facts) would drop it",
            CHECKLIST, GROUP, CHECKLIST, CHECKLIST,
        )  # fmt: skip
    numbers = np.full(len(frame), -1, np.int64)
    for labels in keys:
        if labels is not None:
            found, _ = pd.factorize(labels)
            new = (numbers < 0) & (found >= 0)
            numbers[new] = found[new] + numbers.max(initial=-1) + 1
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(len(alone))
    return numbers


def _labels(frame: "pd.DataFrame", name: str) -> "pd.Series[Any] | None":
    """What a column, or else a level of the index, says of each row, an empty text nothing; None without either."""
    if name not in frame and name not in frame.index.names:
        return None
    labels = frame[name] if name in frame else frame.index.get_level_values(name).to_series()
    return labels.astype(object).where(labels.ne(""), None)


def _wanted_rows(val_size: float, n: int) -> int:
    is_count = isinstance(val_size, (int, np.integer)) and not isinstance(val_size, bool)
    if not (1 <= val_size < n if is_count else 0 < val_size < 1):
        raise ValueError(
            f"val_size must be a fraction in (0, 1), or a number of rows from 1 to {n - 1} that leaves some "
            f"of the {n} rows to train on; got {shown(val_size)}"
        )
    return int(val_size) if is_count else max(1, round(val_size * n))


def _draw_groups(groups: NDArray[np.int64], wanted: int, random_seed: int) -> NDArray[np.bool_]:
    """Which rows are for validation: those of the groups drawn until there are ``wanted`` rows."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(
            f"matrix must hold at least two groups of rows, one for each side; got {len(groups)} rows "
            f"in {len(sizes)}: use more data, or drop {GROUP}"
        )
    drawn = np.random.default_rng(random_seed).permutation(len(sizes))
    enough = int(np.searchsorted(sizes[drawn].cumsum(), wanted)) + 1
    is_val = np.zeros(len(sizes), dtype=bool)
    is_val[drawn[: min(enough, len(sizes) - 1)]] = True
    return is_val[numbers]

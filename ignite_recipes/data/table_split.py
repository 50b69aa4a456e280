"""Split the rows of a table into a part to train on and one to validate on: stratified, by group or by time."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.optional import needs
from ignite_recipes.said_once import warn

__all__ = ["quietly", "split_rows"]

logger = logging.getLogger(__name__)


def split_rows(
    num_rows: int,
    val_size: float = 0.2,
    seed: int = 0,
    *,
    labels: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The numbers of the rows to train on and of those to validate on, each in ascending order.

    Without groups and times the rows are drawn at random, of each class its share.

    Args:
        num_rows: N.
        val_size: the part for validation, a fraction in (0, 1) or a number of rows.
        seed: the split is a function of it and of the other arguments.
        labels: (N,) whole numbers, the classes; None for a target of numbers.
        groups: (N,), what rows belong together: all rows of a group are on one side.
        times: (N,), when each row was: the latest rows are for validation, and rows of one time are on one side.

    Raises:
        ValueError: if a side would be empty, or both groups and times are given.
    """
    wanted = _wanted(val_size, num_rows)
    if groups is not None and times is not None:
        raise ValueError("a split is by group or by time; got both: leave one of them out")
    if times is not None:
        is_val = _by_time(times, wanted)
    elif groups is not None:
        is_val = _by_group(groups, labels, wanted, seed)
    else:
        is_val = _at_random(num_rows, labels, wanted, seed)
    return np.flatnonzero(~is_val), np.flatnonzero(is_val)


def _wanted(val_size: float, num_rows: int) -> int:
    is_count = isinstance(val_size, (int, np.integer)) and not isinstance(val_size, bool)
    is_count = is_count or (val_size >= 2 and float(val_size).is_integer())  # as the command line reads --val-size 9
    if num_rows < 2 or not (1 <= val_size < num_rows if is_count else 0 < val_size < 1):
        raise ValueError(
            f"val_size must be a fraction in (0, 1), or a number of rows that leaves some of the {num_rows} to train "
            f"on; got {val_size!r}"
        )
    return int(val_size) if is_count else min(max(1, round(val_size * num_rows)), num_rows - 1)


def _by_time(times: NDArray[Any], wanted: int) -> NDArray[np.bool_]:
    border = np.sort(times)[-wanted]
    is_val: NDArray[np.bool_] = times >= border
    if is_val.all():  # the border is the first time
        is_val = times > border
    if not is_val.any():
        raise ValueError("a split by time needs at least two times; all rows have one: choose another column")
    return is_val


def _by_group(groups: NDArray[Any], labels: NDArray[Any] | None, wanted: int, seed: int) -> NDArray[np.bool_]:
    """Whole groups, of each class about its share where the target is classes."""
    with needs("tables"):
        from sklearn.model_selection import StratifiedGroupKFold

    found = len(np.unique(groups))
    if found < 2:
        raise ValueError(f"a split by group needs at least two groups; got {found}: choose another column")
    num_rows = len(groups)
    parts = min(max(2, round(num_rows / wanted)), found)
    folds = StratifiedGroupKFold(parts, shuffle=True, random_state=seed)
    labels = np.zeros(num_rows, np.int64) if labels is None else labels
    val = quietly(lambda: next(folds.split(np.zeros((num_rows, 1)), labels, groups)))[1]
    is_val = np.zeros(num_rows, dtype=bool)
    is_val[val] = True
    return is_val


def _at_random(num_rows: int, labels: NDArray[Any] | None, wanted: int, seed: int) -> NDArray[np.bool_]:
    with needs("tables"):
        from sklearn.model_selection import train_test_split

    rows = np.arange(num_rows)
    is_val = np.zeros(num_rows, dtype=bool)
    if labels is not None:
        _, codes, sizes = np.unique(labels, return_inverse=True, return_counts=True)
        rows = rows[sizes[codes] > 1]  # a class of one row is to be trained on
        num_classes = int((sizes > 1).sum())
        if num_classes and min(wanted, len(rows) - wanted) >= num_classes:
            is_val[train_test_split(rows, test_size=wanted, stratify=codes[rows], random_state=seed)[1]] = True
            return is_val
        if len(rows) <= wanted:
            rows = np.arange(num_rows)
        warn(logger, f"too few rows of some classes to give each its share of {wanted} for validation")
    is_val[train_test_split(rows, test_size=wanted, random_state=seed)[1]] = True
    return is_val


def quietly(function: Any) -> Any:
    """A class with fewer rows than there are folds is not a mistake here: one fold is used."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return function()

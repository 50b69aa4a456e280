"""Divide rows into folds for cross-validation: stratified, by group or by time."""

import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.table_split import quietly
from ignite_recipes.optional import needs

__all__ = ["fold_rows"]

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]


def fold_rows(
    num_rows: int,
    folds: int,
    seed: int = 0,
    *,
    labels: NDArray[Any] | None = None,
    groups: NDArray[Any] | None = None,
    times: NDArray[Any] | None = None,
) -> list[tuple[Rows, Rows]]:
    """The numbers of the training rows and of the validation rows of each fold, each in ascending order.

    Without times every row is validated on in one fold, and trained on in all others. With times the rows are cut,
    in their order, into one part more than there are folds: each fold trains on all parts before the one that it
    validates on, so the first part is never validated on.

    Args:
        num_rows: N.
        folds: K, at least 2.
        seed: the folds are a function of it and of the other arguments; with times it plays no part.
        labels: (N,) whole numbers, the classes, of which each fold gets its share; None for a target of numbers.
        groups: (N,), what rows belong together: all rows of a group are in one fold.
        times: (N,), when each row was; rows of one time are in one part.

    Raises:
        ValueError: if there are fewer rows, groups or times than the folds need, or both groups and times are given.

    >>> [val.tolist() for _, val in fold_rows(6, 3, times=np.array([0, 0, 1, 2, 3, 4]))]
    [[2], [3, 4], [5]]
    """
    folds = whole_number(folds, "folds", at_least=2)
    if groups is not None and times is not None:
        raise ValueError("folds are by group or by time; got both: leave one of them out")
    if times is not None:
        return _by_time(times, folds)
    units, what = (num_rows, "rows") if groups is None else (len(np.unique(groups)), "groups")
    if units < folds:
        raise ValueError(f"{folds} folds need at least as many {what}; got {units}: use fewer folds")
    if labels is not None:
        counts = np.unique(labels, return_counts=True)[1]
        if counts.min() < folds:
            logger.warning("the rarest class has %d rows, fewer than there are folds: some lack it", counts.min())
        labels = None if counts.max() < folds else labels
    splitter = _splitter(labels, groups, folds, seed)
    strata = np.zeros(num_rows, np.int64) if labels is None else labels
    parts = quietly(lambda: [val for _, val in splitter.split(np.zeros((num_rows, 1)), strata, groups)])
    if empty := sum(not len(val) for val in parts):
        raise ValueError(f"{folds} folds need rows each; {empty} would have none: use fewer folds, or other groups")
    every = np.arange(num_rows)
    return [(np.setdiff1d(every, val), np.sort(val)) for val in parts]


def _splitter(labels: NDArray[Any] | None, groups: NDArray[Any] | None, folds: int, seed: int) -> Any:
    with needs("tables"):
        from sklearn.model_selection import KFold, StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedGroupKFold if groups is not None else KFold if labels is None else StratifiedKFold
    return kind(folds, shuffle=True, random_state=seed)


def _by_time(times: NDArray[Any], folds: int) -> list[tuple[Rows, Rows]]:
    found, codes = np.unique(times, return_inverse=True)
    if len(found) <= folds:
        raise ValueError(f"{folds} folds by time need at least {folds + 1} times; got {len(found)}: use fewer folds")
    counts = np.bincount(codes)
    wanted = (np.cumsum(counts) - counts) * (folds + 1) // len(times)  # the part in which a time's first row lies
    part = np.zeros(len(found), np.int64)
    for k in range(1, len(found)):
        must = folds - (len(found) - 1 - k)  # or there were too few times left for the parts to come
        part[k] = min(max(wanted[k], part[k - 1], must), part[k - 1] + 1)
    of_row = part[codes]
    return [(np.flatnonzero(of_row < k), np.flatnonzero(of_row == k)) for k in range(1, folds + 1)]

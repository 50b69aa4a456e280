"""How well the hidden part of checklists is predicted: by rank within each checklist, by chance within each species."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.arguments import whole_number

__all__ = ["brier_scores", "calibration_errors", "ndcg_at_k", "recall_at_k"]

_BINS = 10  # of the calibration, of equal width


def recall_at_k(scores: NDArray[Any], present: NDArray[Any], candidates: NDArray[Any], k: int) -> NDArray[np.float64]:
    """The share of a checklist's species that are among the k with the highest scores, (N,).

    Of a checklist with more than k species to be found k is all that can be: the share is of the smaller number.

    Args:
        scores: (N, S), higher is likelier. Equal ones stand in the order of the columns.
        present: (N, S), what is true.
        candidates: (N, S), the species that are ranked; others are neither ranked nor to be found.
        k: at least 1.

    Returns:
        A share for each checklist, NaN where nothing is to be found.

    >>> every = np.ones((1, 4), dtype=bool)
    >>> recall_at_k(np.array([[0.9, 0.8, 0.2, 0.1]]), np.array([[True, False, True, False]]), every, 2)
    array([0.5])

    Reference: D. Liang et al., Variational Autoencoders for Collaborative Filtering, arXiv:1802.05814.
    """
    hits, wanted = _hits(scores, present, candidates, k)
    return _share(hits.sum(1).astype(np.float64), np.minimum(wanted, k))


def ndcg_at_k(scores: NDArray[Any], present: NDArray[Any], candidates: NDArray[Any], k: int) -> NDArray[np.float64]:
    """The discounted gain of the k with the highest scores, as a share of the best possible one, (N,).

    A species that is there gains 1 / log2(1 + its rank). Arguments and result as of :func:`recall_at_k`.

    >>> every = np.ones((1, 2), dtype=bool)
    >>> ndcg_at_k(np.array([[0.9, 0.8]]), np.array([[False, True]]), every, 2).round(3)
    array([0.631])

    Reference: K. Järvelin, J. Kekäläinen, Cumulated Gain-Based Evaluation of IR Techniques, 2002.
    """
    hits, wanted = _hits(scores, present, candidates, k)
    gains = 1 / np.log2(np.arange(2, hits.shape[1] + 2))
    best = np.concatenate([[0.0], np.cumsum(gains)])[np.minimum(wanted, hits.shape[1])]
    return _share(hits @ gains, best)


def brier_scores(chances: NDArray[Any], present: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """The mean squared error of probabilities for each column, over the entries that count: (N, S) each -> (S,).

    >>> brier_scores(np.array([[0.5], [1.0]]), np.array([[True], [True]]), np.ones((2, 1), dtype=bool))
    array([0.125])
    """
    squared = np.where(counts, np.square(chances - present), 0.0)
    return _share(squared.sum(0), counts.sum(0))


def calibration_errors(chances: NDArray[Any], present: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.float64]:
    """The expected calibration error of each column: (N, S) each -> (S,).

    Entries are put into ten bins of equal width by their probability; it is the mean distance, over the entries, of a
    bin's mean probability from the share of its entries that are true.

    >>> calibration_errors(np.array([[0.8], [0.82]]), np.array([[True], [False]]), np.ones((2, 1), dtype=bool)).round(2)
    array([0.31])
    """
    bins = np.minimum((chances * _BINS).astype(np.int64), _BINS - 1)
    excess = np.where(counts, chances - present, 0.0)
    total = np.zeros(chances.shape[1])
    for k in range(_BINS):
        total += np.abs(np.where(bins == k, excess, 0.0).sum(0))
    return _share(total, counts.sum(0))


def _hits(
    scores: NDArray[Any], present: NDArray[Any], candidates: NDArray[Any], k: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Which of the k highest are true, (N, k), and how many there are to be found, (N,)."""
    k = whole_number(k, "k")
    if not scores.shape == present.shape == candidates.shape or scores.ndim != 2:
        raise ValueError(
            f"scores, present and candidates must be (N, S); got {scores.shape}, {present.shape}, {candidates.shape}"
        )
    found = present & candidates
    ranked = np.argsort(np.where(candidates, -scores, np.inf), axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, ranked, 1), found.sum(1)


def _share(part: NDArray[Any], whole: NDArray[Any]) -> NDArray[np.float64]:
    shares: NDArray[np.float64] = np.divide(part, whole, out=np.full(len(part), np.nan), where=whole > 0)
    return shares

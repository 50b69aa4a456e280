"""What a model of checklists must beat: prevalence, a closed form, and a regression on effort and season."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ease_weights", "effort_regression", "prevalence"]

_MOST_STEPS, _TOLERANCE = 100, 1e-8  # of Newton's method, and of its last step


def prevalence(present: NDArray[Any]) -> NDArray[np.float64]:
    """The share of checklists with each species, with half a checklist more of either kind: (N, S) -> (S,).

    >>> prevalence(np.array([[1, 0], [1, 0], [0, 0]])).round(3)
    array([0.625, 0.125])
    """
    return np.asarray((present.sum(0, dtype=np.float64) + 0.5) / (len(present) + 1))


def ease_weights(present: NDArray[Any], penalty: float = 100.0) -> NDArray[np.float64]:
    """The linear model of each species by all others that has the least squared error: (N, S) -> (S, S), diagonal 0.

    ``given @ weights`` are scores of a checklist's species, which are not probabilities.

    Args:
        present: 0 or 1.
        penalty: the penalty of the squared weights, positive; larger where checklists are few.

    Raises:
        ValueError: if the penalty is not positive.

    >>> weights = ease_weights(np.array([[1, 1, 0], [1, 1, 0], [0, 0, 1]]), penalty=0.1)
    >>> bool(weights[0, 1] > 0.9), weights.diagonal().tolist()
    (True, [0.0, 0.0, 0.0])

    Reference: H. Steck, Embarrassingly Shallow Autoencoders for Sparse Data, arXiv:1905.03375.
    """
    if not penalty > 0:
        raise ValueError(f"penalty must be positive, of the squared weights; got {penalty}")
    x = present.astype(np.float64)
    gram = x.T @ x
    gram[np.diag_indices_from(gram)] += penalty
    inverse = np.linalg.inv(gram)
    weights: NDArray[np.float64] = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def effort_regression(
    covariates: NDArray[Any], present: NDArray[Any], new_covariates: NDArray[Any]
) -> NDArray[np.float64]:
    """The probability of each species by a logistic regression on covariates: (M, S).

    Covariates are standardised; one that is not known, NaN, counts as the mean. Weights have the penalty of half their
    sum of squares, the intercept has none, as scikit-learn's ``LogisticRegression()``; all species are fitted at once,
    by Newton's method. A species that is on all checklists, or on none, has its prevalence.

    Args:
        covariates: (N, C), of the checklists to learn from.
        present: (N, S).
        new_covariates: (M, C), of those to predict.
    """
    known = np.asarray(covariates, np.float64)
    is_known = ~np.isnan(known)
    counts = np.maximum(is_known.sum(0), 1)
    mean = np.where(is_known, known, 0).sum(0) / counts
    deviation = np.sqrt(np.square(np.where(is_known, known - mean, 0)).sum(0) / counts)
    deviation = np.where(deviation > 0, deviation, 1.0)
    train, new = (_with_ones((np.asarray(c, np.float64) - mean) / deviation) for c in (known, new_covariates))
    shares = prevalence(present)
    varies = (present.any(0)) & ~(present.all(0))
    weights = np.zeros((train.shape[1], present.shape[1]))  # (1 + C, S), the intercepts first
    weights[0] = np.log(shares / (1 - shares))
    weights[:, varies] = _fitted(train, present[:, varies].astype(np.float64), weights[:, varies])
    return _sigmoid(new @ weights)


def _with_ones(scaled: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.column_stack([np.ones(len(scaled)), np.nan_to_num(scaled)])


def _fitted(x: NDArray[np.float64], y: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The weights (F, S) of the logistic regressions of each column of y (N, S) on x (N, F)."""
    size = x.shape[1]
    penalty = np.diag([0.0, *np.ones(size - 1)])
    products = (x[:, :, None] * x[:, None, :]).reshape(len(x), size * size)
    for _ in range(_MOST_STEPS):
        chances = _sigmoid(x @ weights)
        gradient = x.T @ (chances - y) + penalty @ weights  # (F, S)
        curvature = ((chances * (1 - chances)).T @ products).reshape(-1, size, size) + penalty
        step = np.linalg.solve(curvature, gradient.T[..., None])[..., 0].T
        length = np.abs(step).max(0, initial=0.0)
        weights = weights - step / np.maximum(length, 1.0)  # at most 1 in each weight, or a rare species might jump
        if length.max(initial=0.0) < _TOLERANCE:
            break
    return weights


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)))

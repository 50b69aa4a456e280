"""What a model of checklists must beat: prevalence, a closed form, and a regression on effort and season."""

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["ease_weights", "effort_regression", "prevalence"]


def prevalence(present: NDArray[Any]) -> NDArray[np.float64]:
    """The share of checklists with each species, with half a checklist more of either kind: (N, S) -> (S,).

    >>> prevalence(np.array([[1, 0], [1, 0], [0, 0]])).round(3)
    array([0.625, 0.125])
    """
    return np.asarray((present.sum(0, dtype=np.float64) + 0.5) / (len(present) + 1))


def ease_weights(present: NDArray[Any], penalty: float = 100.0) -> NDArray[np.float64]:
    """The linear model of each species by all others that has the least squared error: (N, S) -> (S, S), diagonal 0.

    ``given @ weights`` are scores of a checklist's species, which are no probabilities.

    Args:
        present: 0 or 1.
        penalty: of the squared weights, positive; larger where checklists are few.

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

    Covariates are standardised; one that is not known, NaN, counts as the mean. The regression has scikit-learn's
    penalty (L2, C=1). A species that is on all checklists, or on none, has its prevalence.

    Args:
        covariates: (N, C), of the checklists to learn from.
        present: (N, S).
        new_covariates: (M, C), of those to predict.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    known = np.asarray(covariates, np.float64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a covariate that is known of no checklist
        mean = np.nan_to_num(np.nanmean(known, 0))
        deviation = np.nan_to_num(np.nanstd(known, 0))
    deviation = np.where(deviation > 0, deviation, 1.0)
    train, new = (np.nan_to_num((np.asarray(c, np.float64) - mean) / deviation) for c in (known, new_covariates))
    chances = np.tile(prevalence(present), (len(new), 1))
    counts = present.sum(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for column in np.flatnonzero((counts > 0) & (counts < len(present))):
            model = LogisticRegression(max_iter=200).fit(train, present[:, column])
            chances[:, column] = model.predict_proba(new)[:, 1]
    return chances

"""What several runs of the same say: a mean with its interval, and whether two settings differ."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ignite_recipes.optional import needs

__all__ = ["CONFIDENCE", "Difference", "Spread", "fold_correction", "paired_difference", "spread"]

CONFIDENCE = 0.95
"""The confidence of all intervals, unless another one is given."""


class Spread(NamedTuple):
    """The mean of some runs, and where the mean of many more would lie.

    Attributes:
        mean: the mean of the values; NaN if there is none.
        std: their standard deviation, with n - 1; NaN of fewer than two.
        n: how many there are.
        low, high: the interval of the mean; NaN of fewer than two values.

    >>> Spread(2.0, 1.0, 3, -0.48, 4.48).n
    3
    """

    mean: float
    std: float
    n: int
    low: float
    high: float


class Difference(NamedTuple):
    """By how much a setting differs from another on the same seeds.

    Attributes:
        mean: the mean of the differences, the first less the second.
        low, high: its interval; NaN for fewer than two pairs.
        n: pairs.
        p_value: the p-value of the paired t-test; NaN for fewer than two pairs.
    """

    mean: float
    low: float
    high: float
    n: int
    p_value: float

    @property
    def is_certain(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def spread(values: Sequence[float], confidence: float = CONFIDENCE, *, correction: float = 0.0) -> Spread:
    """The mean of independent runs with its interval, by Student's t.

    Args:
        values: a number for each run; one that is not finite makes all of them NaN.
        confidence: the confidence of the interval, in (0, 1).
        correction: added to the 1/n of the variance of the mean, where runs are not independent; see
            :func:`fold_correction`.

    >>> found = spread([1.0, 2.0, 3.0])
    >>> round(found.mean, 3), round(found.std, 3), round(found.low, 3), round(found.high, 3)
    (2.0, 1.0, -0.484, 4.484)
    """
    _check_confidence(confidence)
    found = np.asarray(values, dtype=np.float64)
    count = len(found)
    if not count or not np.isfinite(found).all():
        return Spread(math.nan, math.nan, count, math.nan, math.nan)
    mean = float(found.mean())
    if count < 2:
        return Spread(mean, math.nan, count, math.nan, math.nan)
    std = float(found.std(ddof=1))
    reach = _quantile(confidence, count - 1) * std * math.sqrt(1 / count + correction)
    return Spread(mean, std, count, mean - reach, mean + reach)


def paired_difference(
    first: Sequence[float], second: Sequence[float], confidence: float = CONFIDENCE, *, correction: float = 0.0
) -> Difference:
    """The mean difference of two settings that were run on the same seeds, with its interval, by Student's t.

    What a seed brings both, like easy rows to validate on, is in both values and not in their difference.

    Args:
        first, second: a number for each seed, in the same order.
        confidence, correction: as of :func:`spread`.

    Raises:
        ValueError: if they have not the same number of values.

    >>> found = paired_difference([1.0, 2.0, 3.0], [0.9, 1.8, 2.7])
    >>> round(found.mean, 3), found.is_certain, round(found.p_value, 3)
    (0.2, False, 0.074)
    """
    if len(first) != len(second):
        raise ValueError(f"pairs need as many values on both sides; got {len(first)} and {len(second)}")
    differences = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    found = spread(differences.tolist(), confidence, correction=correction)
    return Difference(found.mean, found.low, found.high, found.n, _p_value(found, correction))


def fold_correction(folds: int) -> float:
    """What to add to 1/n for the scores of K folds of one seed, whose rows to train on overlap: 1 / (K - 1).

    That is the number of rows that a fold is measured on by that which it was trained on.

    >>> fold_correction(5)
    0.25

    Reference: C. Nadeau, Y. Bengio, Inference for the Generalization Error, Machine Learning 52, 2003.
    """
    return 1 / (folds - 1)


def _p_value(found: Spread, correction: float) -> float:
    with needs("tables"):
        from scipy.stats import t

    if found.n < 2 or math.isnan(found.mean):
        return math.nan
    if found.std == 0:
        return 0.0 if found.mean else 1.0
    statistic = found.mean / (found.std * math.sqrt(1 / found.n + correction))
    return float(2 * t.sf(abs(statistic), found.n - 1))


def _quantile(confidence: float, freedom: int) -> float:
    with needs("tables"):
        from scipy.stats import t

    return float(t.ppf((1 + confidence) / 2, freedom))


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), e.g. 0.95; got {confidence!r}")

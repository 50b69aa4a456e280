"""Forecasts that need no network: of a series (L, F), the T samples after each of some rows.

Each is a function of the series, of the rows that may be learnt from, and of the first rows of the targets. It looks at
nothing from a target's first row on.
"""

import warnings
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.optional import needs

__all__ = ["arima", "last_value", "mean", "seasonal_naive"]

Array: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.int64]


def last_value(series: Array, num_train: int, starts: Rows, steps: int) -> Array:
    """The sample before the target, again and again: (N, T, F).

    >>> last_value(np.array([[1.0], [2.0], [4.0]]), 1, np.array([1, 2]), 2)[..., 0].tolist()
    [[1.0, 1.0], [2.0, 2.0]]
    """
    return np.repeat(series[starts - 1][:, None], steps, axis=1)


def mean(series: Array, num_train: int, starts: Rows, steps: int) -> Array:
    """The mean of the first ``num_train`` rows: (N, T, F).

    >>> mean(np.array([[1.0], [2.0], [4.0]]), 2, np.array([2]), 1).tolist()
    [[[1.5]]]
    """
    return np.broadcast_to(series[:num_train].mean(0), (len(starts), steps, series.shape[1])).copy()


def seasonal_naive(series: Array, num_train: int, starts: Rows, steps: int, *, season: int) -> Array:
    """The sample as many whole seasons earlier as it takes to be before the target: (N, T, F).

    >>> series = np.arange(8.0)[:, None]
    >>> seasonal_naive(series, 1, np.array([6]), 4, season=3)[0, :, 0].tolist()
    [3.0, 4.0, 5.0, 3.0]
    """
    back = season - np.arange(steps) % season  # the rows before the target's first one
    found: Array = series[starts[:, None] - back]
    return found


def arima(series: Array, num_train: int, starts: Rows, steps: int, *, order: tuple[int, int, int]) -> Array:
    """Each feature by an ARIMA of its own, fitted to the first ``num_train`` rows and not again: (N, T, F).

    A feature that is constant there is expected to stay so. What is forecast is the mean, from the state that the
    filter has before the target's first row.

    Raises:
        MissingPackageError: without statsmodels.
    """
    columns = [_arima_of_one(column, num_train, starts, steps, order) for column in series.T]
    return np.stack(columns, axis=-1)


def _arima_of_one(series: Array, num_train: int, starts: Rows, steps: int, order: tuple[int, int, int]) -> Array:
    with needs("traffic", "pass arima_order=None"):
        from statsmodels.tsa.arima.model import ARIMA

    if np.ptp(series[:num_train]) == 0:
        return np.full((len(starts), steps), series[0])
    with warnings.catch_warnings():  # of first guesses that are not stationary, and of a search that ends early
        warnings.simplefilter("ignore")
        fitted = ARIMA(series[:num_train], order=order).fit()
        filtered = fitted.apply(series).filter_results
    # The filter's own form: a state is carried on by the transition, and seen through the design.
    design, transition = filtered.design[0, :, 0], filtered.transition[:, :, 0]
    carried = filtered.state_intercept[:, 0]
    states = filtered.predicted_state[:, starts]  # (K, N), each of what is before its row
    found = []
    for _ in range(steps):
        found.append(design @ states + filtered.obs_intercept[0, -1])
        states = transition @ states + carried[:, None]
    return np.stack(found, axis=1)

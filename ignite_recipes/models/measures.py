"""How good predictions are, as functions of the truth and the outputs: the same wherever an answer is judged."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CLASS_MEASURES", "NUMBER_MEASURES", "Measure", "class_measures", "measure_mode", "measured"]

Array: TypeAlias = NDArray[Any]
Measure: TypeAlias = Callable[[Array, Array], float]
"""A function of the truth (N,) and the predictions: probabilities (N, K) of classes, or numbers (N,)."""


def accuracy(truth: Array, chances: Array) -> float:
    """In percent."""
    return 100 * float((chances.argmax(1) == truth).mean())


def balanced_accuracy(truth: Array, chances: Array) -> float:
    """The mean over the classes that occur of the part of each that is found, in percent."""
    hits = np.bincount(truth[chances.argmax(1) == truth], minlength=chances.shape[1])
    counts = np.bincount(truth, minlength=chances.shape[1])
    return 100 * float((hits[counts > 0] / counts[counts > 0]).mean())


def f1(truth: Array, chances: Array) -> float:
    """The mean over the classes that occur, in truth or predicted, of 2 hits / (true + predicted), in percent."""
    chosen, num_classes = chances.argmax(1), chances.shape[1]
    hits = np.bincount(truth[chosen == truth], minlength=num_classes)
    sizes = np.bincount(truth, minlength=num_classes) + np.bincount(chosen, minlength=num_classes)
    return 100 * float((2 * hits[sizes > 0] / sizes[sizes > 0]).mean())


def log_loss(truth: Array, chances: Array) -> float:
    """The mean cross-entropy, in nats."""
    own = chances[np.arange(len(truth)), truth]
    return float(-np.log(np.clip(own, np.finfo(np.float64).tiny, None)).mean())


def roc_auc(truth: Array, chances: Array) -> float:
    """The probability that a row of class 1 has the higher chance than one of class 0; NaN where one is absent."""
    _, ranks, sizes = np.unique(chances[:, 1], return_inverse=True, return_counts=True)
    places = (np.cumsum(sizes) - (sizes - 1) / 2)[ranks]  # equal chances share the mean of their places
    positive = int(truth.sum())
    negative = len(truth) - positive
    if not positive or not negative:
        return float("nan")
    return float((places[truth == 1].sum() - positive * (positive + 1) / 2) / (positive * negative))


def rmse(truth: Array, guess: Array) -> float:
    """The root of the mean squared error, in the target's units."""
    return float(np.sqrt(np.square(truth - guess).mean()))


def mae(truth: Array, guess: Array) -> float:
    """The mean absolute error, in the target's units."""
    return float(np.abs(truth - guess).mean())


def r2(truth: Array, guess: Array) -> float:
    """The part of the variance that is explained; NaN where the truth does not vary."""
    spread = np.square(truth - truth.mean()).sum()
    return float(1 - np.square(truth - guess).sum() / spread) if spread > 0 else float("nan")


CLASS_MEASURES: dict[str, Measure] = {
    "accuracy": accuracy,
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "log_loss": log_loss,
}
NUMBER_MEASURES: dict[str, Measure] = {"rmse": rmse, "mae": mae, "r2": r2}
_LOWER_IS_BETTER = ("log_loss", "rmse", "mae")


def class_measures(num_classes: int) -> dict[str, Measure]:
    """Those of classes; of two classes also the area under the ROC curve."""
    return {**CLASS_MEASURES, **({"roc_auc": roc_auc} if num_classes == 2 else {})}


def measured(measures: Mapping[str, Measure], truth: Array, predicted: Array) -> dict[str, float]:
    """All of them; NaN where one is not defined on this truth."""
    return {name: measure(truth, predicted) for name, measure in measures.items()}


def measure_mode(name: str) -> str | None:
    """Which end of one of these measures is better, ``"min"`` or ``"max"``; None of another name.

    >>> measure_mode("rmse"), measure_mode("r2"), measure_mode("bogus")
    ('min', 'max', None)
    """
    if name in _LOWER_IS_BETTER:
        return "min"
    return "max" if name in {**class_measures(2), **NUMBER_MEASURES} else None

"""Measures for people to read: their names, their units, and how certain they are."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.models import VectorEmbedder, WindowPredictor
from ignite_recipes.models.file import Predictor
from ignite_recipes.models.measures import Measure

__all__ = ["TITLES", "Interval", "bootstrap", "num_resamples", "show", "unit_of_measure"]

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "f1": "F1, mean over the classes",
    "log_loss": "log loss",
    "roc_auc": "area under the ROC curve",
    "rmse": "root mean squared error",
    "mae": "mean absolute error",
    "r2": "R²",
    "loss": "negative evidence lower bound",
    "recon_loss": "reconstruction",
    "kl_loss": "Kullback-Leibler divergence",
}
RESAMPLES = 1000
_MOST_DRAWS = 50_000_000  # of rows in all: where there are many rows, fewer resamples say the same


class Interval(NamedTuple):
    """A measure and where it would lie with other samples of the same kind.

    >>> Interval(90.0, 80.0, 95.0).high
    95.0
    """

    value: float
    low: float
    high: float


def bootstrap(
    measures: Mapping[str, Measure],
    truth: NDArray[Any],
    predicted: NDArray[Any],
    *,
    block: int = 1,
    resamples: int = RESAMPLES,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Interval]:
    """Each measure with its percentile bootstrap interval: the samples are drawn again, with replacement.

    Args:
        measures: of truth and predictions.
        truth, predicted: (N,), and (N,) or (N, K).
        block: samples in a row that are drawn together, where neighbours are not independent.
        resamples: how often all N are drawn; fewer of more than 50,000 samples, at least 100.
        confidence: the confidence of the interval, in (0, 1).
        seed: the seed of the draws; one seed gives one result.

    >>> from ignite_recipes.models.measures import NUMBER_MEASURES
    >>> truth = np.arange(100.0)
    >>> found = bootstrap(NUMBER_MEASURES, truth, truth + np.tile([1.0, -1.0], 50))
    >>> found["mae"]
    Interval(value=1.0, low=1.0, high=1.0)

    Reference: B. Efron, R. Tibshirani, An Introduction to the Bootstrap, 1993, chapter 13.
    """
    count = len(truth)
    block = min(block, count)
    generator = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in measures}
    for _ in range(num_resamples(count, resamples)):
        starts = generator.integers(count - block + 1, size=-(-count // block))
        rows = (starts[:, None] + np.arange(block)).ravel()[:count]
        for name, measure in measures.items():
            drawn[name].append(measure(truth[rows], predicted[rows]))
    ends = [(1 - confidence) / 2, (1 + confidence) / 2]
    found = {}
    for name, measure in measures.items():
        known = np.array(drawn[name])
        known = known[np.isfinite(known)]
        low, high = np.quantile(known, ends) if len(known) else (np.nan, np.nan)
        found[name] = Interval(measure(truth, predicted), float(low), float(high))
    return found


def num_resamples(count: int, wanted: int = RESAMPLES) -> int:
    """How often so many samples are drawn again.

    >>> num_resamples(300), num_resamples(1_000_000)
    (1000, 100)
    """
    return max(min(wanted, _MOST_DRAWS // max(count, 1)), min(wanted, 100))


def unit_of_measure(predictor: Predictor, name: str) -> str:
    """What stands after a measure's number.

    >>> import torch
    >>> from ignite_recipes import ArrayPredictor
    >>> unit_of_measure(ArrayPredictor(torch.nn.Linear(2, 2), class_names=["crow", "kite"]), "accuracy")
    '%'
    """
    if isinstance(predictor, WindowPredictor):
        return ""
    if isinstance(predictor, VectorEmbedder):
        return " latent dimensions" if name == "active_units" else " nats per vector"
    if name in ("rmse", "mae"):
        unit = predictor.units.get("prediction")
        return f" {unit}" if unit else ""
    return {"accuracy": "%", "balanced_accuracy": "%", "f1": "%", "log_loss": " nats"}.get(name, "")


def show(value: float) -> str:
    """A number for people.

    >>> show(0.123456), show(93.756), show(1234567.0)
    ('0.1235', '93.76', '1.235e+06')
    """
    return f"{value:.4g}"

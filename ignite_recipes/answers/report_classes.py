"""What a report says of a classifier: measures, confusions, each class, calibration, the worst examples."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.answers.inputs import Inputs
from ignite_recipes.answers.measured import bootstrap
from ignite_recipes.answers.report_page import Picture, Section, Table
from ignite_recipes.answers.report_tables import example_table, measure_table, sentence
from ignite_recipes.models.file import Predictor
from ignite_recipes.models.measures import class_measures
from ignite_recipes.plotting.diagnostics import as_label, draw_calibration, draw_confusion, draw_examples

__all__ = ["Calibration", "calibration", "class_sections", "confusions", "per_class"]

BINS = 10
WORST = 12
_MOST_IN_PICTURE = 30  # classes
_MOST_IN_TABLE = 60


class Calibration(NamedTuple):
    """Means in bins of the probability of the predicted class, (B,) each, and their weighted distance.

    >>> Calibration(0.1, np.zeros(1), np.zeros(1), np.ones(1)).error
    0.1
    """

    error: float
    """Expected calibration error, in [0, 1]."""
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    counts: NDArray[np.int64]


def calibration(truth: NDArray[Any], chances: NDArray[Any], bins: int = BINS) -> Calibration:
    """How far the probability of the predicted class is from how often it is right.

    >>> found = calibration(np.array([0, 0, 0, 1]), np.tile([0.75, 0.25], (4, 1)))
    >>> found.error, int(found.counts.max())
    (0.0, 4)

    Reference: C. Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599.
    """
    confidence, right = chances.max(1), chances.argmax(1) == truth
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        means = np.bincount(place, confidence, bins) / counts
        accuracies = np.bincount(place, right, bins) / counts
    error = float(np.nansum(counts * np.abs(means - accuracies)) / len(truth))
    return Calibration(error, means, accuracies, counts)


def confusions(truth: NDArray[Any], chances: NDArray[Any]) -> NDArray[np.int64]:
    """How often each class was predicted as each: (K, K), true classes downwards.

    >>> confusions(np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7]])).tolist()
    [[1, 0], [1, 1]]
    """
    size = chances.shape[1]
    return np.bincount(truth * size + chances.argmax(1), minlength=size**2).reshape(size, size)


def per_class(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Precision, recall and F1 in percent, and support of each class, (K, 4); NaN where one is not defined.

    >>> per_class(np.array([[1, 0], [1, 1]])).round(1).tolist()
    [[50.0, 100.0, 66.7, 1.0], [100.0, 50.0, 66.7, 2.0]]
    """
    hits, predicted, support = np.diag(counts), counts.sum(0), counts.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        columns = [hits / predicted, hits / support, 2 * hits / (predicted + support)]
    return np.column_stack([*(100 * column for column in columns), support])


def class_sections(
    predictor: Predictor, inputs: Inputs, truth: NDArray[Any], chances: NDArray[Any], images: NDArray[Any] | None
) -> tuple[str, list[Section]]:
    """What stands first on the page, and the sections.

    Args:
        predictor: the classifier.
        inputs: that were predicted.
        truth: (N,), numbers of classes.
        chances: (N, K).
        images: (N, H, W) or (N, H, W, 3) if the samples are such.
    """
    names = list(predictor.class_names or range(chances.shape[1]))
    found = bootstrap(class_measures(len(names)), truth, chances)
    guess = 100 * np.bincount(truth).max() / len(truth)
    counts, bins = confusions(truth, chances), calibration(truth, chances)
    headline = (
        f"Accuracy {sentence(found['accuracy'], '%')} on {len(truth)} samples; always guessing the most frequent class "
        f"would reach {guess:.4g}%."
    )
    sections = [
        Section("Measures", measure_table(predictor, found, len(truth))),
        Section("Confusion matrix", _confusion_parts(counts, names)),
        Section("Classes", _class_parts(counts, names)),
        Section(
            "Calibration",
            [
                f"Expected calibration error {100 * bins.error:.3g}%: the mean distance, over {BINS} bins, between the "
                "probability of the predicted class and how often it is right.",
                Picture.of(
                    draw_calibration(bins.confidence, bins.accuracy, bins.counts),
                    "Reliability diagram: the part of predictions that is right, by their probability.",
                ),
            ],
        ),
        Section("Worst examples", _worst_parts(inputs, truth, chances, names, images)),
    ]
    return headline, sections


def _confusion_parts(counts: NDArray[np.int64], names: list[Any]) -> list[Any]:
    off = counts - np.diag(np.diag(counts))
    order = np.argsort(-off, axis=None, kind="stable")[:10]
    pairs = [(int(k) // len(names), int(k) % len(names)) for k in order]
    rows = [[str(names[a]), str(names[b]), int(off[a, b])] for a, b in pairs if off[a, b]]
    table = Table(["true", "predicted", "samples"], rows, "The most frequent confusions")
    parts: list[Any] = [table] if rows else ["No sample was confused."]
    if len(names) > _MOST_IN_PICTURE:
        return parts
    picture = Picture.of(draw_confusion(counts, names), "Confusion matrix: true classes downwards, predicted across.")
    return [picture, *parts]


def _class_parts(counts: NDArray[np.int64], names: list[Any]) -> list[Any]:
    numbers = per_class(counts)
    order = np.arange(len(names))
    note = ""
    if len(names) > _MOST_IN_TABLE:
        order = np.argsort(np.nan_to_num(numbers[:, 2], nan=np.inf))[:_MOST_IN_TABLE]
        note = f"The {_MOST_IN_TABLE} of {len(names)} classes with the lowest F1"
    rows = [[str(names[k]), *map(float, numbers[k, :3]), int(numbers[k, 3])] for k in order]
    return [Table(["class", "precision, %", "recall, %", "F1, %", "support"], rows, note)]


def _worst_parts(
    inputs: Inputs, truth: NDArray[Any], chances: NDArray[Any], names: list[Any], images: NDArray[Any] | None
) -> list[Any]:
    own = chances[np.arange(len(truth)), truth]
    worst = np.argsort(own, kind="stable")[:WORST]
    chosen = chances.argmax(1)
    text = f"The {len(worst)} samples whose true class got the lowest probability."
    if images is not None:
        labels = [as_label(name) for name in names]
        captions = [f"{labels[truth[k]]} as {labels[chosen[k]]}\n{chances[k].max():.2f}" for k in worst]
        alternative = "The worst examples, each with its true class, the predicted one and its probability."
        return [text, Picture.of(draw_examples(images[worst], captions), alternative, "true as predicted, probability")]
    first: dict[str, list[Any]] = {
        "true": [str(names[truth[k]]) for k in worst],
        "predicted": [str(names[chosen[k]]) for k in worst],
        "p of the true class": [float(own[k]) for k in worst],
    }
    return [text, example_table(inputs.rows, worst, first)]

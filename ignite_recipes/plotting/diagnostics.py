"""Pictures of how a trained model answers: confusions, calibration, residuals, examples, latent dimensions, flags."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.plotting.style import COLORS, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = [
    "as_label",
    "draw_calibration",
    "draw_confusion",
    "draw_divergences",
    "draw_examples",
    "draw_flags",
    "draw_residuals",
]

Array: TypeAlias = NDArray[Any]

_LONGEST = 24  # characters of a label
_IN_A_ROW = 6  # examples
_MOST_POINTS = 5000
_WITH_NUMBERS = 15  # classes of which each cell of the confusions has room for a number


def as_label(value: Any) -> str:
    r"""A person's text as a label of a picture: short, on one line, and never taken for a formula.

    >>> as_label("5 $")
    '5 \\$'
    """
    text = " ".join(str(value).split())
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return text.replace("$", r"\$")


def draw_confusion(counts: Array, class_names: Sequence[Any]) -> "Figure":
    """How often each class was predicted as each; shades are parts of the true class.

    Args:
        counts: (K, K), true classes downwards.
        class_names: K of them.
    """
    size = len(class_names)
    parts = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    side = min(max(3.2, 0.42 * size + 1.6), 9.0)
    figure = new_figure(side + 1.0, side)
    axes = figure.subplots()
    image = axes.imshow(parts, cmap="Blues", vmin=0, vmax=1)
    labels = [as_label(name) for name in class_names]
    rotation = 0 if max(map(len, labels)) <= 3 else 90
    axes.set_xticks(range(size), labels, rotation=rotation, fontsize="small")
    axes.set_yticks(range(size), labels, fontsize="small")
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    if size <= _WITH_NUMBERS:
        for row, column in zip(*np.nonzero(counts), strict=True):
            color = "white" if parts[row, column] > 0.6 else "black"
            axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color, fontsize="small")
    figure.colorbar(image, ax=axes, label="part of the true class", shrink=0.8)
    return figure


def draw_calibration(confidence: Array, accuracy: Array, counts: Array) -> "Figure":
    """How often predictions are right that say so with some probability.

    Args:
        confidence, accuracy: (B,), means in bins of the probability; NaN where a bin is empty.
        counts: (B,), of the samples in the bins.
    """
    figure = new_figure(4.6, 4.6)
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(0, 1, len(counts) + 1)
    axes.plot([0, 1], [0, 1], color="0.5", linestyle="--", label="perfectly calibrated")
    axes.plot(confidence, accuracy, color=COLORS[0], marker="o", label="the model")
    axes.set_ylabel("part that is right")
    axes.set_ylim(-0.02, 1.02)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, loc="lower right")
    below.bar(edges[:-1], counts, width=np.diff(edges), align="edge", color=COLORS[0], edgecolor="white")
    below.set_ylabel("samples")
    below.set_xlabel("probability of the predicted class")
    below.set_xlim(0, 1)
    return figure


def draw_residuals(truth: Array, guess: Array, name: str, unit: str = "") -> "Figure":
    """Predictions against the truth, and how their differences are spread.

    Args:
        truth, guess: (N,).
        name: the name of what is predicted.
        unit: the unit of it.
    """
    chosen = _thinned(len(truth))
    of_unit = f" ({as_label(unit)})" if unit else ""
    figure = new_figure(8.4, 3.8)
    left, right = figure.subplots(1, 2)
    look: dict[str, Any] = {"s": 9, "alpha": 0.5, "linewidths": 0, "color": COLORS[0], "rasterized": True}
    left.scatter(guess[chosen], truth[chosen], **look)
    ends = [min(truth.min(), guess.min()), max(truth.max(), guess.max())]
    left.plot(ends, ends, color="0.4", linestyle="--", linewidth=1)
    left.set_xlabel(f"predicted {as_label(name)}{of_unit}")
    left.set_ylabel(f"true {as_label(name)}{of_unit}")
    left.grid(alpha=0.3)
    right.hist(truth - guess, bins=min(40, max(8, round(len(truth) ** 0.5))), color=COLORS[0], edgecolor="white")
    right.axvline(0, color="0.4", linestyle="--", linewidth=1)
    right.set_xlabel(f"true - predicted{of_unit}")
    right.set_ylabel("samples")
    return figure


def draw_examples(images: Array, captions: Sequence[str]) -> "Figure":
    """Images with a caption each.

    Args:
        images: (N, H, W) or (N, H, W, 3), in [0, 1].
        captions: N of them.
    """
    columns = min(_IN_A_ROW, len(images))
    rows = -(-len(images) // columns)
    figure = new_figure(1.45 * columns, 1.75 * rows)
    panels = figure.subplots(rows, columns, squeeze=False).flat
    for axes, image, caption in zip(panels, images, captions, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, interpolation="nearest")
        axes.set_title(caption, fontsize="x-small")
    for number, axes in enumerate(figure.axes):
        axes.set_axis_off()
        if number >= len(images):
            axes.remove()
    return figure


def draw_divergences(divergences: Array) -> "Figure":
    """How much each latent dimension tells: its mean divergence from the prior, the largest first.

    Args:
        divergences: (Z,), nats per vector.
    """
    order = np.argsort(-divergences)
    figure = new_figure(min(max(4.0, 0.28 * len(order) + 1.2), 9.0), 3.2)
    axes = figure.subplots()
    axes.bar(range(len(order)), divergences[order], color=COLORS[0])
    if len(order) <= 40:
        axes.set_xticks(range(len(order)), [str(k + 1) for k in order], fontsize="small")
    axes.set_xlabel("latent dimension")
    axes.set_ylabel("KL divergence, nats per vector")
    axes.grid(alpha=0.3, axis="y")
    axes.set_axisbelow(True)
    return figure


def draw_flags(sent: Array, chances: Array, guesses: dict[str, Array], threshold: float = 0.5) -> "Figure":
    """Which samples were transmitted, how probable the model held each, and what the baselines expected.

    Args:
        sent: (L,), flags of the samples in their order.
        chances: (L,), of the model.
        guesses: flags (L,) of each baseline, by its name.
        threshold: the probability above which the model expects a transmission.
    """
    figure = new_figure(8.4, 1.6 + 0.35 * len(guesses) + 1.2)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[2, 1 + 0.4 * len(guesses)])
    places = np.arange(len(sent))
    above.plot(places, chances, color=COLORS[0], linewidth=1)
    above.axhline(threshold, color="0.5", linestyle="--", linewidth=1)
    above.set_ylim(-0.02, 1.02)
    above.set_ylabel("probability")
    rows = {"transmitted": sent, "model": chances > threshold, **guesses}
    for row, flags in enumerate(rows.values()):
        where = places[np.asarray(flags) > 0.5]
        below.scatter(where, [row] * len(where), marker="|", s=60, color="black" if row == 0 else COLORS[row - 1])
    below.set_yticks(range(len(rows)), [*rows], fontsize="small")
    below.set_ylim(len(rows) - 0.5, -0.5)
    below.set_xlabel("sample, one after the other")
    return figure


def _thinned(count: int) -> Array:
    """At most 5000 of so many, always the same ones."""
    if count <= _MOST_POINTS:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, _MOST_POINTS, replace=False))

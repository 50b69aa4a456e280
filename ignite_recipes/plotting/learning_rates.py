"""The picture of a range test of the learning rate."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ignite_recipes.plotting.style import COLORS, curve_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_learning_rates"]


def plot_learning_rates(
    rates: Sequence[float],
    losses: Sequence[float],
    smoothed: Sequence[float],
    suggestion: float | None,
    minimum: float | None,
) -> "Figure":
    """Draw the losses over the rates, their average, and the suggested rate.

    Args:
        rates, losses, smoothed: of each step.
        suggestion, minimum: rates that are marked; None where there is none.

    >>> figure = plot_learning_rates([1e-3, 1e-2, 1e-1], [3.0, 2.0, 9.0], [3.0, 2.5, 4.0], 1e-2, 1e-2)
    >>> figure.axes[0].get_xscale()
    'log'
    """
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    axes.plot(rates, losses, color="0.65", linewidth=1, label="loss of a step")
    axes.plot(rates, smoothed, color=COLORS[0], linewidth=2, label="moving average")
    marks = (("steepest descent", suggestion, COLORS[1], "o"), ("lowest", minimum, COLORS[2], "s"))
    for name, rate, color, marker in marks:
        if rate is not None:
            height = smoothed[int(np.argmin(np.abs(np.log(rates) - np.log(rate))))]
            axes.plot([rate], [height], marker, color=color, markersize=9, label=f"{name}: {rate:.2g}", zorder=3)
    axes.set_xscale("log")
    axes.set_xlabel("learning rate")
    axes.set_ylabel("loss")
    low, high = min(losses), max(losses)
    first = max(losses[: max(len(losses) // 2, 1)])  # where it has diverged it would dwarf the rest
    top = min(high, first + (first - low) / 2)
    room = 0.05 * (top - low) or 1
    axes.set_ylim(low - room, top + room)
    axes.grid(alpha=0.3)
    axes.set_title("Range test of the learning rate")
    curve_legend(figure, loc="outside lower center", ncols=2)
    return figure

"""Pictures of many runs: curves with a band, and a metric against a number that was swept."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ignite_recipes.plotting.quantities import PARTS, name_of, part_of, title, unit_of
from ignite_recipes.plotting.style import COLORS, LINES, MARKERS, curve_legend, epoch_axis, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["is_number", "plot_bands", "plot_sweep"]

_WIDE = 10.0  # times its smallest value: what a swept number is drawn on a logarithmic axis for

_MOST_TICKS = 8  # of swept values; more stand at round numbers


def plot_bands(curves: Mapping[str, Sequence[Mapping[str, Sequence[float]]]], metric: str) -> "Figure":
    """The mean over runs of a metric, epoch by epoch, in a band of a standard deviation to either side.

    A thin line is a run. The mean is drawn as far as all runs of a setting go, and of two at least.

    Args:
        curves: for each setting its runs, each with ``epoch`` and the metric.
        metric: to draw.

    Raises:
        ValueError: if there is no run.

    >>> runs = [{"epoch": [1, 2], "val_loss": [2.0, 1.0]}, {"epoch": [1, 2, 3], "val_loss": [4.0, 3.0, 2.0]}]
    >>> figure = plot_bands({"all": runs}, "val_loss")
    >>> figure.axes[0].lines[-1].get_ydata().tolist()
    [3.0, 2.0]
    """
    settings = {label: runs for label, runs in curves.items() if runs}
    if not settings:
        raise ValueError(f"there must be a run that has {metric}; got none")
    figure = new_figure(7.5, 4.2)
    axes = figure.subplots()
    epoch_axis(axes, [epoch for runs in settings.values() for run in runs for epoch in run["epoch"]])
    for number, (label, runs) in enumerate(settings.items()):
        color, line = COLORS[number % len(COLORS)], LINES[number % len(LINES)]
        for run in runs:
            axes.plot(run["epoch"], run[metric], color=color, linewidth=0.6, alpha=0.35)
        shared = min(len(run[metric]) for run in runs)
        values = np.array([run[metric][:shared] for run in runs], dtype=np.float64)
        epochs, mean = runs[0]["epoch"][:shared], values.mean(0)
        if len(runs) > 1:
            spread = values.std(0, ddof=1)
            axes.fill_between(epochs, mean - spread, mean + spread, color=color, alpha=0.15, linewidth=0)
        axes.plot(epochs, mean, color=color, linestyle=line, linewidth=2, label=f"{label} ({len(runs)})")
    _name_metric(axes, metric)
    curve_legend(figure, loc="outside right upper", fontsize="small", title="setting (runs)")
    return figure


def plot_sweep(name: str, points: Mapping[str, Sequence[tuple[float, float, float, float]]], metric: str) -> "Figure":
    """A metric against a swept number: a marker is a mean, with its interval.

    Args:
        name: the name of the number.
        points: of each combination of the other settings its points, (number, mean, low, high).
        metric: that is drawn.

    Raises:
        ValueError: if there is no point.

    >>> figure = plot_sweep("learning_rate", {"": [(0.001, 2.0, 1.5, 2.5), (0.1, 1.0, 0.5, 1.5)]}, "val_loss")
    >>> figure.axes[0].get_xscale(), figure.axes[0].get_xlabel()
    ('log', 'learning_rate')
    """
    lines = {label: sorted(found) for label, found in points.items() if found}
    if not lines:
        raise ValueError(f"there must be a value of {name} that {metric} is known of; got none")
    figure = new_figure(6.5 if len(lines) > 1 else 5.5, 3.8)
    axes = figure.subplots()
    for number, (label, found) in enumerate(lines.items()):
        numbers, means, lows, highs = (np.array(column, dtype=np.float64) for column in zip(*found, strict=True))
        reach = np.nan_to_num(np.stack([means - lows, highs - means]))
        style: dict[str, Any] = {"color": COLORS[number % len(COLORS)], "marker": MARKERS[number % len(MARKERS)]}
        style |= {"linestyle": LINES[number % len(LINES)], "capsize": 3, "label": label or None}
        axes.errorbar(numbers, means, yerr=reach, **style)
    every = [point[0] for found in lines.values() for point in found]
    if min(every) > 0 and max(every) >= _WIDE * min(every):
        axes.set_xscale("log")
    values = sorted(set(every))
    if len(values) <= _MOST_TICKS:
        axes.set_xticks(values, [f"{value:g}" for value in values])
        axes.set_xticks([], minor=True)
    axes.set_xlabel(name)
    axes.grid(alpha=0.3)
    _name_metric(axes, metric)
    if len(lines) > 1:
        curve_legend(figure, loc="outside right upper", fontsize="small")
    return figure


def _name_metric(axes: Any, metric: str) -> None:
    name, part = name_of(metric), part_of(metric)
    axes.set_ylabel(unit_of(name, "loss"))
    axes.set_title(f"{title(name)} ({PARTS[part]})" if part else title(name))


def is_number(value: Any) -> bool:
    """Whether a swept value can stand on an axis."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

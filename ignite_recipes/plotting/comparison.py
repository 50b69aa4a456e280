"""Several experiments in one picture."""

import math
import os
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite_recipes.experiments.differences import difference_labels
from ignite_recipes.experiments.labels import folder_labels
from ignite_recipes.experiments.summary import MODES, summarize
from ignite_recipes.plotting.histories import Columns, Experiment, columns_of, epochs_of, find_experiment, read_columns
from ignite_recipes.plotting.quantities import PARTS, loss_unit, name_of, part_of, title, unit_of
from ignite_recipes.plotting.style import COLORS, LINES, MARKERS, curve_legend, draw_curve, epoch_axis, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["compare_experiments"]

_ENTRIES_IN_A_COLUMN = 20  # of the legend


class _Curve(NamedTuple):
    label: str
    epochs: list[int]
    values: list[float]
    best: int | None  # its place in the lists

    def caption(self, unit: str) -> str:
        """The label, and the best value where there is one."""
        if self.best is None:
            return self.label
        value = f"{self.values[self.best]:.5g}{unit}"
        return f"{self.label}: {value} at epoch {self.epochs[self.best]}"


def compare_experiments(
    experiments: Iterable[Experiment] | Mapping[str, Experiment | Mapping[str, Any]],
    metric: str | None = None,
    *,
    mode: str | None = None,
    unit: str | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
) -> "Figure":
    """Draw one metric of several experiments in one picture, with the best epoch of each.

    The best epoch has a large marker, and its value is next to the picture, after the name of the experiment and at
    most three settings in which it differs from the others.

    Args:
        experiments: a list of experiments, each an :class:`ExperimentManager`, the path of its folder, or its
            name; or a mapping of labels to them, and also to histories as recipes return them.
        metric: a column of their logs, e.g. ``"val_loss"``. By default the first that all of them have of
            ``val_accuracy``, ``val_loss``, ``train_accuracy`` and ``train_loss``.
        mode: ``"min"`` or ``"max"``, whether a small or a large metric is best. By default the highest accuracy or the
            lowest loss of those four; any other metric has no best epoch without it.
        unit: the unit of the metric; by default as for :func:`plot_history`.
        runs_dir: where an experiment is looked for by its name.

    Returns:
        A matplotlib figure, not shown. ``figure.axes[0]`` is the picture, to change it, e.g.
        ``figure.axes[0].set_yscale("log")``.

    Raises:
        ValueError: if there is no experiment, one of them has no such metric or has not been trained (the message
            names the metrics it has), or for another ``mode``.
        TypeError: for anything that is not an experiment.
        FileNotFoundError: if there is no such experiment; the message names the existing ones.
        CheckpointError: if an experiment has no log, and none of its checkpoints is sound.

    >>> figure = compare_experiments({"small": {"val_loss": [3.0, 2.0, 2.5]}, "large": {"val_loss": [2.0, 1.0]}})
    >>> [text.get_text() for text in figure.legends[0].get_texts()]
    ['small: 2 at epoch 2', 'large: 1 at epoch 2']
    """
    if mode not in (None, "min", "max"):
        raise ValueError(
            f"mode must be 'min', 'max' or None, whether a small or a large metric is better; got {mode!r}"
        )
    found = _read_all(experiments, runs_dir)
    metric = _common_metric(found) if metric is None else metric
    mode = MODES.get(metric) if mode is None else mode
    curves = [_curve(label, columns, metric, mode) for label, columns in found.items()]

    name, part = name_of(metric), part_of(metric)
    units = {loss_unit(columns) for columns in found.values()}
    unit = unit_of(name, units.pop() if len(units) == 1 else "loss") if unit is None else unit
    columns = -(-len(curves) // _ENTRIES_IN_A_COLUMN)
    longest = max(len(curve.caption("%")) for curve in curves)
    figure = new_figure(5.5 + columns * (0.8 + 0.075 * longest), 4.5)
    axes = figure.subplots()
    epoch_axis(axes, [epoch for curve in curves for epoch in curve.epochs])
    axes.set_ylabel(unit)
    axes.set_title(f"{title(name)} ({PARTS[part]})" if part else title(name))
    for number, curve in enumerate(curves):
        _draw(axes, number, curve, "%" if unit == "%" else "")
    best = None if mode is None else f"best epoch ({'highest' if mode == 'max' else 'lowest'})"
    look = {"alignment": "left", "fontsize": "small", "handlelength": 3.5}
    curve_legend(figure, loc="outside right upper", ncols=columns, title=best, **look)
    return figure


def _read_all(experiments: Any, runs_dir: str | os.PathLike[str]) -> dict[str, Columns]:
    """The columns of each experiment, by its name, or its path where two have the same one, and what differs."""
    if isinstance(experiments, Mapping):
        return {
            str(label): columns_of(one) if isinstance(one, Mapping) else read_columns(find_experiment(one, runs_dir))
            for label, one in _not_empty(list(experiments.items()))
        }
    if isinstance(experiments, (str, bytes, os.PathLike)) or not isinstance(experiments, Iterable):
        raise TypeError(f"experiments must be a list of experiments; got {experiments!r}: put it in brackets")
    managers = [find_experiment(one, runs_dir) for one in _not_empty(list(experiments))]
    found = dict(zip(folder_labels([manager.experiment_dir for manager in managers]), managers, strict=True))
    summaries = {label: summarize(manager) for label, manager in found.items()}
    differences = difference_labels({label: summary.settings for label, summary in summaries.items()})
    said = {label: ", ".join(filter(None, (one.name, differences[label]))) for label, one in summaries.items()}
    return {
        f"{label} ({said[label]})" if said[label] else label: read_columns(manager) for label, manager in found.items()
    }


def _not_empty(experiments: list[Any]) -> list[Any]:
    if not experiments:
        raise ValueError("experiments must hold at least one experiment to draw; got none: see list_experiments")
    return experiments


def _metrics(columns: Columns) -> list[str]:
    return [name for name, values in columns.items() if values and name != "epoch"]


def _common_metric(found: Mapping[str, Columns]) -> str:
    for metric in MODES:
        if all(columns.get(metric) for columns in found.values()):
            return metric
    having = "; ".join(f"{label} has {', '.join(_metrics(columns)) or 'none'}" for label, columns in found.items())
    raise ValueError(f"experiments must have one of {', '.join(MODES)} in common; {having}: choose with metric=")


def _curve(label: str, columns: Columns, metric: str, mode: str | None) -> _Curve:
    values = columns.get(metric)
    if not values or metric == "epoch":
        having = ", ".join(_metrics(columns)) or "no metric at all"
        raise ValueError(f"metric must be one that every experiment has; {label} has no {metric!r}, it has {having}")
    places = [place for place, value in enumerate(values) if math.isfinite(value)]
    sign = -1 if mode == "max" else 1
    best = min(places, key=lambda place: sign * values[place]) if mode and places else None
    return _Curve(label, epochs_of(columns), values, best)


def _draw(axes: "Axes", number: int, curve: _Curve, unit: str) -> None:
    """One curve, unlike its neighbours in colour, line and marker; markers are few, and not all at the same epochs."""
    color, marker = COLORS[number % len(COLORS)], MARKERS[number % len(MARKERS)]
    style: dict[str, Any] = {"color": color, "marker": marker, "linestyle": LINES[number % len(LINES)]}
    count = len(curve.values)
    step = max(1, count // 8)
    marked = range(number % step, count, step)
    label = curve.caption(unit)
    draw_curve(axes, curve.epochs, curve.values, number=number, marked=marked, label=label, markersize=4, **style)
    if curve.best is not None:
        look = {
            "linestyle": "",
            "markersize": 9,
            "markeredgecolor": "black",
            "markeredgewidth": 1.2,
            "zorder": 3,
        }
        axes.plot(curve.epochs[curve.best], curve.values[curve.best], **{**style, **look})

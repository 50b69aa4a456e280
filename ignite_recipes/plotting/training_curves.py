"""The curves of one training."""

import math
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.summary import summarize
from ignite_recipes.plotting.histories import Columns, Experiment, columns_of, epochs_of, find_experiment, read_columns
from ignite_recipes.plotting.quantities import ALONE, PARTS, loss_unit, name_of, part_of, title, unit_of
from ignite_recipes.plotting.style import COLORS, LINES, curve_legend, draw_curve, epoch_axis, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_history"]


def plot_history(
    history: Mapping[str, Any] | Experiment,
    unit: str | None = None,
    *,
    best_epoch: int | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
) -> "Figure":
    """Draw the curves of a training, one panel for each quantity, training and validation together.

    A value that is not finite is a gap in its curve, and a cross at the foot of the panel. A quantity that is the same
    in all epochs, such as a learning rate without a schedule, has no panel: a line below the panels gives it.

    Args:
        history: the history that a recipe returns: ``train_<name>`` and ``val_<name>`` lists, an entry for each epoch.
            A list ``epoch`` numbers them; ``learning_rate``, ``batches_per_second``, ``skipped_steps`` and
            ``rollbacks`` get a panel too. Or an experiment: its :class:`ExperimentManager`, the path of its folder, or
            its name. Its log is drawn, or without one the history in its newest checkpoint.
        unit: the unit of the losses; by default the recipe's, if the history shows which recipe it was. Accuracies
            are in percent.
        best_epoch: the epoch to mark in every panel; for an experiment by default the best one by its monitored metric.
        runs_dir: where an experiment is looked for by its name.

    Returns:
        A matplotlib figure, not shown; a notebook shows it, ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: if there is no epoch to draw.
        TypeError: if it is neither a history nor an experiment.
        FileNotFoundError: if there is no such experiment; the message names the existing ones.
        CheckpointError: if an experiment has no log, and none of its checkpoints is sound.

    >>> figure = plot_history({"train_loss": [3.0, 2.0], "val_loss": [3.5, 2.5]})
    >>> [axes.get_title() for axes in figure.axes]
    ['Total loss']
    """
    if isinstance(history, (ExperimentManager, str, os.PathLike)):
        experiment = find_experiment(history, runs_dir)
        name, columns = os.path.basename(experiment.experiment_dir), read_columns(experiment)
        if best_epoch is None and (best := summarize(experiment).best) is not None:
            best_epoch = best.epoch
    else:
        name, columns = "", columns_of(history)
    columns = {column: values for column, values in columns.items() if values}
    names = list(dict.fromkeys(name_of(column) for column in columns if part_of(column)))
    if not names:
        raise ValueError("a history must hold at least one epoch of a train_ or val_ list; got none: train first")
    names.sort(key=lambda name: name not in ("loss", "accuracy"))  # what is looked at first
    names += [name for name in ALONE if name in columns]
    same = {quantity: value for quantity in names[1:] if (value := _same(quantity, columns)) is not None}
    names = [quantity for quantity in names if quantity not in same]

    rows, width = _grid(len(names))
    figure = new_figure(4.2 * width, 3.2 * rows + 0.3)
    panels = figure.subplots(rows, width, squeeze=False).flat
    for axes, quantity in zip(panels, names, strict=False):
        _panel(axes, quantity, columns)
        axes.set_title(title(quantity))
        axes.set_ylabel(unit_of(quantity, loss_unit(columns) if unit is None else unit))
        if best_epoch is not None:
            axes.axvline(best_epoch, color="0.4", linestyle=":", label=f"best epoch ({best_epoch})", zorder=0)
    for axes in figure.axes[len(names) :]:
        axes.remove()
    if name:
        figure.suptitle(name)
    said = ", ".join(f"{title(quantity).lower()} {value:g}" for quantity, value in same.items())
    heading = f"the same in all epochs: {said}" if said else None
    curve_legend(figure, loc="outside lower center", ncols=3, title=heading, title_fontsize="small")
    return figure


def _same(quantity: str, columns: Columns) -> float | None:
    """The one value that a quantity has in all of several epochs, training and validation together."""
    named = [quantity] if quantity in ALONE else [f"{part}_{quantity}" for part in PARTS]
    values = [value for name in named for value in columns.get(name, ())]
    has_several = max(len(columns.get(name, ())) for name in named) > 1
    return values[0] if has_several and len(set(values)) == 1 and math.isfinite(values[0]) else None


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns: one row for three panels, a square for four, two rows for more."""
    columns = count if count <= 3 else max(2, -(-count // 2))
    return -(-count // columns), columns


def _panel(axes: "Axes", quantity: str, columns: Columns) -> None:
    epochs = epochs_of(columns)
    epoch_axis(axes, epochs)
    if quantity in ALONE:
        draw_curve(axes, epochs, columns[quantity], color="black")
        _scale_alone(axes, quantity, [value for value in columns[quantity] if math.isfinite(value)])
    for number, (part, label) in enumerate(PARTS.items()):
        values = columns.get(f"{part}_{quantity}")
        if values:
            draw_curve(axes, epochs, values, number=number, color=COLORS[number], linestyle=LINES[number], label=label)


def _scale_alone(axes: "Axes", quantity: str, finite: list[float]) -> None:
    if quantity != "learning_rate":
        axes.set_ylim(0, 1.08 * max([*finite, 0]) or 1)
    elif finite and min(finite) > 0:
        axes.set_yscale("log")

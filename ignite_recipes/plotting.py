"""Pictures of a training."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["plot_history"]

# Okabe and Ito's palette: distinct for the colour-blind, and in grey by their line styles.
_PARTS = {"train": ("training", "#0072B2", "-"), "val": ("validation", "#D55E00", "--")}
_TITLES = {
    "loss": "Total loss",
    "recon_loss": "Reconstruction",
    "kl_loss": "KL divergence",
    "accuracy": "Accuracy",
    "traffic": "Traffic",
    "classification": "Class of the traffic",
    "transmission": "Transmissions",
    "context": "Context",
    "learning_rate": "Learning rate",
    "batches_per_second": "Speed",
}
_UNITS = {
    "accuracy": "%",
    "traffic": "mean squared error",
    "classification": "cross-entropy, nats",
    "transmission": "cross-entropy, nats",
    "context": "mean squared error",
    "learning_rate": "",
    "batches_per_second": "batches per second",
}
_ALONE = ("learning_rate", "batches_per_second")  # neither of training nor of validation data


def plot_history(history: Mapping[str, Sequence[float]], unit: str = "nats per vector") -> "Figure":
    """Draw the curves of a training, one panel for each quantity, training and validation together.

    Args:
        history: ``train_<name>`` and ``val_<name>`` lists, an entry an epoch, as recipes return them; a list
            ``epoch`` numbers them; lists ``learning_rate`` and ``batches_per_second`` get a panel too.
            :func:`read_training_log` gives all of them.
        unit: of the losses; accuracies are in percent.

    Returns:
        A matplotlib figure, not shown; a notebook shows it, ``figure.savefig(path)`` writes it.

    Raises:
        ValueError: if there is no epoch to draw.

    >>> figure = plot_history({"train_loss": [3.0, 2.0], "val_loss": [3.5, 2.5]})
    >>> [axes.get_title() for axes in figure.axes]
    ['Total loss']
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    if not isinstance(history, Mapping):
        raise TypeError(f"history must map names to lists of numbers; got {type(history).__name__}")
    names = [key.removeprefix("train_") for key, values in history.items() if key.startswith("train_") and values]
    if not names:
        raise ValueError("a history must hold at least one epoch of a train_ list; got none")
    epochs = list(history.get("epoch") or range(1, len(history[f"train_{names[0]}"]) + 1))
    names.sort(key=lambda name: name not in ("loss", "accuracy"))  # what is looked at first
    names += [name for name in _ALONE if history.get(name)]
    rows, columns = _grid(len(names))
    figure = Figure(figsize=(4.2 * columns, 3.2 * rows), dpi=150, layout="constrained")
    for axes, name in zip(figure.subplots(rows, columns, squeeze=False).flat, names, strict=False):
        if name in _ALONE:
            _curve(axes, epochs, history[name], "", "black", "-")
            axes.set_yscale("log") if name == "learning_rate" else axes.set_ylim(bottom=0)
        for part, (label, color, style) in _PARTS.items():
            _curve(axes, epochs, history.get(f"{part}_{name}") or [], label, color, style)
        axes.set_title(_TITLES.get(name, name))
        axes.set_xlabel("epoch")
        axes.set_ylabel(_UNITS.get(name, unit))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(epochs[0], epochs[-1]) if len(epochs) > 1 else axes.set_xticks(epochs)
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    for axes in figure.axes[len(names) :]:
        axes.remove()
    return figure


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns: one row for three panels, a square for four, two rows for more."""
    columns = count if count <= 3 else max(2, -(-count // 2))
    return -(-count // columns), columns


def _curve(axes: "Axes", epochs: Sequence[float], values: Sequence[float], label: str, color: str, style: str) -> None:
    if values:
        marker = "o" if len(values) == 1 else None
        axes.plot(epochs[: len(values)], values, style, color=color, label=label, marker=marker)

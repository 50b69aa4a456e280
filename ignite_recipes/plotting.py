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
    "learning_rate": "Learning rate",
}


def plot_history(history: Mapping[str, Sequence[float]], unit: str = "nats per vector") -> "Figure":
    """Draw the curves of a training, one panel for each quantity, training and validation together.

    Args:
        history: ``train_<name>`` and ``val_<name>`` lists, an entry an epoch, as recipes return them; a list
            ``learning_rate`` gets a panel too.
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

    names = [key.removeprefix("train_") for key, values in history.items() if key.startswith("train_") and values]
    if not names:
        raise ValueError("a history must hold at least one epoch of a train_ list; got none")
    epochs = len(history[f"train_{names[0]}"])
    names += ["learning_rate"] if history.get("learning_rate") else []
    figure = Figure(figsize=(4.2 * len(names), 3.4), dpi=150, layout="constrained")
    for axes, name in zip(figure.subplots(1, len(names), squeeze=False)[0], names, strict=True):
        if name == "learning_rate":
            _curve(axes, history[name], "", "black", "-")
            axes.set_yscale("log")
        for part, (label, color, style) in _PARTS.items():
            _curve(axes, history.get(f"{part}_{name}") or [], label, color, style)
        axes.set_title(_TITLES.get(name, name))
        axes.set_xlabel("epoch")
        axes.set_ylabel({"accuracy": "%", "learning_rate": ""}.get(name, unit))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlim(1, epochs) if epochs > 1 else axes.set_xticks([1])
        axes.grid(alpha=0.3)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False)
    return figure


def _curve(axes: "Axes", values: Sequence[float], label: str, color: str, style: str) -> None:
    if values:
        marker = "o" if len(values) == 1 else None
        axes.plot(range(1, len(values) + 1), values, style, color=color, label=label, marker=marker)

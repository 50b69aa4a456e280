"""The picture of what a deadband costs and saves."""

from typing import TYPE_CHECKING

from ignite_recipes.optional import polars as pl
from ignite_recipes.plotting.style import COLORS, curve_legend, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_deadband_curve"]

_NEAREST = 0.06  # parts of the picture's width between two labels, at least


def plot_deadband_curve(curve: "pl.DataFrame", deadband: float | None = None) -> "Figure":
    """Draw the receiver's error over the part of the samples that is transmitted; a label is the deadband.

    Args:
        curve: the frame of :func:`deadband_curve`.
        deadband: the deadband of the curve to mark; None marks none.

    Raises:
        ValueError: if the curve is empty, or does not have this deadband.

    >>> from ignite_recipes import deadband_curve
    >>> figure = plot_deadband_curve(deadband_curve([0.0, 1.0, 4.0, 6.0, 10.0], [0.1, 0.35]), deadband=0.1)
    >>> figure.axes[0].get_xlabel()
    'samples that are transmitted, in %'
    """
    if not len(curve):
        raise ValueError("curve must have at least one deadband; got none")
    if deadband is not None and deadband not in curve["deadband"]:
        raise ValueError(f"deadband must be one of the curve's, {curve['deadband'].to_list()}; got {deadband}")
    figure = new_figure(6.4, 4.2)
    axes = figure.subplots()
    traffic = 100 * curve["traffic"].to_numpy()
    names = {"max_error": "greatest error", "rmse": "root mean square", "mae": "mean"}
    for (column, name), color in zip(names.items(), COLORS, strict=False):
        axes.plot(traffic, 100 * curve[column].to_numpy(), "o-", color=color, markersize=4, label=name)
    last = -1.0
    for place, top, band in sorted(zip(traffic, 100 * curve["max_error"].to_numpy(), curve["deadband"], strict=True)):
        if last < 0 or place - last >= 100 * _NEAREST:
            axes.annotate(f"{band:g}", (place, top), (4, 4), textcoords="offset points", fontsize="small")
            last = place
    if deadband is not None:
        marked = float(traffic[curve["deadband"].to_list().index(deadband)])
        axes.axvline(marked, color="0.5", linestyle="--", linewidth=1, label=f"deadband {deadband:g}")
    axes.set_xlim(0, 105)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("samples that are transmitted, in %")
    axes.set_ylabel("error of the receiver, in % of the range")
    axes.grid(alpha=0.3)
    curve_legend(figure, loc="outside lower center", ncols=4)
    return figure

"""What all pictures share: a palette that survives printing, the axis of epochs, and curves with gaps."""

import base64
import copy
import io
import math
import warnings
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite_recipes.files import replace_file
from ignite_recipes.optional import needs

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = [
    "COLORS",
    "LINES",
    "MARKERS",
    "PICTURES",
    "as_png",
    "curve_legend",
    "draw_curve",
    "epoch_axis",
    "new_figure",
    "write_figure",
]

PICTURES = (".png", ".pdf", ".svg")
"""Endings of files that pictures are written to."""

# Okabe and Ito's palette, distinct for the colour-blind, without its yellow, which is too pale for a white page; then
# three of Tol's, for the ten digits.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00", "#56B4E9", "#882255", "#999933", "#332288")
LINES = ("-", "--", "-.", ":")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
"""As many as have no factor in common with the colours: the k-th of each are a pair that only the 91st repeats."""

_NOT_FINITE = "not finite"


def new_figure(width: float, height: float, *, compress: bool = False) -> "Figure":
    """A figure (inches) that pyplot knows nothing of, laid out so that no text is cut off or covered.

    With ``compress``, panels of a fixed shape stand close together. A notebook shows the figure where a cell ends
    with it, also if neither pyplot nor a backend of its own was loaded.
    """
    with needs("report"):
        from matplotlib.figure import Figure
        from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.08, h_pad=0.08, compress=compress)
    figure = Figure(figsize=(width, height), dpi=150, layout=layout)
    # What IPython asks first: the printer that it has for figures, once pyplot is loaded, shows them in another size.
    figure._ipython_display_ = partial(_display, figure)  # type: ignore[attr-defined]
    return figure


def _display(figure: "Figure") -> None:
    from IPython.display import display

    picture, size = as_png(figure)
    data = {"image/png": base64.b64encode(picture).decode(), "text/plain": repr(figure)}
    display(data, raw=True, metadata={"image/png": size})  # type: ignore[no-untyped-call]


def as_png(figure: "Figure") -> tuple[bytes, dict[str, int]]:
    """The picture, and the size in pixels to show it in: sharp on screens of any resolution.

    A palette of 256 colours makes notebooks a third of the size, and nobody sees the difference.
    """
    with needs("report"):
        from PIL import Image

    drawn, small = io.BytesIO(), io.BytesIO()
    with warnings.catch_warnings():  # of letters that the font lacks: a box stands for them
        warnings.filterwarnings("ignore", "Glyph .* missing from", UserWarning)
        figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(256).save(small, format="png", optimize=True)
    width, height = (round(100 * inches) for inches in figure.get_size_inches())
    return small.getvalue(), {"width": width, "height": height}


def write_figure(figure: "Figure", path: Path) -> None:
    """Write a picture in the format that the ending of the file says, one of :data:`PICTURES`."""
    replace_file(path, lambda file: figure.savefig(file, format=path.suffix[1:]))


def epoch_axis(axes: "Axes", epochs: Sequence[float]) -> None:
    """Whole epochs below the axes, from the first to the last, with room for a marker at both ends."""
    with needs("report"):
        from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.grid(alpha=0.3)
    first, last = min(epochs), max(epochs)
    ticks = MaxNLocator(nbins=8, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1).tick_values(first, last)
    axes.set_xticks([round(tick) for tick in ticks if first <= tick <= last])
    room = 0.03 * (last - first) or 1
    axes.set_xlim(first - room, last + room)


def draw_curve(
    axes: "Axes",
    epochs: Sequence[float],
    values: Sequence[float],
    *,
    number: int = 0,
    marked: Sequence[int] = (),
    **style: Any,
) -> None:
    """Draw one entry an epoch; a gap, and a cross at the foot of the axes, where it is not finite.

    Args:
        axes: to draw on.
        epochs: at least as many as values.
        values: of the quantity.
        number: the number of the curve in these axes; the crosses of two stand one above the other.
        marked: places in the list that get a marker, in addition to those that a line alone would not show.
        style: of the line.
    """
    epochs = epochs[: len(values)]
    finite = [False, *(math.isfinite(value) for value in values), False]
    alone = [k for k in range(len(values)) if finite[k + 1] and not finite[k] and not finite[k + 2]]
    marker = style.pop("marker", "o")
    places = sorted({*alone, *marked})
    axes.plot(epochs, values, marker=marker if places else None, markevery=places or None, **style)
    missing = [epoch for epoch, is_there in zip(epochs, finite[1:-1], strict=True) if not is_there]
    if missing:
        look = {"marker": "x", "linestyle": "", "color": style["color"], "label": _NOT_FINITE}
        height = 0.03 + 0.05 * (number % 6)
        axes.plot(missing, [height] * len(missing), transform=axes.get_xaxis_transform(), **look)


def curve_legend(figure: "Figure", **settings: Any) -> None:
    """One legend for all axes, outside of them, where it covers nothing; what is drawn in several stands in it once."""
    handles: dict[str, Any] = {}
    for axes in figure.axes:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(label, handle)
    cross = handles.pop(_NOT_FINITE, None)
    if cross is not None:
        handles[_NOT_FINITE] = copy.copy(cross)
        handles[_NOT_FINITE].set_color("0.3")
    figure.legend(handles.values(), handles.keys(), frameon=False, **settings)

"""Numbers where they belong on the Earth."""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.spatial import KM_OF_A_DEGREE
from ignite_recipes.optional import needs
from ignite_recipes.plotting.style import new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_places"]

_SIDE = 5.2  # inches of the longer side


def plot_places(
    latitude: ArrayLike, longitude: ArrayLike, values: ArrayLike, *, value_name: str = "value", cells: int = 40
) -> "Figure":
    """Draw the mean of numbers in each cell of a grid over the places, north up, at the scale of the middle latitude.

    Args:
        latitude, longitude: (N,), degrees, north and east are positive. Unknown places, NaN, are left out.
        values: (N,), a number of each place; NaN is left out.
        value_name: the name of the values, with their unit, for the colour bar.
        cells: cells along the longer side of the grid; they are square in kilometres, and a cell without places is
            empty.

    Returns:
        A matplotlib figure, not shown.

    Raises:
        ValueError: if there is not one of each for every place, or no place is known.

    >>> figure = plot_places([9.5, 9.6, 10.2], [76.3, 76.3, 76.8], [1.0, 2.0, 3.0], value_name="species")
    >>> figure.axes[0].get_xlabel(), figure.axes[1].get_ylabel()
    ('longitude, degrees east', 'species')
    """
    with needs("report"):
        from matplotlib.collections import PolyCollection

    cells = whole_number(cells, "cells")
    lat, lon, z = (np.asarray(column, dtype=np.float64) for column in (latitude, longitude, values))
    if not lat.shape == lon.shape == z.shape or lat.ndim != 1:
        raise ValueError(f"latitude, longitude and values must be (N,); got {lat.shape}, {lon.shape} and {z.shape}")
    known = np.isfinite(lat) & np.isfinite(lon) & np.isfinite(z)
    if not known.any():
        raise ValueError(f"there must be a place with a value; got none among {len(lat)}")
    lat, lon, z = lat[known], lon[known], z[known]
    narrow = max(math.cos(math.radians(float(lat.min() + lat.max()) / 2)), 0.01)  # a degree of longitude, of latitude's
    height, width = float(np.ptp(lat)), float(np.ptp(lon)) * narrow  # in degrees of latitude
    step = max(height, width, 0.01) / cells
    rows, columns = (max(1, math.ceil(extent / step + 1e-9)) for extent in (height, width))
    row = np.minimum(((lat - lat.min()) / step).astype(np.int64), rows - 1)
    column = np.minimum(((lon - lon.min()) * narrow / step).astype(np.int64), columns - 1)
    number = row * columns + column
    used, place, counts = np.unique(number, return_inverse=True, return_counts=True)
    means = np.bincount(place, z) / counts

    scale = _SIDE / max(rows, columns)
    figure = new_figure(max(columns * scale, 1.6) + 2.2, max(rows * scale, 1.6) + 0.9)
    axes = figure.subplots()
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]])  # of a cell, in cells to the east and to the north
    lower_left = np.column_stack([used % columns, used // columns])
    squares = (lower_left[:, None] + corners) * [step / narrow, step] + [lon.min(), lat.min()]  # (cells, 4, 2)
    image = PolyCollection(squares, array=means, cmap="cividis", edgecolors="0.3", linewidths=0.3)
    axes.add_collection(image)
    axes.set_aspect(1 / narrow)
    axes.set_ylim(lat.min() - step / 2, lat.min() + (rows + 0.5) * step)
    axes.set_xlim(lon.min() - step / narrow / 2, lon.min() + (columns + 0.5) * step / narrow)
    axes.set_xlabel("longitude, degrees east")
    axes.set_ylabel("latitude, degrees north")
    axes.ticklabel_format(useOffset=False)
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(f"means of cells of {step * KM_OF_A_DEGREE:.3g} km, {int(known.sum()):,} places", fontsize="small")
    figure.colorbar(image, ax=axes, label=value_name)
    return figure

"""Blocks of the Earth's surface, so that neighbouring checklists stay on one side of a split."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ignite_recipes.arguments import shown

__all__ = ["KM_OF_A_DEGREE", "spatial_blocks"]

KM_OF_A_DEGREE = 111.195
"""Of latitude, on a sphere of 6,371 km."""


def spatial_blocks(latitude: ArrayLike, longitude: ArrayLike, block_km: float = 50.0) -> NDArray[np.int64]:
    """The number of the block of each place.

    Bands of ``block_km`` from south to north are cut from west to east into as many equal blocks as make them nearest
    to ``block_km`` wide in the middle of the band, so that blocks have nearly the same area everywhere. Places with the
    same number are on one side of a split (``groups=`` of :func:`split_train_val`), so that held-out places are not
    close to training places, as they are in a split at random.

    Args:
        latitude: (N,), degrees, north is positive.
        longitude: (N,), degrees, east is positive; 181 is -179.
        block_km: height and width of a block, in kilometres.

    Returns:
        (N,), numbers from 0 in the order in which the blocks come in the data.

    Raises:
        ValueError: if there is not one longitude for each latitude, one of them is missing or out of its range, or
            ``block_km`` is not positive.

    >>> spatial_blocks([9.50, 9.51, 11.5], [76.3, 76.3, 76.3]).tolist()
    [0, 0, 1]

    Reference: D. Roberts et al., Cross-validation strategies for data with temporal, spatial, hierarchical, or
    phylogenetic structure, Ecography 40, 2017.
    """
    if not isinstance(block_km, (int, float)) or not 0 < block_km < math.inf:
        raise ValueError(f"block_km must be a positive number of kilometres; got {shown(block_km)}")
    lat, lon = (_numbers(values, name) for values, name in ((latitude, "latitude"), (longitude, "longitude")))
    if lat.shape != lon.shape:
        raise ValueError(f"latitude and longitude must be (N,) each; got {lat.shape} and {lon.shape}")
    if wrong := int((~(np.abs(lat) <= 90) | ~(np.abs(lon) <= 360)).sum()):
        raise ValueError(
            f"latitude must be in [-90, 90] and longitude in [-360, 360], in degrees; {wrong} of {len(lat)} places are "
            "not, or are missing: leave them out"
        )
    height = block_km / KM_OF_A_DEGREE  # degrees
    band = np.floor((lat + 90) / height)
    middle = np.clip((band + 0.5) * height - 90, -90, 90)
    around = 360 * KM_OF_A_DEGREE * np.cos(np.radians(middle))  # km
    columns = np.maximum(1, np.rint(around / block_km))
    column = np.minimum(np.floor((lon % 360) / 360 * columns), columns - 1)
    return _in_order(np.column_stack([band, column]))


def _numbers(values: ArrayLike, name: str) -> NDArray[np.float64]:
    try:
        found = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be numbers, in degrees; got {shown(values)}") from None
    if found.ndim != 1:
        raise ValueError(f"{name} must be (N,); got shape {found.shape}")
    return found


def _in_order(keys: NDArray[Any]) -> NDArray[np.int64]:
    _, first, number = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    result: NDArray[np.int64] = place[number.reshape(-1)]
    return result

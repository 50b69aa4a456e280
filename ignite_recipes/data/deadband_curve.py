"""What a deadband costs and saves: transmissions against the receiver's error, for a list of deadbands."""

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ignite_recipes.arguments import shown
from ignite_recipes.data.deadband import Limits, learn_limits, scale_context, send_on_delta
from ignite_recipes.optional import polars as pl

__all__ = ["DEADBANDS", "deadband_curve"]

DEADBANDS = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2, 0.3, 0.4)
"""Parts of a feature's range, from fine to coarse."""


def deadband_curve(
    context: Any,
    deadbands: Sequence[float] = DEADBANDS,
    limits: Limits | None = None,
    *,
    feature_names: Sequence[str] | None = None,
) -> "pl.DataFrame":
    """The number of samples that send-on-delta transmits, and the error of a receiver that holds the last one.

    Args:
        context: (L, F) floats, or (L,) for one feature, equally spaced in time.
        deadbands: in parts of a feature's range, each above 0 and below 1.
        limits: the low and the high end of each feature; None learns them from the whole context.
        feature_names: what a warning calls the features.

    Returns:
        A frame of polars, a row for each deadband, from the smallest on: ``deadband``; ``transmissions`` and
        ``traffic``, the number and the part of the samples that are transmitted; ``mae``, ``rmse`` and ``max_error`` of
        what the receiver holds, over all samples and features, in parts of a feature's range. ``max_error`` is never
        above the deadband.

    Raises:
        ValueError: if there is no deadband, or one is out of its range; and as :func:`send_on_delta`.

    Warns:
        UserWarning: for each feature that leaves its limits, and so is clamped.

    >>> curve = deadband_curve([0.0, 1.0, 4.0, 6.0, 10.0], [0.05, 0.35], limits=(0, 10))
    >>> curve["transmissions"].to_list(), curve["max_error"].round(3).to_list()
    ([5, 3], [0.0, 0.2])

    Reference: M. Miskowicz, Send-On-Delta Concept: An Event-Based Data Reporting Strategy, Sensors 6, 2006.
    """
    is_list = isinstance(deadbands, (Sequence, np.ndarray)) and len(deadbands) > 0
    if not is_list or not all(isinstance(each, numbers.Real) for each in deadbands):
        raise ValueError(f"deadbands must be a list of numbers, at least one; got {shown(deadbands)}")
    limits = learn_limits(context) if limits is None else limits
    scaled = scale_context(context, limits, feature_names=feature_names)
    rows = []
    for deadband in sorted(deadbands):
        _, sent = send_on_delta(scaled, deadband, (0, 1))
        newest = torch.where(sent > 0, torch.arange(len(sent)), 0).cummax(0).values
        error = (scaled - scaled[newest]).abs().double()
        rows.append(
            {
                "deadband": float(deadband),
                "transmissions": int(sent.sum()),
                "traffic": float(sent.double().mean()),
                "mae": float(error.mean()),
                "rmse": float(error.square().mean().sqrt()),
                "max_error": float(error.max()),
            }
        )
    return pl.DataFrame(rows)

"""Send-on-delta: a series scaled to [0, 1], and which of its samples a sender with a deadband transmits."""

import warnings
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic import to_tensor

__all__ = ["Limits", "learn_limits", "scale_context", "send_on_delta"]

Limits: TypeAlias = tuple[Any, Any]
"""The low and the high end of each feature: two arrays (F,), or two numbers for all features."""

CHUNK = 65_536  # samples that are Python numbers at a time


def send_on_delta(
    context: Any, deadband: float, limits: Limits | None = None, *, feature_names: Sequence[str] | None = None
) -> tuple[Tensor, Tensor]:
    """Scale a series and flag the samples that send-on-delta transmits.

    The first sample is transmitted, and then each sample with a feature that is more than ``deadband`` away from the
    last transmitted sample. So the error of a receiver that holds the last sample is never larger.

    Args:
        context: (L, F) floats, or (L,) for one feature, equally spaced in time.
        deadband: the change that need not be transmitted, in parts of a feature's range; above 0, below 1.
        limits: the low and the high end of each feature, that become 0 and 1; by default learnt from the whole context.
            Before a split, learn them from the training part: :func:`learn_limits`.
        feature_names: what a warning calls the features, by default their numbers.

    Returns:
        The scaled context (L, F), in [0, 1], and the flags (L,), 1 where a sample is transmitted; float32.

    Raises:
        ValueError: if the deadband or the limits are not a range, or the context is not finite.

    Warns:
        UserWarning: of each feature that leaves its limits, and so is clamped.

    >>> scaled, flags = send_on_delta([0.0, 1.0, 4.0, 6.0, 10.0], deadband=0.35, limits=(0, 10))
    >>> flags.tolist()
    [1.0, 0.0, 1.0, 0.0, 1.0]
    """
    if not 0 < deadband < 1:
        raise ValueError(f"deadband must be a part of the scaled range, above 0 and below 1; got {shown(deadband)}")
    limits = learn_limits(context) if limits is None else limits
    scaled = scale_context(context, limits, feature_names=feature_names)
    flags = torch.zeros(len(scaled))
    last = [float("inf")] * scaled.shape[1]
    for start in range(0, len(scaled), CHUNK):
        sent = []
        # Python numbers: numpy takes longer to say which of the next samples leaves the band.
        for i, sample in enumerate(scaled[start : start + CHUNK].tolist()):
            for value, held in zip(sample, last, strict=True):
                if abs(value - held) > deadband:
                    sent.append(start + i)
                    last = sample
                    break
        flags[sent] = 1
    return scaled, flags


def learn_limits(training_part: Any, margin: float = 0.1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The least and the greatest value of each feature, and a margin: two arrays (F,).

    Args:
        training_part: (L, F) floats, or (L,) for one feature; a trend continues after it, so remove the trend first or
            declare the limits.
        margin: moves each end outwards, in parts of the distance between them.

    Raises:
        ValueError: if the part is empty or not finite, a feature constant, or the margin negative.

    >>> low, high = learn_limits([0.0, 10.0], margin=0.1)
    >>> low.tolist(), high.tolist()
    ([-1.0], [11.0])
    """
    values = _context(training_part)
    if not 0 <= margin < float("inf"):
        raise ValueError(f"margin must be a part of the range, at least 0; got {shown(margin)}")
    low, high = values.min(axis=0).astype(np.float64), values.max(axis=0).astype(np.float64)
    if (constant := np.flatnonzero(low == high)).size:
        raise ValueError(
            f"training_part must vary in every feature, to learn its limits; got the same value throughout in "
            f"{constant.tolist()}: declare the limits, or leave such features out"
        )
    return low - margin * (high - low), high + margin * (high - low)


def scale_context(context: Any, limits: Limits, *, feature_names: Sequence[str] | None = None) -> Tensor:
    """The context with its limits at 0 and 1, clamped to that range: (L, F) -> (L, F) float32.

    Args:
        context: (L, F) floats, or (L,) for one feature.
        limits: the low and the high end of each feature, two arrays (F,) or two numbers for all.
        feature_names: what a warning calls the features, by default their numbers.

    Raises:
        ValueError: if the limits are not a range, or the context is not finite.

    Warns:
        UserWarning: of each feature that leaves its limits.

    >>> scale_context([2.0, 3.0], limits=(0, 4)).tolist()
    [[0.5], [0.75]]
    """
    values = _context(context)
    low, high = (np.broadcast_to(np.asarray(end, dtype=np.float64), values.shape[1]) for end in _ends(limits, values))
    if not (np.isfinite(low) & np.isfinite(high) & (low < high)).all():
        raise ValueError(f"limits must be finite, each low end below its high end; got {low.tolist()}, {high.tolist()}")
    names = range(values.shape[1]) if feature_names is None else feature_names
    scaled = np.empty(values.shape, dtype=np.float32)
    for i, name in zip(range(values.shape[1]), names, strict=True):
        column = (values[:, i] - low[i]) / (high[i] - low[i])
        if outside := np.count_nonzero((column < 0) | (column > 1)):
            warnings.warn(
                f"{outside} of {len(column)} samples of feature {name} were outside [{low[i]:g}, {high[i]:g}] and are "
                "clamped: declare wider limits, learn them with a larger margin, or take its trend out",
                stacklevel=2,
            )
        scaled[:, i] = column.clip(0, 1)
    return torch.from_numpy(scaled)


def _ends(limits: Limits, values: NDArray[Any]) -> Limits:
    shapes = ((), (1,), (values.shape[1],))
    if len(limits) != 2 or any(np.shape(end) not in shapes for end in limits):
        raise ValueError(
            f"limits must be (low, high), each a number or one per feature ({values.shape[1]}); got {shown(limits)}"
        )
    return limits


def _context(context: Any) -> NDArray[Any]:
    values: NDArray[Any] = to_tensor("context", context).numpy()
    values = values.reshape(-1, 1) if values.ndim == 1 else values
    if values.ndim != 2 or not values.size:
        raise ValueError(f"context must be (samples, features), at least one of each; got shape {np.shape(context)}")
    for start in range(0, len(values), CHUNK):
        if not (finite := np.isfinite(values[start : start + CHUNK]).all(axis=1)).all():
            raise ValueError(
                f"context must hold finite numbers; got another in row {start + int(finite.argmin())}: "
                "fill or drop such samples"
            )
    return values

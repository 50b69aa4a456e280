"""The units of traffic and its class, and whether they agree with the transmission flags."""

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ignite_recipes.data.traffic import TrafficArrays

__all__ = ["check_traffic_units", "warn_of_another_measure"]

ROUNDING = 1e-3  # by which traffic may differ from the part it is
BLOCK = 65_536  # windows whose flags are added up at a time


def check_traffic_units(arrays: "TrafficArrays") -> None:
    """Traffic must be a part of the samples, in [0, 1], and the class the number of the target's transmissions.

    Args:
        arrays: the eight, of matching shapes, finite, the flags 0 or 1.

    Raises:
        ValueError: for traffic outside [0, 1], traffic that counts transmissions, or a class that contradicts
            the flags. The message names the array and the row, and says what to write.

    >>> from ignite_recipes import make_traffic_windows
    >>> windows = make_traffic_windows(torch.rand(20, 2), torch.ones(20), 10, 5)
    >>> check_traffic_units(windows._replace(target_traffic=windows.target_traffic * 5))
    Traceback (most recent call last):
        ...
    ValueError: target_traffic must be ... in [0, 1]; got 5 in row 0: ... target_traffic / 5 ...
    """
    len_target = arrays.targets.shape[1]
    _refuse_units(
        arrays, lambda traffic: (traffic < -ROUNDING) | (traffic > 1 + ROUNDING), ("source_traffic", "target_traffic")
    )
    counts = _numbers_of_transmissions(arrays)
    if (wrong := (arrays.target_class.to(counts.dtype) != counts).flatten()).any():
        row = int(wrong.nonzero()[0])
        raise ValueError(
            f"target_class must be the number of the target's transmissions; got {float(arrays.target_class[row]):g} "
            f"where {int(counts[row])} of {len_target} flags are set, in row {row}: take both from the same windows, "
            "or write target_class = transmissions.sum(1, keepdims=True)"
        )
    # Counts that are never above 1 are in [0, 1] too.
    if len_target > 1 and torch.equal(arrays.target_traffic.to(counts.dtype), counts):
        _refuse_units(arrays, lambda traffic: traffic != 0, ("target_traffic",))


def _refuse_units(arrays: "TrafficArrays", is_wrong: Callable[[Tensor], Tensor], names: Sequence[str]) -> None:
    """ValueError with the first row of traffic in another unit, and what to write for each array that is in one."""
    wrong = {name: rows for name in names if len(rows := is_wrong(getattr(arrays, name)).flatten().nonzero())}
    if not wrong:
        return
    name, row = next((name, int(rows[0])) for name, rows in wrong.items())
    samples = {"source_traffic": arrays.sources.shape[1], "target_traffic": arrays.targets.shape[1]}
    remedies = " and ".join(_in_unit_range(name, getattr(arrays, name), samples[name]) for name in wrong)
    raise ValueError(
        f"{name} must be the part of the window's samples that are transmitted, in [0, 1]; got "
        f"{float(getattr(arrays, name)[row]):g} in row {row}: write {remedies}, for training and validation alike"
    )


def _in_unit_range(name: str, traffic: Tensor, samples: int) -> str:
    """Traffic in another unit, scaled: counts by the number of samples, others by what was seen of them."""
    low, high = float(traffic.min()), float(traffic.max())
    if low < 0:
        return f"({name} - {low:g}) / {high - low:g} (its lowest and its range)"
    if high <= samples:
        return f"{name} / {samples} (the samples of a window)"
    return f"{name} / {high:g} (the largest value that it can have)"


def warn_of_another_measure(arrays: "TrafficArrays") -> None:
    """Warn of target traffic in [0, 1] that is not the part of the target's samples that are transmitted.

    Args:
        arrays: the eight, after :func:`check_traffic_units`.

    Warns:
        UserWarning: with the first such row, at the caller of the function that called.

    >>> from ignite_recipes import make_traffic_windows
    >>> warn_of_another_measure(make_traffic_windows(torch.rand(20, 2), torch.ones(20), 10, 5))
    """
    parts = _numbers_of_transmissions(arrays) / arrays.transmissions.shape[1]
    if (other := ((arrays.target_traffic - parts).abs() > ROUNDING).flatten()).any():
        row = int(other.nonzero()[0])
        warnings.warn(
            f"target_traffic should be the part of the target's samples that are transmitted, {float(parts[row]):g} in "
            f"row {row}; got {float(arrays.target_traffic[row]):g}: it is learnt as it is, but the baselines' classes "
            "are counted from it; write target_traffic = target_class / len_target for the part",
            stacklevel=4,
        )


def _numbers_of_transmissions(arrays: "TrafficArrays") -> Tensor:
    """(N, 1) float32."""
    blocks = torch.split(arrays.transmissions, BLOCK)
    return torch.cat([block.sum(1, keepdim=True, dtype=torch.float32) for block in blocks])

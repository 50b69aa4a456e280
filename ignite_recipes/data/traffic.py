"""Windows of a series and its transmission flags, as views that become copies only in a batch."""

import operator
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic_units import check_traffic_units, warn_of_another_measure
from ignite_recipes.loading.row_sets import BatchDataset

__all__ = ["TrafficArrays", "TrafficDataset", "collate_traffic", "make_traffic_windows", "to_tensor"]

BLOCK = 65_536  # rows that are checked at a time


class TrafficArrays(NamedTuple):
    """The eight arrays of N windows: S samples of a source, the T samples of the target after it, F features.

    Traffic is the part of a window's samples that were transmitted, in [0, 1]; the class of the target's is
    their number, 0..T.

    >>> arrays = make_traffic_windows(torch.rand(20, 2), torch.ones(20), len_source=3, len_target=4)
    >>> for name, array in arrays._asdict().items():
    ...     print(f"{name:18} {tuple(array.shape)}")
    sources            (14, 3, 2)
    targets            (14, 4, 2)
    last_transmitted   (14, 1, 2)
    source_traffic     (14, 1)
    target_traffic     (14, 1)
    target_class       (14, 1)
    transmissions      (14, 4)
    unsmoothed_sources (14, 3, 2)
    """

    sources: Tensor
    """(N, S, F), smoothed if the caller smoothes."""
    targets: Tensor
    """(N, T, F)."""
    last_transmitted: Tensor
    """(N, 1, F), the newest transmitted sample at the end of the source."""
    source_traffic: Tensor
    """(N, 1)."""
    target_traffic: Tensor
    """(N, 1)."""
    target_class: Tensor
    """(N, 1), whole numbers."""
    transmissions: Tensor
    """(N, T), flags 0 or 1 of the target's samples."""
    unsmoothed_sources: Tensor
    """(N, S, F)."""


def make_traffic_windows(
    context: Any, transmissions: Any, len_source: int, len_target: int, smoothed: Any = None
) -> TrafficArrays:
    """Every window of a series: N = L - len_source - len_target + 1 of them, one sample apart.

    Sources, targets and transmissions are views of the series (float32; other types are copied once), and without
    smoothing the unsmoothed sources are the sources themselves. ``last_transmitted`` costs as much as the series, the
    three (N, 1) arrays 16 bytes a window together: with one feature five times the series in all, less with more,
    whatever the windows' lengths.

    Args:
        context: (L, F) floats, or (L,) for one feature.
        transmissions: (L,) flags, 1 where the sample was transmitted, else 0. If none was transmitted yet, the first
            sample counts as the last transmitted.
        len_source: S, samples of a source.
        len_target: T, samples of a target.
        smoothed: the context after your smoothing (L, F), from which the sources are then taken.

    Raises:
        ValueError: if the arrays differ in length or shape, are too short, or hold NaN or other flags.

    >>> windows = make_traffic_windows(torch.arange(6.0), [1, 0, 0, 1, 0, 1], len_source=3, len_target=2)
    >>> windows.sources[..., 0].tolist(), windows.targets[..., 0].tolist()
    ([[0.0, 1.0, 2.0], [1.0, 2.0, 3.0]], [[3.0, 4.0], [4.0, 5.0]])
    >>> windows.last_transmitted.flatten().tolist(), windows.target_class.flatten().tolist()
    ([0.0, 3.0], [1, 1])
    """
    len_source, len_target = _length("len_source", len_source), _length("len_target", len_target)
    series = _series("context", context)
    flags = to_tensor("transmissions", transmissions).float()
    if flags.shape != (len(series),):
        raise ValueError(
            f"transmissions must be one flag per sample of the context, ({len(series)},); got {_shape(flags)}: "
            "cut both to the same samples"
        )
    _check("transmissions", flags, _is_no_flag, "flags, 0 or 1")
    smooth = series if smoothed is None else _series("smoothed", smoothed)
    if smooth.shape != series.shape:
        raise ValueError(f"smoothed must have the context's shape, {_shape(series)}; got {_shape(smooth)}")
    n = len(series) - len_source - len_target + 1
    if n < 1:
        raise ValueError(
            f"context must have at least len_source + len_target = {len_source + len_target} samples; "
            f"got {len(series)}: use a longer series or shorter windows"
        )
    sources = _windows(smooth[: n + len_source - 1], len_source)
    unsmoothed = sources if smoothed is None else _windows(series[: n + len_source - 1], len_source)
    source_flags, target_flags = (
        _windows(flags[: n + len_source - 1], len_source),
        _windows(flags[len_source:], len_target),
    )
    count = target_flags.sum(1, keepdim=True)
    return TrafficArrays(
        sources=sources,
        targets=_windows(series[len_source:], len_target),
        last_transmitted=series[_newest_transmitted(flags)[len_source - 1 : len_source - 1 + n]].unsqueeze(1),
        source_traffic=source_flags.sum(1, keepdim=True) / len_source,
        target_traffic=count / len_target,
        target_class=count.long(),
        transmissions=target_flags,
        unsmoothed_sources=unsmoothed,
    )


class TrafficDataset(BatchDataset[TrafficArrays]):
    """The eight arrays of windows as a data set whose batches are eight tensors, float32 but the int64 class.

    Windows stay views; a batch is fetched by one indexing operation per array. Loaders need
    ``collate_fn=collate_traffic``.

    Args:
        arrays: :class:`TrafficArrays`, or any eight tensors or numpy arrays in that order.

    Raises:
        ValueError: as ``check_traffic_arrays``.

    >>> dataset = TrafficDataset(make_traffic_windows(torch.rand(20, 2), torch.ones(20), 10, 5))
    >>> len(dataset), [tuple(array.shape) for array in dataset.__getitems__([0, 3])]
    (6, [(2, 10, 2), (2, 5, 2), (2, 1, 2), (2, 1), (2, 1), (2, 1), (2, 5), (2, 10, 2)])
    """

    draws_nothing = True

    def __init__(self, arrays: Sequence[Any]) -> None:
        self.arrays = check_traffic_arrays(arrays)
        self.len_source, self.num_features = self.arrays.sources.shape[1:]
        self.len_target = self.arrays.targets.shape[1]

    def __len__(self) -> int:
        return len(self.arrays.sources)

    def __getitem__(self, index: int) -> TrafficArrays:
        return TrafficArrays(*(array[0] for array in self.__getitems__([index])))

    def __getitems__(self, indices: list[int]) -> TrafficArrays:
        """The eight arrays of one batch: what a torch ``DataLoader`` calls."""
        # A list would take torch longer to read than the windows take to fetch.
        rows = torch.from_numpy(np.asarray(indices, dtype=np.int64))
        batch = TrafficArrays(*(array[rows].float() for array in self.arrays))
        return batch._replace(target_class=batch.target_class.long())


def collate_traffic(batch: Any) -> Any:
    """A batch that was fetched as eight tensors as it is, single samples by torch's default."""
    return batch if isinstance(batch, TrafficArrays) else default_collate(batch)


def check_traffic_arrays(arrays: Sequence[Any]) -> TrafficArrays:
    """The eight arrays as tensors, after what they must be: of N windows each, finite, of matching shapes.

    Windows that are views of a series are read once per sample, not once per window. Context outside
    [0, 1] is warned of, since no predicted path leaves that range.

    Args:
        arrays: :class:`TrafficArrays`, or any eight tensors or numpy arrays in that order.

    Raises:
        ValueError: if an array is missing, of another length or shape, or holds NaN, an infinity, a flag
            that is not 0 or 1, or a class that is not one of 0..T, or a class or traffic in other
            units. The message names the array and the row.

    Warns:
        UserWarning: of context outside [0, 1], and of the target's traffic where it is in [0, 1] but another
            measure than the part of its samples that are transmitted. The model learns it as it is.

    >>> windows = make_traffic_windows(torch.rand(20, 2), torch.ones(20), 10, 5)
    >>> check_traffic_arrays(windows._replace(target_class=windows.target_class + 1))
    Traceback (most recent call last):
        ...
    ValueError: target_class must hold whole numbers from 0 to 5 (len_target); got 6.0 in row 0: ...
    """
    if len(arrays) != len(TrafficArrays._fields):
        raise ValueError(
            f"arrays must be the eight {', '.join(TrafficArrays._fields)}; got {len(arrays)}: "
            "make_traffic_windows makes them of a series"
        )
    checked = TrafficArrays(
        *(to_tensor(name, array) for name, array in zip(TrafficArrays._fields, arrays, strict=True))
    )
    _check_shapes(checked)
    for name, array in checked._asdict().items():
        _check(name, array, _is_not_finite, "finite numbers")
    num_classes = checked.targets.shape[1] + 1
    _check(
        "target_class",
        checked.target_class,
        lambda block: (block < 0) | (block >= num_classes) | (block != block.floor()),
        f"whole numbers from 0 to {num_classes - 1} (len_target)",
    )
    _check("transmissions", checked.transmissions, _is_no_flag, "flags, 0 or 1")
    check_traffic_units(checked)
    warn_of_another_measure(checked)
    for name in ("sources", "targets", "last_transmitted"):
        if _any(getattr(checked, name), lambda block: (block < 0) | (block > 1)):
            warnings.warn(
                f"{name} should be in [0, 1], where the predicted path is; scale the context with send_on_delta "
                "or scale_context, by limits that hold for all of it",
                stacklevel=3,
            )
    return checked


def _check_shapes(arrays: TrafficArrays) -> None:
    n = len(arrays.sources) if arrays.sources.ndim else 0
    if n < 1 or arrays.sources.ndim != 3 or arrays.targets.ndim != 3:
        raise ValueError(
            "sources and targets must be (windows, samples, features), of at least one window; "
            f"got {_shape(arrays.sources)} and {_shape(arrays.targets)}: make_traffic_windows makes them of a series"
        )
    (_, len_source, num_features), len_target = arrays.sources.shape, arrays.targets.shape[1]
    of_sources, one = (n, len_source, num_features), (n, 1)
    flags, last = (n, len_target), (n, 1, num_features)
    wanted = (of_sources, (*flags, num_features), last, one, one, one, flags, of_sources)
    for name, array, shape in zip(arrays._fields, arrays, wanted, strict=True):
        if array.shape != shape:
            raise ValueError(
                f"{name} must be of shape {shape}, to match the sources {_shape(arrays.sources)} and the targets' "
                f"length {len_target}; got {_shape(array)}: take all eight arrays from the same windows"
            )
        if not array.numel():
            raise ValueError(f"{name} must not be empty; got shape {shape}: use windows of one sample or more")


def _check(name: str, array: Tensor, is_bad: Callable[[Tensor], Tensor], wanted: str) -> None:
    """ValueError with the first row that has something bad in it."""
    if not _any(array, is_bad):
        return
    for start, block in _blocks(array):
        if (bad := is_bad(block)).any():
            where = bad.nonzero()[0].tolist()
            raise ValueError(
                f"{name} must hold {wanted}; got {float(block[tuple(where)])} in row {start + where[0]}: "
                "fill or drop such samples before the windows are made"
            )


def _any(array: Tensor, is_bad: Callable[[Tensor], Tensor]) -> bool:
    """Whether anything in it is bad, block by block; each sample of overlapping windows is looked at once."""
    overlaps = array.ndim > 1 and array.stride(0) == array.stride(1)
    parts = (array[:, 0], array[-1]) if overlaps else (array,)
    return any(bool(is_bad(block).any()) for part in parts for _, block in _blocks(part))


def _blocks(array: Tensor) -> Iterator[tuple[int, Tensor]]:
    return ((start, array[start : start + BLOCK]) for start in range(0, len(array), BLOCK))


def _is_not_finite(block: Tensor) -> Tensor:
    return ~block.isfinite()


def _is_no_flag(block: Tensor) -> Tensor:
    return (block != 0) & (block != 1)


def _newest_transmitted(flags: Tensor) -> Tensor:
    """For each sample, where the newest transmitted one is; 0 if there is none yet: (L,) -> (L,)."""
    return torch.where(flags != 0, torch.arange(len(flags)), 0).cummax(0).values


def _windows(series: Tensor, length: int) -> Tensor:
    """Views (N, length, ...) of a series (N + length - 1, ...)."""
    return series.unfold(0, length, 1).movedim(-1, 1)


def _series(name: str, values: Any) -> Tensor:
    series = to_tensor(name, values).float()
    series = series.unsqueeze(1) if series.ndim == 1 else series
    if series.ndim != 2 or not series.shape[1]:
        raise ValueError(f"{name} must be (samples, features), with one feature or more; got {_shape(series)}")
    _check(name, series, _is_not_finite, "finite numbers")
    return series


def to_tensor(name: str, values: Any) -> Tensor:
    """A tensor that shares the memory of ``values`` where torch can."""
    if isinstance(values, Tensor):
        return values.detach()
    array = np.asarray(values)
    if array.dtype.kind not in "buif":  # numpy's letters for booleans, integers and floats
        raise ValueError(f"{name} must be an array of real numbers; got one of {array.dtype}: convert or drop the rest")
    if not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = np.array(array, dtype=array.dtype.newbyteorder("="), order="C")
    with warnings.catch_warnings():  # of memory that is read-only: nothing here writes to it
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _length(name: str, value: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise ValueError(f"{name} must be a whole number of samples, at least 1; got {shown(value)}")
    return number


def _shape(array: Tensor) -> tuple[int, ...]:
    return tuple(array.shape)

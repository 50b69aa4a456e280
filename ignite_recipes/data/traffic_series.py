"""Windows to train on and windows to validate on: of a CSV file, or of the real CO2 series of statsmodels."""

import logging
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.data.deadband import Limits, learn_limits, scale_context, send_on_delta
from ignite_recipes.data.traffic import TrafficArrays, make_traffic_windows, to_tensor
from ignite_recipes.data.traffic_columns import as_times, assign_columns
from ignite_recipes.optional import needs
from ignite_recipes.optional import pandas as pd

__all__ = [
    "TrafficSeries",
    "load_co2",
    "load_traffic_csv",
    "read_co2",
    "read_traffic_csv",
    "split_in_time",
    "split_series",
]

logger = logging.getLogger(__name__)

WEEKS = 52
FILTER = 4


class TrafficSeries(NamedTuple):
    """A series of L samples as it was measured, before it is scaled.

    >>> series = TrafficSeries(np.zeros((3, 1)), None, ["temperature"], ["8:00", "9:00", "10:00"])
    >>> len(series.context), series.names
    (3, ['temperature'])
    """

    context: Any
    """(L, F)."""
    flags: Any
    """(L,), 1 where a sample was transmitted; None where that is told by a deadband."""
    names: list[str]
    """The names of the F features."""
    times: list[Any] | None
    """(L,), as they are written in the file."""

    def scaled(self, limits: Limits, deadband: float | None) -> tuple[Tensor, Tensor]:
        """The context (L, F) in [0, 1] and the flags (L,), by the deadband where there is one."""
        if deadband is not None:
            return send_on_delta(self.context, deadband, limits, feature_names=self.names)
        return scale_context(self.context, limits, feature_names=self.names), to_tensor("flags", self.flags)


def load_traffic_csv(
    path: str | Path,
    len_source: int,
    len_target: int,
    deadband: float | None = None,
    flag_column: str | None = None,
    time_column: str | None = None,
    val_size: float = 0.2,
) -> tuple[TrafficArrays, TrafficArrays, list[str]]:
    """Windows of a CSV file with one sample per row, equally spaced in time; the last rows are for validation.

    No window has samples of both sides, and the limits that scale the context to [0, 1] are learnt from the
    training rows only: a later value outside them is clamped, with a warning. The log says how each column is used. The
    last of several rows with equal times is kept, and the log says how many were dropped. If this would drop more than
    half of the rows, the times are coarser than the samples, and all rows are kept in their order.

    Args:
        path: the file, with a line of column names.
        len_source, len_target: S and T, samples of the windows.
        deadband: transmit by send-on-delta, in parts of a feature's range; for a file without flags.
        flag_column: the column of flags, 1 where the sample was transmitted, else 0.
        time_column: the column of times, which must not go back; all columns but these two are context. By default
            it is recognised: dates or times as text, numbers that never go back under a name such as time, or
            numbers with one step throughout. Further columns of that kind are left out.
        val_size: the part of the rows for validation, in (0, 1).

    Returns:
        The windows to train on, those to validate on, and the names of the F features.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if a column is missing or not of numbers, a value is missing, time goes back, not exactly one
            of the deadband and the flag column is given, a column of 0 and 1 that is named like flags would be
            context, or a side is shorter than a window.

    >>> import tempfile
    >>> import pandas as pd
    >>> samples = pd.DataFrame({"hour": range(100), "temperature": [20 + hour % 7 for hour in range(100)]})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     samples.to_csv(f"{folder}/sensor.csv", index=False)
    ...     train, val, names = load_traffic_csv(f"{folder}/sensor.csv", 10, 5, deadband=0.1, time_column="hour")
    >>> len(train.sources), len(val.sources), names
    (66, 6, ['temperature'])
    """
    if (deadband is None) == (flag_column is None) and Path(path).is_file():
        raise ValueError(
            "exactly one of deadband and flag_column must be given; "
            f"got deadband={deadband!r} and flag_column={flag_column!r}: name the column of flags if there is one"
        )
    series = read_traffic_csv(path, flag_column, time_column)
    train, val, _ = split_series(series, len_source, len_target, deadband, val_size)
    return train, val, series.names


def read_traffic_csv(path: str | Path, flag_column: str | None = None, time_column: str | None = None) -> TrafficSeries:
    """The samples of a CSV file, as :func:`load_traffic_csv` reads them."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"path must be a CSV file; there is none at {path}")
    try:
        frame = pd.read_csv(path)
    except ValueError as error:  # of pandas' parser, or for text in another encoding
        raise ValueError(f"path must be a CSV file with a line of column names; got {path}: {error}") from error
    for role, column in (("flag_column", flag_column), ("time_column", time_column)):
        if column is not None and column not in frame:
            raise ValueError(f"{role} must be a column of {path}; got {shown(column)}, and the file has {list(frame)}")
    columns = assign_columns(frame, flag_column, time_column)
    names = list(columns.context)
    values = _numbers(frame, [*names, *([] if flag_column is None else [flag_column])], path)
    if flag_column is not None:
        _check_flags(values[:, -1], flag_column, path)
    times = None
    if columns.time is not None:
        kept = _last_of_equal_times(frame[columns.time], path)
        values, times = values[kept], frame[columns.time][kept].tolist()
    is_told = columns.time == time_column and (flag_column is not None or not columns.might_be_flags)
    logger.log(logging.INFO if is_told else logging.WARNING, "%s: %s", path, columns)
    return TrafficSeries(values[:, : len(names)], None if flag_column is None else values[:, -1], names, times)


def load_co2(
    len_source: int = 10, len_target: int = 5, deadband: float = 0.06, val_size: float = 0.2
) -> tuple[TrafficArrays, TrafficArrays, list[str]]:
    """Windows of the weekly CO2 at Mauna Loa, 1958 to 2001, as send-on-delta would transmit it.

    The series comes with statsmodels; nothing is downloaded. Its 59 missing weeks are interpolated in time.
    It rises by 55 ppm, so limits learnt from the first years would not hold: the trend is taken out, by
    causal filters that a sensor could run. The two features are means over the last 4 weeks, against the
    noise of single measurements (a week's is as large as its change), of (1) the difference from the mean of
    the last 52 weeks and (2) the change within 13 weeks. Both stay in their training range to the end.

    Args:
        len_source, len_target: S and T, weeks of the windows.
        deadband: in parts of a feature's range; the default transmits four weeks in ten.
        val_size: the part of the weeks, the last ones, for validation, in (0, 1).

    Returns:
        The windows to train on, those to validate on, and the names of the two features.

    Raises:
        ModuleNotFoundError: without statsmodels.
        ValueError: as :func:`load_traffic_csv`.

    >>> train, val, names = load_co2(len_source=10, len_target=5)
    >>> tuple(train.sources.shape), tuple(val.sources.shape), names
    ((1770, 10, 2), (432, 10, 2), ['seasonal', 'change'])
    """
    series = read_co2()
    train, val, _ = split_series(series, len_source, len_target, deadband, val_size)
    return train, val, series.names


def read_co2() -> TrafficSeries:
    """The two features of the weekly CO2, as :func:`load_co2` makes them."""
    with needs("traffic", "pass a CSV file"):
        from statsmodels.datasets import co2

    weekly = co2.load_pandas().data["co2"].interpolate("time")
    features = {"seasonal": weekly - weekly.rolling(WEEKS).mean(), "change": weekly.diff(13)}
    context = pd.DataFrame(features).rolling(FILTER).mean().dropna()
    weeks = [str(time.date()) for time in pd.DatetimeIndex(context.index)]
    return TrafficSeries(context.to_numpy(), None, list(features), weeks)


def split_in_time(
    context: Any, transmissions: Any, len_source: int, len_target: int, num_train: int
) -> tuple[TrafficArrays, TrafficArrays]:
    """The windows of the first ``num_train`` samples and those of the others: views of one series.

    Windows with samples of both sides are left out; the last transmitted sample of a window to validate on
    may be one of the training side, as it is for the receiver.

    Args:
        context: (L, F) floats.
        transmissions: (L,) flags.
        len_source, len_target: S and T, samples of the windows.
        num_train: samples of the training side.

    Raises:
        ValueError: if a side is shorter than a window, or as :func:`~ignite_recipes.make_traffic_windows`.

    >>> import torch
    >>> train, val = split_in_time(torch.rand(20, 2), torch.ones(20), 3, 2, num_train=12)
    >>> len(train.sources), len(val.sources)
    (8, 4)
    """
    length, num_samples = len_source + len_target, len(context)
    if min(num_train, num_samples - num_train) < length:
        raise ValueError(
            f"both sides must have at least len_source + len_target = {length} samples; got {num_train} to train on "
            f"and {num_samples - num_train} to validate on: use a longer series, shorter windows or another val_size"
        )
    windows = make_traffic_windows(context, transmissions, len_source, len_target)
    sides = (slice(num_train - length + 1), slice(num_train, None))
    train, val = (TrafficArrays(*(array[side] for array in windows)) for side in sides)
    return train, val


def split_series(
    series: TrafficSeries, len_source: int, len_target: int, deadband: float | None, val_size: float
) -> tuple[TrafficArrays, TrafficArrays, Limits]:
    """The windows to train on, those to validate on, and the limits, learnt of the first, that scale both."""
    if not 0 < val_size < 1:
        raise ValueError(f"val_size must be a part of the samples, in (0, 1); got {shown(val_size)}")
    num_train = len(series.context) - round(val_size * len(series.context))
    return split_series_at(series, len_source, len_target, deadband, num_train)


def split_series_at(
    series: TrafficSeries, len_source: int, len_target: int, deadband: float | None, num_train: int
) -> tuple[TrafficArrays, TrafficArrays, Limits]:
    """The same, with the number of samples to train on."""
    limits = learn_limits(series.context[: max(num_train, 1)])
    scaled, flags = series.scaled(limits, deadband)
    return *split_in_time(scaled, flags, len_source, len_target, num_train), limits


def _last_of_equal_times(column: "pd.Series[Any]", path: str | Path) -> Any:
    """Which rows to keep, (L,) booleans: the last of each time, or all if that were fewer than half of them."""
    times = as_times(column)
    if (missing := times.isna().to_numpy()).any():
        row = int(np.argmax(missing))
        raise ValueError(
            f"column {column.name} of {path} must hold a time in every row; got {column.iloc[row]!r} in row {row}: "
            "write the time there, or drop the row"
        )
    if not times.is_monotonic_increasing:
        row = int(np.argmax((times < times.shift()).to_numpy()))
        if re.fullmatch(r"\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?", str(column.iloc[row]).strip()):
            raise ValueError(
                f"column {column.name} of {path} must hold times with their dates; got the time of day "
                f"{column.iloc[row]!r} in row {row}: write date and time into one column"
            )
        raise ValueError(
            f"column {column.name} of {path} must hold times that do not go back; got {column.iloc[row]!r} in row "
            f"{row}, after {column.iloc[row - 1]!r}: sort the rows by time, for instance by pandas' sort_values"
        )
    is_last = ~(times == times.shift(-1)).to_numpy()
    dropped = len(times) - int(is_last.sum())
    if not dropped:
        return is_last
    if dropped > len(times) / 2:
        logger.warning(
            "%s: only %d of %d rows differ in column %r, so its times are coarser than the samples: all rows are kept, "
            "in their order",
            path,
            is_last.sum(),
            len(times),
            column.name,
        )
        return np.ones_like(is_last)
    logger.warning(
        "%s: dropped %d of %d rows, whose time in column %r is that of the next row: the last row of each time is kept",
        path,
        dropped,
        len(times),
        column.name,
    )
    return is_last


def _check_flags(flags: Any, name: str, path: str | Path) -> None:
    if (other := ~np.isin(flags, (0, 1))).any():
        row = int(np.argmax(other))
        raise ValueError(
            f"column {name} of {path} must hold flags, 0 or 1; got {flags[row]:g} in row {row}: name the "
            "column that is 1 where the sample was transmitted, or pass a deadband instead"
        )


def _numbers(frame: "pd.DataFrame", names: list[str], path: str | Path) -> Any:
    dtypes = frame[names].dtypes
    if wrong := [name for name, dtype in dtypes.items() if not pd.api.types.is_numeric_dtype(dtype)]:
        raise ValueError(
            f"the columns of {path} must hold numbers, except for time_column; got text in {wrong}: "
            "take these columns out of the file, or name the one with the times in time_column (--time-column)"
        )
    values = frame[names].to_numpy(dtype=np.float64)
    if not (finite := np.isfinite(values)).all():
        row, column = np.argwhere(~finite)[0]
        raise ValueError(
            f"column {names[column]} of {path} must hold a finite number in every row; got {values[row, column]} in "
            f"row {row}: fill the gaps, for instance by pandas' interpolate"
        )
    return values

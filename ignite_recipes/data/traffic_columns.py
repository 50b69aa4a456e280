"""Which columns of a table are its times, its transmission flags and its context."""

import re
import warnings
from typing import Any, NamedTuple

import numpy as np

from ignite_recipes.optional import pandas as pd

__all__ = ["Columns", "as_times", "assign_columns"]

TIME_WORDS = {"date", "datetime", "epoch", "index", "time", "timestamp", "ts", "unix", "unnamed", "year"}
FLAG_WORDS = {"flag", "flags", "send", "sent", "transmission", "transmissions", "transmit", "transmitted", "tx"}
# A date, or a time of day: pandas reads "1,5" and "T1" as dates too.
_TIME_TEXT = re.compile(r"\d{1,4}[-/. ]\w{1,9}[-/. ]\d{1,4}|\d{1,2}:\d{2}|[A-Za-z]{3,9} \d{1,2}, \d{4}")
_READINGS: tuple[dict[str, Any], ...] = ({}, {"dayfirst": True}, {"format": "ISO8601"})


class Columns(NamedTuple):
    """The names of a table's columns, by their use.

    >>> print(Columns("hour", None, ("warm", "door"), ("row",)))
    times: 'hour'; flags: none; context: 'warm', 'door'; left out, since they are times too: 'row'
    """

    time: str | None
    flags: str | None
    context: tuple[str, ...]
    left_out: tuple[str, ...] = ()
    """Further times and row counters, which are not context."""
    might_be_flags: tuple[str, ...] = ()
    """Those of the context that hold 0 and 1 only."""

    def __str__(self) -> str:
        parts = [f"times: {_quoted(self.time)}", f"flags: {_quoted(self.flags)}", f"context: {_quoted(*self.context)}"]
        if self.left_out:
            parts.append(f"left out, since they are times too: {_quoted(*self.left_out)}")
        if self.might_be_flags and self.flags is None:
            name = self.might_be_flags[0]
            parts.append(f"if {name!r} holds the transmissions, pass {_flag_option(name)}")
        return "; ".join(parts)


def assign_columns(frame: "pd.DataFrame", flag_column: str | None, time_column: str | None) -> Columns:
    """What each column is used as; all that are neither times nor flags are context.

    Without a ``time_column`` the times are recognised: text that reads as dates or times of day; numbers that never
    go back, in a column with a name such as time, timestamp or date; or numbers that go up by one and the same
    step. If there are several such columns, one is the times, in this order of preference, and the others are left
    out.

    Args:
        frame: a sample per row.
        flag_column, time_column: the columns that the caller named, which it has.

    Raises:
        ValueError: if there is no context left, or no ``flag_column`` was named though a column of 0 and 1 has a
            name such as sent, transmitted or flag.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"row": [0, 1, 2], "timestamp": [5, 5, 9], "warm": [20.1, 20.3, 20.2]})
    >>> assign_columns(table, None, None)
    Columns(time='timestamp', flags=None, context=('warm',), left_out=('row',), might_be_flags=())
    """
    others = [str(name) for name in frame if name not in (flag_column, time_column)]
    ranked = {}
    if time_column is None:
        ranked = {name: rank for name in others if (rank := _rank_as_times(frame[name])) is not None}
        # Of several of one rank, the column that distinguishes the most rows: seconds and not days.
        time_column = min(ranked, key=lambda name: (ranked[name], -frame[name].nunique()), default=None)
    context = tuple(name for name in others if name not in ranked)
    if not context:
        raise ValueError(
            f"the file must have a column of context in addition to times and flags; got "
            f"{list(frame)}: name the times in time_column (--time-column) if context was taken for them"
        )
    binary = tuple(name for name in context if _is_binary(frame[name]))
    flags = [name for name in binary if _words(name) & FLAG_WORDS]
    if flag_column is None and flags:
        raise ValueError(
            f"the transmission flags must not be context; got column {flags[0]!r} of 0 and 1 and no flag_column: pass "
            f"{_flag_option(flags[0])}, or take the column out of the file to transmit by the deadband"
        )
    left_out = tuple(name for name in ranked if name != time_column)
    return Columns(time_column, flag_column, context, left_out, binary)


def as_times(column: "pd.Series[Any]") -> "pd.Series[Any]":
    """Numbers as they are, text as times in UTC, missing where it is in no common format.

    Days are read before months where only then every text is a time that is not before the one above it.
    """
    if pd.api.types.is_numeric_dtype(column):
        return column
    with warnings.catch_warnings():  # of text that is in no common format, or in one that is not told by its start
        warnings.simplefilter("ignore", UserWarning)
        readings = [pd.to_datetime(column, errors="coerce", utc=True, **reading) for reading in _READINGS]
    complete = [times for times in readings if times.notna().all()]
    return next((times for times in complete if times.is_monotonic_increasing), (complete or readings)[0])


def _rank_as_times(column: "pd.Series[Any]") -> int | None:
    """How surely a column holds times, from 0; None if it does not."""
    if pd.api.types.is_bool_dtype(column) or not len(column):
        return None
    if not pd.api.types.is_numeric_dtype(column):
        start = column.dropna().astype(str).head(100)
        is_time = len(start) and start.str.contains(_TIME_TEXT).all() and as_times(start).notna().mean() > 0.5
        return 0 if is_time else None
    numbers = column.to_numpy(dtype=np.float64)
    steps = np.diff(numbers)
    if not len(steps) or not (steps >= 0).all() or not steps.any():  # NaN is not a time either
        return None
    if _words(str(column.name)) & TIME_WORDS:
        return 1
    return 2 if np.ptp(steps) <= 1e-3 * steps.mean() else None


def _is_binary(column: "pd.Series[Any]") -> bool:
    return pd.api.types.is_bool_dtype(column) or (
        pd.api.types.is_numeric_dtype(column) and bool(column.dropna().isin((0, 1)).all()) and column.nunique() > 0
    )


def _words(name: str) -> set[str]:
    """The words of a column's name, split at capitals too: unixTime, is_sent."""
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)}


def _quoted(*names: str | None) -> str:
    return ", ".join("none" if name is None else repr(name) for name in names)


def _flag_option(name: str) -> str:
    return f"flag_column={name!r} (--flag-column {name})"

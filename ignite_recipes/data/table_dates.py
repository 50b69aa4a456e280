"""Dates and times in a table: recognised in text, and turned into numbers."""

import math

from ignite_recipes.optional import polars as pl

__all__ = ["date_format", "date_parts", "read_dates"]

FORMATS = (
    "%Y-%m-%d",
    "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%SZ",
    "%Y/%m/%d",
    "%d.%m.%Y",
    "%m/%d/%Y",
    "%d/%m/%Y",
)
"""How text is read as times, the first that fits all values; of month and day that both fit, the month is first."""

_PERIODS = {"of_year": 365.2425, "of_week": 7.0, "of_day": 1.0}  # in days
_SAMPLE = 100  # values that are looked at first


def date_format(column: "pl.Series") -> str | None:
    """The format by which every value of a column of text is a date or a time; None if there is none."""
    known = column.drop_nulls()
    if not len(known):
        return None
    start = known.head(_SAMPLE)
    fitting = [form for form in FORMATS if not _read(start, form).null_count()]
    return next((form for form in fitting if not _read(known, form).null_count()), None)


def read_dates(column: "pl.Series", form: str | None) -> "pl.Series":
    """A column of times or dates, or of text in a format, as times; missing where it does not fit."""
    if column.dtype == pl.String:
        return _read(column, form or date_format(column) or FORMATS[0])
    if isinstance(column.dtype, pl.Datetime) and column.dtype.time_zone:
        column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return column.cast(pl.Datetime("us")) if column.dtype.is_temporal() else _nothing(column)


def date_parts(times: "pl.Series") -> "pl.DataFrame":
    """Numbers that say when: ``days`` since 1970; the place in the year, week and day, as sine and cosine."""
    days = times.dt.epoch("us").cast(pl.Float64) / 86_400e6
    parts = {f"{times.name}.days": days}
    for name, length in _PERIODS.items():
        angle = (days % length) * (2 * math.pi / length)
        parts |= {f"{times.name}.sin_{name}": angle.sin(), f"{times.name}.cos_{name}": angle.cos()}
    return pl.DataFrame(parts)


def _read(column: "pl.Series", form: str) -> "pl.Series":
    return column.str.strip_chars().str.to_datetime(form, strict=False, time_unit="us").cast(pl.Datetime("us"))


def _nothing(column: "pl.Series") -> "pl.Series":
    return pl.Series(column.name, [None] * len(column), dtype=pl.Datetime("us"))

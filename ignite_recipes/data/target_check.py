"""Refuse a target that was meant as numbers but reads as text, and numbers that are no classes."""

import re

from ignite_recipes.arguments import shown
from ignite_recipes.data.table_columns import as_numbers
from ignite_recipes.data.table_target import CLASSIFICATION, MOST_NUMBERED, REGRESSION
from ignite_recipes.optional import polars as pl

__all__ = ["check_target"]

MEANT = 0.9  # of the values are numbers: the others are mistakes, not classes
EXAMPLES = 3

_MARKED = r"^[+-]?{unit}[+-]?(?:\d{{1,3}}(?:[,.' \u00a0\u202f\u2019]\d{{3}})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?){unit}$"
_UNIT = r"\s*(?:\p{Sc}|%|EUR|USD|GBP|CHF|JPY)?\s*"
MARKED = _MARKED.format(unit=_UNIT)
"""A number with thousands separators, a decimal comma, a currency or a percent sign."""


def check_target(column: "pl.Series", rows: "pl.Series", task: str | None) -> None:
    """Refuse text in which nearly all values are numbers, and as classes numbers of which most are there only once.

    Both are mistakes that would be found much later, as classes that the rows to train on lack.

    Args:
        column: the target, none missing.
        rows: the number of each row, from 0.
        task: that was asked for; None if it is to be found.

    Raises:
        ValueError: that names the values and their rows, and says what to do.
    """
    numbers = as_numbers(column)
    if column.dtype == pl.String and task != CLASSIFICATION:
        _check_text(column, numbers, rows, task)
    is_of_numbers = not numbers.null_count() and column.dtype != pl.Boolean
    if is_of_numbers and (task == CLASSIFICATION or (task is None and column.dtype == pl.String)):
        _check_classes(column)


def _check_text(column: "pl.Series", numbers: "pl.Series", rows: "pl.Series", task: str | None) -> None:
    stripped = column.str.strip_chars()
    is_number, is_marked = numbers.is_not_null(), numbers.is_null() & stripped.str.contains(MARKED)
    least = MEANT * len(column)
    way_out = "" if task == REGRESSION else f", or pass task='{CLASSIFICATION}'"
    if numbers.n_unique() > MOST_NUMBERED and least <= is_number.sum() < len(column):
        bad = (~is_number).arg_true().to_list()
        named = ", ".join(f"{shown(column[k])} (row {rows[k]})" for k in bad[:EXAMPLES])
        more = f" and {len(bad) - EXAMPLES} more" if len(bad) > EXAMPLES else ""
        values = "1 value that is no number" if len(bad) == 1 else f"{len(bad)} values that are not numbers"
        raise ValueError(
            f"column {column.name!r} has {is_number.sum()} numbers and {values}: {named}{more}; rows are counted from "
            f"0: correct or empty them{way_out}"
        )
    if is_marked.any() and stripped.n_unique() > MOST_NUMBERED and (is_number | is_marked).sum() >= least:
        first = int(is_marked.arg_true()[0])
        marks = re.sub(r"[\d+-]|\s+(?=\D)|(?<=\D)\s+", "", str(stripped[first]))
        signs = " and ".join(repr(mark) for mark in dict.fromkeys(marks))
        raise ValueError(
            f"column {column.name!r} looks like numbers, but they are written with {signs}, as {shown(column[first])} "
            f"(row {rows[first]}, counted from 0): write plain numbers, as 226400 or 3.14{way_out}"
        )


def _check_classes(column: "pl.Series") -> None:
    """Numbers that are nearly all different are no classes: most could not be both trained and validated on."""
    counts = column.value_counts(name="rows of the value")["rows of the value"]
    once = int((counts == 1).sum())
    if len(counts) > MOST_NUMBERED and 2 * once > len(counts):
        raise ValueError(
            f"column {column.name!r} has {len(counts)} different numbers, {once} of them in one row only, which are no "
            f"classes: pass task='{REGRESSION}', or choose another column"
        )

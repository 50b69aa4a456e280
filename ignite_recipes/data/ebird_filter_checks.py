"""What the filters of checklists are given: in the ways that people write it, refused where it makes no sense."""

import datetime
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ignite_recipes.arguments import shown

__all__ = ["as_list", "check_amount", "check_box", "check_months", "check_words", "day"]


def as_list(value: Any, kind: Callable[[str], Any]) -> Any:
    """A text with commas as the list that it stands for, also an array; other values, and other text, as they are."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if not isinstance(value, str):
        return value.tolist() if isinstance(value, np.ndarray) else value
    try:
        return [kind(word.strip(" \"'")) for word in value.strip("[]()").split(",")]
    except ValueError:
        return value


def day(name: str, value: object) -> datetime.date | None:
    """A day, of a text as 2024-01-31, a date or a time; None of None.

    Raises:
        ValueError: if it is none.
    """
    if isinstance(value, datetime.datetime):  # pandas' Timestamp is one
        return value.date()
    if value is None or isinstance(value, datetime.date):
        return value
    try:
        return datetime.date.fromisoformat(str(value))
    except ValueError as error:
        raise ValueError(f"{name} must be a day, as 2024-01-31; got {shown(value)}") from error


def check_months(months: Any) -> None:
    """Raise ValueError unless they are months of the year, at least one, or None."""
    if months is None:
        return
    is_list = isinstance(months, Sequence) and not isinstance(months, str) and len(months) > 0
    if not is_list or not all(isinstance(month, (int, np.integer)) and 1 <= month <= 12 for month in months):
        raise ValueError(f"months must be a list of numbers from 1 to 12, e.g. [12, 1, 2]; got {shown(months)}")


def check_box(box: Any) -> None:
    """Raise ValueError unless it is west, south, east and north on the map, or None."""
    if box is None:
        return
    is_box = isinstance(box, Sequence) and not isinstance(box, str) and len(box) == 4
    if not is_box or not all(_is_number(value) for value in box):
        raise ValueError(f"bounding_box must be west, south, east and north, in degrees; got {shown(box)}")
    west, south, east, north = box
    if not (abs(west) <= 180 and abs(east) <= 180 and -90 <= south <= north <= 90):
        raise ValueError(
            "bounding_box must be west, south, east and north, in degrees: longitudes from -180 to 180, latitudes from "
            f"-90 to 90, the south first; got {shown(box)}"
        )


def check_words(name: str, words: Any) -> None:
    """Raise ValueError unless they are texts, at least one, or None."""
    is_list = isinstance(words, Sequence) and not isinstance(words, str) and len(words) > 0
    if words is not None and not (is_list and all(isinstance(word, str) and word.strip() for word in words)):
        raise ValueError(f"{name} must be a list of names or codes; got {shown(words)}")


def check_amount(name: str, unit: str, value: Any) -> None:
    """Raise ValueError unless it is a number from 0, or None."""
    if value is not None and not (_is_number(value) and value >= 0):
        raise ValueError(f"{name} must be a number of {unit} that is not negative; got {shown(value)}")


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and not math.isnan(value)

"""Checks of arguments, and words of their messages, that are the same everywhere."""

import operator
from collections.abc import Iterable
from typing import Any

__all__ = ["listed", "whole_number"]


def whole_number(value: Any, name: str, unit: str = "", *, at_least: int | None = 1) -> int:
    """The value as Python's ``int``: NumPy's integers and tensors of one are whole numbers too.

    Args:
        value: to check.
        name: of the argument, for the error.
        unit: of the number, e.g. ``"epochs"``.
        at_least: the smallest that is allowed; None is any.

    Raises:
        ValueError: if it is another kind of number, or too small.

    >>> import numpy as np
    >>> whole_number(np.int64(5), "patience", "epochs")
    5
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or (at_least is not None and number < at_least):
        of_unit = f" of {unit}," if unit else " of"
        bound = "" if at_least is None else f"{of_unit} at least {at_least}"
        raise ValueError(f"{name} must be a whole number{bound}; got {value!r}")
    return number


def listed(names: Iterable[Any], at_most: int = 10) -> str:
    """Names for a message, quoted: the first ones, and how many more there are.

    >>> listed(["a", "b", "c"], at_most=2)
    "'a', 'b' and 1 more"
    """
    names = list(names)
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(map(repr, names[:at_most])) + more

"""Checks of arguments that are the same everywhere."""

import operator
from typing import Any

__all__ = ["whole_number"]


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

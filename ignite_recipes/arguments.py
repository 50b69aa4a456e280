"""Checks of arguments, and words of their messages, that are the same everywhere."""

import operator
import reprlib
from collections.abc import Iterable
from typing import Any

__all__ = ["as_text", "counted", "kind_of", "listed", "shown", "whole_number"]

_LONGEST = 200  # characters, of what is shown of a value
_short = reprlib.Repr()
_short.maxstring = _short.maxother = _short.maxlong = 60
_short.maxlist = _short.maxtuple = _short.maxdict = _short.maxset = _short.maxlevel = 4


def as_text(word: str) -> str:
    r"""A word that came from the system, e.g. of a command line, as UTF-8, whatever the locale took it for.

    >>> as_text("Gr\udcc3\udcb6\udcc3\udc9fe"), as_text("plain")
    ('Größe', 'plain')
    """
    try:
        return word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    except UnicodeEncodeError:  # no system has made it
        return word.encode("utf-8", "replace").decode("utf-8")


def whole_number(value: Any, name: str, unit: str = "", *, at_least: int | None = 1) -> int:
    """The value as Python's ``int``: NumPy's integers and tensors of one are whole numbers too.

    Args:
        value: to check.
        name: the name of the argument, for the error.
        unit: the unit of the number, e.g. ``"epochs"``.
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
        raise ValueError(f"{name} must be a whole number{bound}; got {shown(value)}")
    return number


def shown(value: Any) -> str:
    """A value for a message, in one line of bounded length: of arrays the shape, of other things a short ``repr``.

    >>> import torch
    >>> shown(torch.zeros(3, 1000)), shown([1] * 1000), shown("text")
    ('Tensor of shape (3, 1000)', '[1, 1, 1, 1, ...]', "'text'")
    """
    if isinstance(shape := getattr(value, "shape", None), tuple) and shape:
        return kind_of(value)
    text = " ".join(_short.repr(value).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def kind_of(value: Any) -> str:
    """What a value is, for a message: its type, of arrays and frames also the shape.

    >>> import torch
    >>> kind_of(torch.zeros(2, 3)), kind_of([1, 2]), kind_of(None), kind_of("data.csv")
    ('Tensor of shape (2, 3)', 'list', 'None', "'data.csv'")
    """
    if value is None or isinstance(value, (str, bytes)):
        return _short.repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    shape = getattr(value, "shape", None)
    is_known = isinstance(shape, tuple) and len(shape) < 9
    return type(value).__name__ + (f" of shape {(*shape,)}" if is_known and shape is not None else "")


def counted(number: int, unit: str) -> str:
    """A number of things, in words.

    >>> counted(1, "row"), counted(20, "row")
    ('1 row', '20 rows')
    """
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def listed(names: Iterable[Any], at_most: int = 10) -> str:
    """Names for a message, quoted: the first ones, and how many more there are.

    >>> listed(["a", "b", "c"], at_most=2)
    "'a', 'b' and 1 more"
    """
    names = list(names)
    more = f" and {len(names) - at_most} more" if len(names) > at_most else ""
    return ", ".join(map(shown, names[:at_most])) + more

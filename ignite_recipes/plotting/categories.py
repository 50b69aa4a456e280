"""Labels as kinds in their order, with colours that tell them apart, or that follow the order."""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.optional import needs
from ignite_recipes.plotting.style import COLORS, MARKERS

__all__ = ["Kinds", "kinds_of", "label_values"]

_MOST_KINDS = 60  # that colours and markers tell apart, and a legend has room for
_FEW_NUMBERS = 20  # whole numbers with as many different values are kinds, such as digits

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_DAYS = ["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"]
# Winter, spring, summer, autumn and winter again: after the last month comes the first.
_CYCLE = ("#0072B2", "#009E73", "#E69F00", "#882255", "#0072B2")


class Kinds(NamedTuple):
    """Different labels.

    Attributes:
        values: in their order.
        order: ``"none"``; ``"line"``, from a first to a last one; or ``"circle"``, as months.
    """

    values: list[Any]
    order: str = "none"

    def looks(self) -> list[dict[str, Any]]:
        """The colour and the marker of each kind.

        >>> [look["color"] for look in Kinds(["heron", "stork"]).looks()]
        ['#0072B2', '#D55E00']
        """
        count = len(self.values)
        colors: Sequence[Any] = [COLORS[k % len(COLORS)] for k in range(count)]
        if self.order != "none":
            with needs("report"):
                from matplotlib import colormaps
                from matplotlib.colors import LinearSegmentedColormap

            if self.order == "circle":
                shades: Any = LinearSegmentedColormap.from_list("seasons", _CYCLE)
                places = np.arange(count) / count
            else:
                shades, places = colormaps["viridis"], np.linspace(0, 0.9, count)  # its end is too pale
            colors = [shades(place) for place in places]
        return [{"color": color, "marker": MARKERS[k % len(MARKERS)]} for k, color in enumerate(colors)]


def label_values(labels: Any, count: int) -> NDArray[Any]:
    """Labels as an array (N,): of numbers, or of Python's objects.

    Raises:
        ValueError: if they are not ``count``.
    """
    values = labels.detach().cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if values.dtype.kind not in "biuf":  # words, or words and None: as Python's objects
        values = np.array([*values.tolist(), None], dtype=object)[:-1] if values.ndim == 1 else values
    if values.shape != (count,):
        raise ValueError(f"labels must be {count}, one for each vector in the data's order; got shape {values.shape}")
    return values


def kinds_of(labels: Any, values: NDArray[Any], name: str, categorical: bool | None) -> Kinds | None:
    """The different labels in their order, if they are kinds; None if they are numbers.

    Months and days of the week stand in the order of the calendar, an ordered categorical of pandas and an Enum of
    polars in theirs; other kinds have no order of colours.

    Args:
        labels: as they were given.
        values: those that are not missing.
        name: the name of what they are; whole numbers from 1 to 12 that are a ``month`` are one.
        categorical: whether they are kinds; None finds out.

    Raises:
        ValueError: if there are too many kinds.

    >>> kinds_of(None, np.array(["Mar", "Jan"], dtype=object), "month", None)
    Kinds(values=['Jan', 'Mar'], order='circle')
    """
    if values.dtype.kind == "f" and not categorical:
        return None
    kinds = sorted(set(values.tolist()), key=_natural)
    if values.dtype.kind in "iu":
        if name.strip().lower() in ("month", "months") and all(1 <= kind <= 12 for kind in kinds):
            return Kinds(kinds, "circle") if categorical is not False else None
        if categorical is False or (categorical is None and len(kinds) > _FEW_NUMBERS):
            return None
    if len(kinds) > _MOST_KINDS:
        raise ValueError(
            f"labels must be at most {_MOST_KINDS} kinds, to differ; got {len(kinds)}: group the rare ones, or "
            "pass numbers, which get a colour bar"
        )
    for calendar in (_MONTHS, _DAYS):
        if (places := _in_calendar(kinds, calendar)) is not None:
            return Kinds(sorted(kinds, key=places.__getitem__), "circle")
    given = _categories(labels)
    if given is not None and set(kinds) <= set(given):
        return Kinds([kind for kind in given if kind in set(kinds)], "line")
    return Kinds(kinds)


def _in_calendar(kinds: Sequence[Any], calendar: Sequence[str]) -> dict[Any, int] | None:
    """The place of each kind among names, whole or of three letters; None if one is none of them."""
    short = [name[:3].lower() for name in calendar]
    if not kinds or not all(isinstance(kind, str) for kind in kinds):
        return None
    found = {}
    for kind in kinds:
        word = kind.strip().rstrip(".").lower()
        if word[:3] not in short or not calendar[short.index(word[:3])].lower().startswith(word):
            return None
        found[kind] = short.index(word[:3])
    return found


def _categories(labels: Any) -> list[Any] | None:
    """Those of an ordered categorical of pandas, or of an Enum of polars."""
    kind = getattr(labels, "dtype", None)
    categories = getattr(kind, "categories", None)
    if categories is None or not (getattr(kind, "ordered", False) or type(kind).__name__ == "Enum"):
        return None
    return list(categories.to_list() if hasattr(categories, "to_list") else categories)


def _natural(kind: Any) -> tuple[bool, list[Any]]:
    """Numbers before words, and kind 2 before kind 10."""
    if not isinstance(kind, str):
        return False, [kind]
    return True, [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", kind)]

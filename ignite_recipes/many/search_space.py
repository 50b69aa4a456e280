"""Where a search looks for a setting, in words: ``loguniform:1e-5,1e-2``."""

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from ignite_recipes.arguments import kind_of, listed
from ignite_recipes.optional import needs

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["KINDS", "Range", "read_range", "read_search"]

KINDS = ("uniform", "loguniform", "int", "choice")


class Range(NamedTuple):
    """Where a setting is looked for.

    Attributes:
        kind: one of :data:`KINDS`.
        values: the least and the largest; of ``"choice"`` all there are.
    """

    kind: str
    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"{self.kind}:{','.join(map(_word, self.values))}"

    def distribution(self) -> "BaseDistribution":
        """As Optuna has it."""
        with needs("search"):
            from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.kind == "choice":
            return CategoricalDistribution(self.values)
        if self.kind == "int":
            return IntDistribution(*self.values)
        low, high = self.values
        return FloatDistribution(low, high, log=self.kind == "loguniform")


def read_range(name: str, words: Any, read: Callable[[str], Any] | None = None) -> Range:
    """What a setting's words say.

    Args:
        name: the name of the setting.
        words: a kind and its values: ``uniform:a,b``, ``loguniform:a,b`` and ``int:a,b`` with both ends,
            ``choice:a,b,c``.
        read: makes a value of a word of a choice; None reads numbers, true, false and null as such.

    Raises:
        ValueError, TypeError: that says what must hold.

    >>> read_range("learning_rate", "loguniform:1e-5,1e-2")
    Range(kind='loguniform', values=(1e-05, 0.01))
    >>> read_range("size", "choice:16, 32, big").values
    (16, 32, 'big')
    """
    if not isinstance(words, str):
        raise TypeError(f"search must say in words where {name} is looked for, 'uniform:0,1'; got {kind_of(words)}")
    kind, colon, rest = (part.strip() for part in words.partition(":"))
    if kind not in KINDS or not colon:
        raise ValueError(f"search must be one of {listed(KINDS)}, e.g. {name}=uniform:0,1; got {name}={words}")
    parts = [part.strip() for part in rest.split(",")]
    if not all(parts):
        raise ValueError(f"search must give each value of {name}, with commas between; got {name}={words}")
    if kind == "choice":
        values = tuple(map(read or _value, parts))
        if any(type(value) is type(other) and value == other for k, value in enumerate(values) for other in values[:k]):
            raise ValueError(f"the choices of {name} must each be given once; got {name}={words}")
        return Range(kind, values)
    try:
        ends = tuple(map(int if kind == "int" else float, parts))
    except ValueError:
        ends = ()
    if len(ends) != 2 or not all(map(math.isfinite, ends)):
        what = "whole numbers" if kind == "int" else "numbers"
        raise ValueError(f"{kind} must have two {what}, the least and the largest; got {name}={words}")
    if not ends[0] < ends[1]:
        raise ValueError(f"{kind} must have its least value first, and another one after it; got {name}={words}")
    if kind == "loguniform" and not ends[0] > 0:
        raise ValueError(f"loguniform must be of numbers above 0; got {name}={words}")
    return Range(kind, ends)


def read_search(search: Any) -> dict[str, Range]:
    """Where each setting is looked for.

    Raises:
        ValueError, TypeError: for a search of nothing, or words that say nothing.
    """
    if not isinstance(search, Mapping):
        raise TypeError(f"search must be a dict, {{'learning_rate': 'loguniform:1e-5,1e-2'}}; got {kind_of(search)}")
    if not search:
        raise ValueError("search must name at least one setting; got none")
    return {str(name): read_range(str(name), words) for name, words in search.items()}


def _value(word: str) -> Any:
    named = {"true": True, "false": False, "null": None, "none": None}
    if word.lower() in named:
        return named[word.lower()]
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            pass
    return word


def _word(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)

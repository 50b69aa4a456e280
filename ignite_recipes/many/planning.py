"""Which runs there are to be: seeds, settings and folds make a list of members, each with a name of its own."""

import hashlib
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.experiments.members import Member

__all__ = ["NAMES_LENGTH", "member_label", "plan_members", "plan_trial", "seeds_of", "setting_label"]

NAMES_LENGTH = 120
"""The longest name of a member's folder, in characters; most file systems take 255 bytes."""


def plan_members(
    seeds: Sequence[int], sweep: Mapping[str, Sequence[Any]] | None = None, folds: int | None = None
) -> list[Member]:
    """Every seed with every setting and every fold, the seeds outermost: what is done first can be compared soonest.

    Args:
        seeds: of the runs, each once.
        sweep: the values of each swept setting; all combinations are members.
        folds: how many there are; None does without.

    Raises:
        ValueError: for a seed or a value that is there twice, or a setting without values.

    >>> [member.name for member in plan_members([0, 1], {"learning_rate": [0.1, 0.01]})]
    ['learning_rate=0.1_seed=0', 'learning_rate=0.01_seed=0', 'learning_rate=0.1_seed=1', 'learning_rate=0.01_seed=1']
    """
    seeds = [whole_number(seed, "a seed", at_least=0) for seed in seeds]
    _check_each_once(seeds, "seeds")
    if folds is not None:
        folds = whole_number(folds, "folds", at_least=2)
    for name, values in (sweep or {}).items():
        if isinstance(values, (str, bytes)) or not isinstance(values, Sequence):
            raise ValueError(f"sweep must give a list of values to {name}; got {shown(values)}")
        _check_each_once(list(values), f"the values of {name}")
    settings = [dict(zip(sweep or {}, values, strict=True)) for values in itertools.product(*(sweep or {}).values())]
    numbers: Sequence[int | None] = [None] if folds is None else range(1, folds + 1)
    members = [
        Member(_name(seed, chosen, fold), seed, chosen, fold)
        for seed in seeds
        for chosen in settings
        for fold in numbers
    ]
    _check_each_once([member.name.lower() for member in members], "the names of members")
    return members


def plan_trial(number: int, seed: int, settings: Mapping[str, Any]) -> Member:
    """The member of a search that is this trial; in its name the numbers are rounded.

    >>> plan_trial(3, 0, {"learning_rate": 0.00031622776}).name
    'trial=3_learning_rate=0.0003162_seed=0'
    """
    return Member(_name(seed, {"trial": number, **_rounded(settings)}, None), seed, dict(settings), None, number)


def member_label(member: Member) -> str:
    """What its combination of values is called; two trials of a search with the same values differ by their numbers.

    >>> member_label(plan_trial(3, 0, {"learning_rate": 0.00031622776}))
    'trial=3, learning_rate=0.0003162'
    """
    if member.trial is None:
        return setting_label(member.settings)
    return setting_label({"trial": member.trial, **_rounded(member.settings)})


def seeds_of(seeds: int | Sequence[int], first: int = 0) -> list[int]:
    """A number of seeds, from ``first`` upwards, or those that are given.

    >>> seeds_of(3), seeds_of([5, 2])
    ([0, 1, 2], [5, 2])
    """
    if isinstance(seeds, Sequence) and not isinstance(seeds, (str, bytes)):
        if not seeds:
            raise ValueError("seeds must be a number of seeds or a list of them; got an empty list")
        return [*seeds]
    count = whole_number(seeds, "seeds")
    return [*range(first, first + count)]


def setting_label(settings: Mapping[str, Any]) -> str:
    """What a combination of swept values is called.

    >>> setting_label({"learning_rate": 1e-4, "num_layers": 2}), setting_label({})
    ('learning_rate=0.0001, num_layers=2', 'all')
    """
    return ", ".join(f"{name}={_text(value)}" for name, value in settings.items()) or "all"


def _check_each_once(values: list[Any], what: str) -> None:
    if not values:
        raise ValueError(f"{what} must be at least one; got none")
    for k, value in enumerate(values):
        if any(type(value) is type(other) and value == other for other in values[:k]):
            raise ValueError(f"{what} must each be given once; got {shown(value)} twice")


def _name(seed: int, settings: Mapping[str, Any], fold: int | None) -> str:
    """A name for a folder, on every system; one that had to be changed has a hash of what it was."""
    parts = [f"{name}={_text(value)}" for name, value in settings.items()]
    wanted = "_".join([*parts, f"seed={seed}", *([] if fold is None else [f"fold={fold}"])])
    safe = re.sub(r"[^A-Za-z0-9=._+-]", "-", wanted).lstrip(".-")
    if safe == wanted and len(wanted) <= NAMES_LENGTH:
        return wanted
    digest = hashlib.blake2b(wanted.encode(), digest_size=4).hexdigest()
    rest = "_".join([f"seed={seed}", *([] if fold is None else [f"fold={fold}"]), digest])
    room = NAMES_LENGTH - len(rest) - 1
    first = re.sub(r"[^A-Za-z0-9=._+-]", "-", "_".join(parts)).lstrip(".-")[:room]
    return f"{first}_{rest}" if first else rest


def _rounded(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in settings.items()}


def _text(value: Any) -> str:
    if isinstance(value, float):
        return repr(value).removesuffix(".0") if abs(value) < 1e15 else repr(value)
    if value is None or isinstance(value, (bool, int, str)):
        return str(value).lower() if value is None or isinstance(value, bool) else str(value)
    return getattr(value, "__name__", None) or str(value)

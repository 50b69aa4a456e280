"""An experiment of many runs: its members, each an experiment of its own in a folder of the whole."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ignite_recipes.experiments.manager import list_experiments
from ignite_recipes.files import replace_file

__all__ = ["PLAN_FILE", "Member", "is_group", "members_folder", "outer_folder", "read_plan", "write_plan"]

PLAN_FILE = "members.json"
"""By which an experiment of many is known: what members it is to have."""

_FOLDER = "members"


class Member(NamedTuple):
    """A run among many, as it was planned.

    Attributes:
        name: the name of its folder; no other member has it.
        seed: the seed of its run.
        settings: those that are swept, with its values.
        fold: the part of the rows that it is validated on, from 1; None where there are no folds.
        trial: of a search its number, from 0; None where nothing is searched.

    >>> Member("seed=1", 1).settings
    {}
    """

    name: str
    seed: int
    settings: Mapping[str, Any] = {}
    fold: int | None = None
    trial: int | None = None


def is_group(folder: str | os.PathLike[str]) -> bool:
    """Whether an experiment holds members."""
    return Path(folder, PLAN_FILE).is_file()


def members_folder(folder: str | os.PathLike[str]) -> Path:
    """Where the members of an experiment are, as runs are in ``runs``."""
    return Path(folder, _FOLDER)


def outer_folder(folder: str | os.PathLike[str]) -> Path:
    """The folder of experiments: that of the whole where ``folder`` is the one of its members."""
    path = Path(folder)
    is_inside = path.name == _FOLDER and is_group(path.parent)
    return path.parent.parent if is_inside else path


def read_plan(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What an experiment of many is: ``members``, a list of :class:`Member`, and what else was written.

    Raises:
        ValueError: if the file is damaged.
    """
    path = Path(folder, PLAN_FILE)
    try:
        plan = json.loads(path.read_text(encoding="utf-8"))
        members = [Member(**member) for member in plan["members"]]
        if not all(isinstance(one.name, str) and Path(one.name).name == one.name for one in members):
            raise ValueError("a name is none")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        known = ", ".join(list_experiments(members_folder(folder))) or "none"
        raise ValueError(
            f"{path} must hold the plan of many runs; it is damaged ({error}): put back a copy of it. Its members are "
            f"experiments of their own, in {members_folder(folder)}: {known}"
        ) from error
    return {**plan, "members": members}


def write_plan(folder: str | os.PathLike[str], plan: Mapping[str, Any]) -> None:
    """Write what :func:`read_plan` reads, at once or not at all."""
    plain = {**plan, "members": [member._asdict() for member in plan["members"]]}
    text = json.dumps(plain, indent=1, default=str)
    replace_file(Path(folder, PLAN_FILE), lambda file: file.write(text.encode()))

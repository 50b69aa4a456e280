"""The labels of an experiment in addition to expN: its name, and its tags, which others may have too."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite_recipes.arguments import as_text

__all__ = ["check_name", "folder_labels", "name_of", "tags_of", "with_label"]


def check_name(name: str) -> str:
    """A name for an experiment, as given.

    Raises:
        ValueError: if it is empty, or could be taken for a path or for expN.

    >>> check_name("wide network")
    'wide network'
    """
    if not name.strip() or name != name.strip() or name[0] in ".-~" or re.search(r"[/\\\0\n]", name):
        raise ValueError(f"the name of an experiment must be a word or some, without a path; got {name!r}")
    if re.fullmatch(r"exp\d*", name):
        raise ValueError(f"the name of an experiment must not be like those that are given by number; got {name!r}")
    return name


def folder_labels(folders: Sequence[str]) -> list[str]:
    """What experiments are called where several are shown: the names of their folders or, of equal ones, the paths.

    >>> folder_labels(["runs/exp1", "runs/exp2", "old/exp2"])
    ['exp1', 'runs/exp2', 'old/exp2']
    """
    names = [Path(folder).name for folder in folders]
    return [name if names.count(name) == 1 else folder for name, folder in zip(names, folders, strict=True)]


def name_of(settings: Mapping[str, Any]) -> str | None:
    """The name in an experiment's settings; None if it has none."""
    name = settings.get("name")
    return name if isinstance(name, str) else None


def tags_of(settings: Mapping[str, Any]) -> list[str]:
    """The tags in an experiment's settings, which are a list or words with commas.

    >>> tags_of({"tag": "small, first"}), tags_of({"tag": ["small"]}), tags_of({})
    (['small', 'first'], ['small'], [])
    """
    tags = settings.get("tag") or []
    words = tags.split(",") if isinstance(tags, str) else tags if isinstance(tags, Sequence) else [tags]
    return [word for tag in words if (word := str(tag).strip())]


def with_label(settings: Mapping[str, Mapping[str, Any]], label: str, base: Path) -> str | None:
    """The experiment that has this name or, if none has it, this tag; None if there is none.

    Args:
        settings: the settings of each experiment, by the name of its folder.
        label: a name or a tag.
        base: the folder of them all.

    Raises:
        ValueError: if several have it.

    >>> with_label({"exp1": {"name": "wide"}, "exp2": {"tag": "narrow,wide"}}, "wide", Path("runs"))
    'exp1'
    """
    label = as_text(label)
    named = [folder for folder, own in settings.items() if name_of(own) == label]
    found = named or [folder for folder, own in settings.items() if label in tags_of(own)]
    if len(found) > 1:
        what = "named" if named else "tagged"
        raise ValueError(f"{label!r} must be one experiment of {str(base)!r}; {', '.join(found)} are {what} so: choose")
    return found[0] if found else None

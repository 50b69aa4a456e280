"""What the commands share that do something else with a recipe than to train it: find-lr and resume-check."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli import classify, supervised, traffic, vae

__all__ = ["COMMANDS", "check_begins_anew", "recipe_and_options"]

COMMANDS: dict[str, ModuleType] = {"vae": vae, "classify": classify, "supervised": supervised, "traffic": traffic}
"""The commands of the recipes, each with ``parser()`` and ``main(argv, run)``."""


def recipe_and_options(parser: ArgumentParser, argv: Sequence[str]) -> tuple[str, list[str]]:
    """The recipe, which stands first among the arguments, and its options; prints the help where that is asked for.

    Raises:
        ValueError: if another word stands first.
    """
    if argv and argv[0] in ("-h", "--help"):
        parser.parse_args(["--help"])
    if not argv or argv[0] not in COMMANDS:
        command, got = parser.prog.split()[-1], repr(argv[0]) if argv else "none"
        raise ValueError(f"{command} RECIPE: one of {', '.join(COMMANDS)}; got {got}")
    return argv[0], [*argv[1:]]


def check_begins_anew(settings: Mapping[str, Any], why: str) -> None:
    """Refuse the options that lead to an experiment that there is, or to none.

    Raises:
        ValueError: that says ``why``, and which to leave out.
    """
    for name in ("resume", "fork", "print_config", "seeds", "sweep", "search", "folds"):
        if settings[name]:
            raise ValueError(f"{why}; leave out --{name.replace('_', '-')}")

"""Files of settings that are given with ``--config``: found among the arguments, and checked before the parser."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ignite_recipes.answers.trained import RECIPES

__all__ = ["check_config_files", "in_config_files", "names_runs_dir", "without_config_files"]


def check_config_files(command: str, argv: Sequence[str]) -> None:
    """Refuse a file that holds no settings, or those of another command, before the parser meets their names.

    Raises:
        ValueError: naming the file; one that is missing is left to the parser.
    """
    import yaml

    for path in _config_files(argv):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            place = "it is not YAML" if mark is None else f"the mistake is in line {mark.line + 1}"
            raise ValueError(f"--config {path} must hold settings, as name: value; {place}") from error
        if not isinstance(content, dict):
            got = "it is empty" if content is None else f"got {type(content).__name__}"
            raise ValueError(f"--config {path} must hold settings, as name: value; {got}")
        recipe = content.get("recipe", command)
        if recipe != command:
            step = f"use ignite-recipes {recipe}" if recipe in RECIPES else "take the line recipe out of it"
            raise ValueError(f"--config {path} must hold settings of {command}; they are of {recipe!r}: {step}")


def _config_files(argv: Sequence[str]) -> list[Path]:
    """The files that are named with --config, those that there are."""
    named = [(word.partition("="), following) for word, following in pairwise([*argv, ""])]
    values = [value if equals else following for (option, equals, value), following in named if option == "--config"]
    paths = [Path(value).expanduser() for value in values]
    return [path for path in paths if path.is_file()]


def names_runs_dir(argv: Sequence[str]) -> bool:
    """Whether --runs-dir is among the arguments, or in their --config file."""
    if any(word.partition("=")[0].replace("_", "-") == "--runs-dir" for word in argv):
        return True
    return any("runs_dir" in content for content in _contents(argv))


def in_config_files(argv: Sequence[str], name: str) -> Any:
    """The value of a setting in the last --config file that has it; None if none has."""
    return next((content[name] for content in reversed(_contents(argv)) if name in content), None)


def without_config_files(words: Sequence[str]) -> list[str]:
    """The arguments but for --config and its files.

    >>> without_config_files(["a.csv", "--config", "c.yaml", "--epochs", "2"])
    ['a.csv', '--epochs', '2']
    """
    before = ["", *words]
    return [
        word
        for word, last in zip(words, before, strict=False)
        if last != "--config" and word.partition("=")[0] != "--config"
    ]


def _contents(argv: Sequence[str]) -> list[dict[str, Any]]:
    import yaml

    return [yaml.safe_load(path.read_text(encoding="utf-8")) for path in _config_files(argv)]

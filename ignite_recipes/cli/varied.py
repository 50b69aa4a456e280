"""The options of many runs, and the settings that these differ in, as ``--sweep`` and ``--search`` name them."""

from argparse import SUPPRESS
from collections.abc import Mapping
from functools import partial
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.options import parse_settings
from ignite_recipes.many.asking import default_of
from ignite_recipes.many.rounds import Wanted
from ignite_recipes.many.search_space import Range, read_range
from ignite_recipes.many.searching import search_many
from ignite_recipes.optional import check_installed

__all__ = ["add_many_options", "check_of_search", "named_setting", "value_of", "wanted_of"]

_NOT_VARIED = {
    "seed": "--seeds 8",
    "file": "a command for each file",
    "target": "a command for each target",
    **dict.fromkeys(("seeds", "sweep", "folds", "fold", "refit", "together", "split_seed"), "it once, for all"),
    **dict.fromkeys(("search", "trials", "storage"), "it once, for all"),
    **dict.fromkeys(
        ("name", "tag", "device", "runs_dir", "recipe", "forked_from", "resume", "fork"), "it once, for all"
    ),
    **dict.fromkeys(("print_config", "stop_at_iteration", "config", "module"), "it once, for all"),
}


def add_many_options(options: ArgumentParser) -> None:
    """The options with which a recipe's command trains many runs."""
    options.add_argument(
        "--seeds",
        type=int | str | None,
        help="train with this number of seeds, or with these seeds: --seeds 8, --seeds 1,2,5",
    )
    options.add_argument(
        "--sweep",
        type=list[str],
        default=[],
        help="train with each of these values, and several sweeps in all combinations: --sweep learning_rate=1e-4,1e-3",
    )
    options.add_argument(
        "--search",
        type=list[str],
        default=[],
        help="let Optuna search a setting in a range, or several: --search learning_rate=loguniform:1e-5,1e-2 "
        "--search num_layers=int:1,4; the kinds are uniform, loguniform, int and choice",
    )
    options.add_argument("--trials", type=int | None, help="for --search: the number of runs; by default 40")
    options.add_argument(
        "--storage",
        type=str | None,
        help="for --search: a file of trials that several processes share, each with its own experiment",
    )
    options.add_argument(
        "--folds",
        type=int | None,
        help="cross-validation: cut the data into this number of parts, and validate on each",
    )
    options.add_argument(
        "--refit", type=bool, default=False, help="with --folds: at the end train the best setting on all the data"
    )
    options.add_argument(
        "--together",
        type=bool | None,
        help="with several runs: compute the steps of similar runs as one program; by default yes",
    )
    options.add_argument("--fold", type=int | None, help=SUPPRESS)  # of a member


def named_setting(text: str, option: str, example: str, parser: ArgumentParser) -> tuple[str, str]:
    """The name of a setting, and what is said of it, of ``learning_rate=...``.

    Args:
        text: as given.
        option: that it was given to, and an ``example`` of it, for errors.
        parser: the parser of the command.

    Raises:
        ValueError: if it is another text, or of something in which runs cannot differ.
    """
    name, equals, said = text.partition("=")
    word = name.strip().lstrip("-").replace("_", "-")
    if not equals or not word or not said.strip():
        raise ValueError(f"{option} must be a setting and its values, {example}; got {text!r}")
    dest = next((a.dest for a in parser._actions if f"--{word}" in a.option_strings), word.replace("-", "_"))
    if dest in _NOT_VARIED:
        raise ValueError(f"{option} takes settings of the training, and {dest} is not one: give {_NOT_VARIED[dest]}")
    return dest, said.strip()


def value_of(parser: ArgumentParser, dest: str, settings: Mapping[str, Any], word: str) -> Any:
    """A word as the value of a setting, of the type that its option has."""
    base = {key: value for key, value in settings.items() if key not in ("config", "resume", "fork")}
    given = [f"--{dest.replace('_', '-')}={word}"]
    return parse_settings(parser, given, {**base, "sweep": [], "search": []})[dest]


def check_of_search(settings: Mapping[str, Any]) -> None:
    """Refuse what does not go together with a search, or is of one where there is none.

    Raises:
        ValueError: that says what to leave out.
    """
    if not settings["search"]:
        for name in ("trials", "storage"):
            if settings[name] is not None:
                raise ValueError(f"--{name} is for --search; got none: add --search learning_rate=loguniform:1e-5,1e-2")
        return
    for name in ("seeds", "sweep", "folds", "refit"):
        if settings[name]:
            raise ValueError(f"--search trains a run for each trial, all with --seed; leave out --{name}")


def wanted_of(settings: Mapping[str, Any], parser: ArgumentParser) -> Wanted:
    """What these settings ask to be searched.

    Raises:
        ValueError: for a setting that cannot be searched, words that say nothing, values that its option does not
            take, or without Optuna.
    """
    try:
        check_installed("search")
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    space: dict[str, Range] = {}
    for text in settings["search"]:
        dest, words = named_setting(text, "--search", "learning_rate=loguniform:1e-5,1e-2", parser)
        if dest in space:
            raise ValueError(f"--search must name each setting once; got {dest} twice")
        space[dest] = read_range(dest, words, partial(value_of, parser, dest, settings))
        if space[dest].kind != "choice":
            for end in space[dest].values:
                value_of(parser, dest, settings, str(end))
    trials = default_of(search_many, "trials") if settings["trials"] is None else settings["trials"]
    return Wanted(space, trials=trials, seed=settings["seed"], storage=settings["storage"])

"""``ignite-recipes find-lr RECIPE``: find a learning rate for a recipe, with its data and its options."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.config_files import check_config_files
from ignite_recipes.cli.of_recipes import COMMANDS, check_begins_anew, recipe_and_options
from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.devices import as_device
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.finding import LearningRates, find_learning_rate
from ignite_recipes.plotting.style import PICTURES, write_figure
from ignite_recipes.recipes.started import taken_from

__all__ = ["HELP", "main", "parser"]

HELP = "find a learning rate for a recipe: find-lr RECIPE [its options]"

_OF_THE_TEST = ("start_lr", "end_lr", "num_steps", "picture")


def parser() -> ArgumentParser:
    """The command's own options, for the list of commands; a recipe's parser has them too when it is named."""
    options = new_parser(
        "find-lr",
        f"{HELP}. RECIPE is one of {', '.join(COMMANDS)}. It is trained for some steps with a rate that rises from "
        "step to step, until the loss rises too (L. Smith, arXiv:1506.01186). The rate at which the loss fell fastest "
        "is suggested. Nothing is stored, except the picture if you ask for it.",
    )
    _add_own(options)
    return options


def _add_own(options: ArgumentParser) -> None:
    options.add_argument("--start-lr", type=float, default=1e-7, help="the rate of the first step")
    options.add_argument("--end-lr", type=float, default=10.0, help="the rate of the last step")
    options.add_argument("--num-steps", type=int, default=100, help="from the first rate to the last")
    options.add_argument("--picture", type=str | None, help=f"a file to draw the losses in: {', '.join(PICTURES)}")


def main(argv: Sequence[str]) -> Result:
    """Try the rates; the suggestion as one line.

    Raises:
        ValueError: for a mistake in the recipe's name or options.
    """
    recipe, words = recipe_and_options(parser(), argv)
    found: Result = COMMANDS[recipe].main(words, _find)
    return found


def _find(
    command: str,
    options: ArgumentParser,
    argv: Sequence[str],
    load: Callable[[dict[str, Any]], Any],
    train: Callable[..., Result],
) -> Result:
    """In place of the recipe's training."""
    _add_own(options)
    options.prog = f"ignite-recipes find-lr {command}"
    check_config_files(command, argv)
    settings = parse_settings(options, argv)
    check_begins_anew(settings, "find-lr starts with new weights")
    picture = None if settings["picture"] is None else Path(settings["picture"])
    if picture is not None and (picture.suffix not in PICTURES or not picture.parent.is_dir()):
        endings = ", ".join(PICTURES)
        raise ValueError(f"--picture must be a file that ends in {endings}, in a folder that exists; got {picture}")
    join_ranks(as_device(settings["device"]))
    data = load(settings)
    trainer, loader = taken_from(lambda run: train(run, settings, data))
    ramp = {name: settings[name] for name in _OF_THE_TEST if name != "picture"}
    try:
        found = find_learning_rate(trainer, loader, **ramp)
    except RuntimeError as error:  # it told nothing, and says what to change
        raise ValueError(str(error)) from error
    if picture is not None:
        write_figure(found.plot(), picture)
    facts = {"suggestion": found.suggestion, "minimum": found.minimum, "diverged": found.diverged}
    return Result(
        _verdict(_command_line(command, argv, found.suggestion), found, settings, picture),
        {"recipe": command, **facts, "rates": found.rates, "losses": found.losses, "picture": picture},
    )


def _command_line(recipe: str, argv: Sequence[str], rate: float | None) -> str:
    """What trains the same with this rate: the words that were given, but for those of the range test."""
    own = [f"--{name.replace('_', '-')}" for name in (*_OF_THE_TEST, "learning_rate")]
    kept, skips = list[str](), False
    for word in argv:
        name = word.partition("=")[0].replace("_", "-")
        if skips:
            skips = False
        elif name in own:
            skips = "=" not in word
        else:
            kept.append(word)
    return shlex.join(["ignite-recipes", recipe, *kept, "--learning-rate", f"{rate or 0:.2g}"])


def _verdict(line: str, found: LearningRates, settings: dict[str, Any], picture: Path | None) -> str:
    drawn = "" if picture is None else f"; the picture is {picture}"
    if found.suggestion is None or found.minimum is None:
        return (
            f"No rate from {settings['start_lr']:g} to {settings['end_lr']:g} made the loss fall in {len(found.rates)} "
            f"steps: try more of them, --num-steps{drawn}"
        )
    last = f"{found.rates[-1]:.2g}"
    end = f"it diverged after {last}" if found.diverged else f"it did not diverge up to {last}"
    return (
        f"The loss fell fastest at {found.suggestion:.2g} and was lowest at {found.minimum:.2g} (a tenth of it is "
        f"{found.minimum / 10:.2g}); {end}. To train with {found.suggestion:.2g}: {line}{drawn}"
    )

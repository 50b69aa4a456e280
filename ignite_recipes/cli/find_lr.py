"""``ignite-recipes find-lr RECIPE``: find a learning rate for a recipe, with its data and its options."""

from argparse import ArgumentParser as PlainParser
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli import classify, supervised, traffic, vae
from ignite_recipes.cli.config_files import check_config_files
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.devices import as_device
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.files import replace_file
from ignite_recipes.finding import LearningRates, find_learning_rate
from ignite_recipes.plotting.style import as_png
from ignite_recipes.recipes.started import taken_from

__all__ = ["HELP", "main", "parser"]

HELP = "find a learning rate for a recipe: find-lr RECIPE [its options]"
_RECIPES: dict[str, Any] = {"vae": vae, "classify": classify, "supervised": supervised, "traffic": traffic}


def parser() -> ArgumentParser:
    """The command's own options; a recipe's parser reads the others."""
    options = ArgumentParser(
        prog="ignite-recipes find-lr",
        description=f"{HELP}. RECIPE is one of {', '.join(_RECIPES)}. It is trained for some steps with a rate that "
        "rises from step to step, until the loss does (L. Smith, arXiv:1506.01186); the rate at which the loss fell "
        "fastest is suggested. Nothing is kept, but the picture where it is asked for.",
        exit_on_error=False,
    )
    options.add_argument("--start-lr", type=float, default=1e-7, help="the rate of the first step")
    options.add_argument("--end-lr", type=float, default=10.0, help="the rate of the last step")
    options.add_argument("--num-steps", type=int, default=100, help="from one to the other")
    options.add_argument("--picture", type=str | None, help="a .png file to draw the losses in")
    return options


def main(argv: Sequence[str]) -> Result:
    """Try the rates; the suggestion as one line.

    Raises:
        ValueError: for a mistake in the recipe's name or options.
    """
    if argv and argv[0] in ("-h", "--help"):
        parser().parse_args(["--help"])
    if not argv or argv[0] not in _RECIPES:
        raise ValueError(f"find-lr RECIPE: one of {', '.join(_RECIPES)}; got {argv[0] if argv else 'none'!r}")
    own, others = _split(argv[1:])
    settings = parser().parse_args(own).as_dict()
    picture = None if settings["picture"] is None else Path(settings["picture"]).expanduser()
    if picture is not None and (picture.suffix != ".png" or not picture.parent.is_dir()):
        raise ValueError(f"--picture must be a file that ends in .png, in a folder that is there; got {picture}")
    found: list[LearningRates] = []

    def find(
        command: str,
        options: ArgumentParser,
        given: Sequence[str],
        load: Callable[[dict[str, Any]], Any],
        train: Callable[..., Result],
    ) -> Result:
        check_config_files(command, given)
        told = parse_settings(options, given)
        for name in ("resume", "fork", "print_config"):
            if told[name]:
                raise ValueError(f"find-lr begins with new weights; leave out --{name.replace('_', '-')}")
        join_ranks(as_device(told["device"]))
        data = load(told)
        trainer, loader = taken_from(lambda run: train(run, told, data))
        ramp = {name: settings[name] for name in ("start_lr", "end_lr", "num_steps")}
        try:
            found.append(find_learning_rate(trainer, loader, **ramp))
        except RuntimeError as error:  # it told nothing, and says what to change
            raise ValueError(str(error)) from error
        return Result("", {})

    _RECIPES[argv[0]].main(others, find)
    if picture is not None:
        png = as_png(found[0].plot())[0]
        replace_file(picture, lambda file: file.write(png))
    text = _verdict(argv[0], found[0], settings, picture)
    rates = found[0]
    facts = {"suggestion": rates.suggestion, "minimum": rates.minimum, "diverged": rates.diverged}
    return Result(text, {"recipe": argv[0], **facts, "rates": rates.rates, "losses": rates.losses, "picture": picture})


def _split(argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command's own options, and those of the recipe."""
    known = PlainParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    names = ("--start-lr", "--end-lr", "--num-steps", "--picture")
    for name in names:
        known.add_argument(name)
    given, others = known.parse_known_args(list(argv))
    own = [f"{name}={value}" for name in names if (value := getattr(given, name[2:].replace("-", "_"))) is not None]
    return own, others


def _verdict(recipe: str, found: LearningRates, settings: dict[str, Any], picture: Path | None) -> str:
    drawn = "" if picture is None else f"; the picture is {picture}"
    if found.suggestion is None or found.minimum is None:
        return (
            f"No rate from {settings['start_lr']:g} to {settings['end_lr']:g} made the loss fall in {len(found.rates)} "
            f"steps: try more, --num-steps{drawn}"
        )
    last = f"{found.rates[-1]:.2g}"
    end = f"it diverged after {last}" if found.diverged else f"it did not diverge up to {last}"
    return (
        f"The loss fell fastest at {found.suggestion:.2g} and was lowest at {found.minimum:.2g} (a tenth of it is "
        f"{found.minimum / 10:.2g}); {end}. To train with the first: ignite-recipes {recipe} --learning-rate "
        f"{found.suggestion:.2g}{drawn}"
    )

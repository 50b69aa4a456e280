"""``ignite-recipes evaluate``: how good a trained experiment is on data whose truth is known."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ignite_recipes.answers.evaluating import evaluate, evaluate_inputs
from ignite_recipes.answers.inputs import read_inputs
from ignite_recipes.answers.measured import show, unit_of_measure
from ignite_recipes.cli.answering import answer_parser, trained_experiment
from ignite_recipes.cli.options import add_options, parse_settings
from ignite_recipes.cli.result import Result

__all__ = ["HELP", "main", "parser"]

HELP = "measure how good a trained experiment is, on a file or on its validation data: evaluate exp1 [FILE]"


def parser() -> ArgumentParser:
    """The command's options."""
    options = answer_parser(
        "evaluate",
        "Measure how good the best weights of an experiment are on data with known true values.",
    )
    options.add_argument(
        "file",
        nargs="?",
        type=str | None,
        help="with the true values, e.g. the target's column, or a folder of images for each class; by default the "
        "validation data",
    )
    add_options(options, evaluate, ["importance_samples"])
    return options


def main(argv: Sequence[str]) -> Result:
    """Measure; a line for each measure."""
    settings = parse_settings(parser(), argv)
    trained = trained_experiment(settings)
    measures = evaluate_inputs(trained, read_inputs(trained, settings["file"]), settings["importance_samples"])
    width = max(map(len, measures))
    lines = [
        f"{name:<{width}}  {show(value)}{unit_of_measure(trained.predictor, name)}" for name, value in measures.items()
    ]
    on = "the data it was validated on" if settings["file"] is None else settings["file"]
    facts = {
        "experiment": trained.name,
        "model": trained.path,
        "file": settings["file"],
        "measures": measures,
        "units": {name: unit_of_measure(trained.predictor, name).strip() or None for name in measures},
    }
    return Result("\n".join([*lines, f"{trained.name} on {on}, with the weights of {trained.path}"]), facts)

"""``ignite-recipes report``: one HTML page on a trained experiment."""

from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ignite_recipes.answers.inputs import read_inputs
from ignite_recipes.answers.reporting import write_report
from ignite_recipes.cli.answering import answer_parser, trained_experiment
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result

__all__ = ["HELP", "main", "parser"]

HELP = "write one HTML page on a trained experiment: report exp1"


def parser() -> ArgumentParser:
    """The command's options."""
    options = answer_parser(
        "report",
        "Write one HTML page on an experiment, which opens without a network: what was trained on what, curves, "
        "measures with intervals, and where the model is wrong.",
    )
    options.add_argument(
        "file",
        nargs="?",
        type=str | None,
        help="to measure on, with the truth, as of evaluate; by default the validation data",
    )
    options.add_argument(
        "--output", type=str | None, help="the file to write, .html; by default report.html in the experiment's folder"
    )
    return options


def main(argv: Sequence[str]) -> Result:
    """Write the page; where it is, as one line."""
    settings = parse_settings(parser(), argv)
    trained = trained_experiment(settings)
    inputs = None if settings["file"] is None else read_inputs(trained, settings["file"])
    path = write_report(trained, inputs, settings["output"])
    text = f"The report on {trained.name} is in {path}: open it in a browser"
    return Result(text, {"experiment": trained.name, "report": path})

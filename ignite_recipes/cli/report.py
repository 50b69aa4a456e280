"""``ignite-recipes report``: one HTML page on a trained experiment."""

import os
from collections.abc import Sequence

from jsonargparse import ArgumentParser

from ignite_recipes.answers.inputs import read_inputs
from ignite_recipes.answers.reporting import report_on_many, write_report
from ignite_recipes.cli.answering import answer_parser, named_experiment, trained_experiment
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.members import is_group

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
        help="data to measure on, with the true values, as for evaluate; by default the validation data",
    )
    options.add_argument(
        "--output", type=str | None, help="the file to write, .html; by default report.html in the experiment's folder"
    )
    return options


def main(argv: Sequence[str]) -> Result:
    """Write the page; where it is, as one line."""
    settings = parse_settings(parser(), argv)
    experiment = named_experiment(settings)
    if is_group(experiment.experiment_dir) and settings["file"] is None:
        path = report_on_many(experiment, settings["output"])
        name = os.path.basename(experiment.experiment_dir)
        return Result(
            f"The report on the runs of {name} is in {path}: open it in a browser", {"experiment": name, "report": path}
        )
    trained = trained_experiment(settings)
    inputs = None if settings["file"] is None else read_inputs(trained, settings["file"])
    path = write_report(trained, inputs, settings["output"])
    text = f"The report on {trained.name} is in {path}: open it in a browser"
    return Result(text, {"experiment": trained.name, "report": path})

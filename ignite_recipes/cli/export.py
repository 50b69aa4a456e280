"""``ignite-recipes export``: a trained model as a program for other tools."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from ignite_recipes.cli.answering import answer_parser, trained_experiment
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.models.export import FORMATS, TOLERANCE, export_model

__all__ = ["HELP", "main", "parser"]

HELP = "write a trained model for other tools: export exp1 --format onnx"


def parser() -> ArgumentParser:
    """The command's options."""
    options = answer_parser(
        "export",
        "Write the model of an experiment, with its best weights, to a file that runs without this library. Its "
        f"outputs are compared with those of the model, and may differ by {TOLERANCE:g}.",
    )
    options.add_argument(
        "--format", type=str, default="pt2", help=f"{', '.join(FORMATS)}; pt2 is a file of torch.export"
    )
    options.add_argument(
        "--output",
        type=str | None,
        help="the file to write; by default model.pt2, model.onnx, ... in the experiment's folder",
    )
    return options


def main(argv: Sequence[str]) -> Result:
    """Export and compare; what was written, as one line."""
    settings = parse_settings(parser(), argv)
    kind = settings["format"]
    if kind not in FORMATS:
        raise ValueError(f"--format must be one of {', '.join(FORMATS)}; got {kind!r}")
    trained = trained_experiment(settings)
    folder = Path(trained.experiment.experiment_dir)
    path = folder / f"model.{kind}" if settings["output"] is None else Path(settings["output"]).expanduser()
    if path.suffix != f".{kind}":
        raise ValueError(f"--output must end in .{kind}, as --format says; got {settings['output']!r}")
    try:
        worst = export_model(path, trained.predictor)
    except ModuleNotFoundError as error:
        raise ValueError(str(error)) from error
    compared = "" if kind == "safetensors" else f"; its outputs are within {worst:.1g} of the model's own"
    facts = {
        "experiment": trained.name,
        "epoch": trained.epoch,
        "file": path,
        "format": kind,
        "largest_difference": None if kind == "safetensors" else worst,
    }
    return Result(f"Wrote {path}, of {trained.name}'s epoch {trained.epoch}{compared}", facts)

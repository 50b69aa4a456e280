"""``ignite-recipes predict``: predict the rows of a table with a trained experiment."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jsonargparse import ArgumentParser
from torch import Tensor

from ignite_recipes.checkpoint.newest import best_weights
from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.data.tables import read_table
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.files import replace_file
from ignite_recipes.models import TablePredictor

if TYPE_CHECKING:
    import polars as pl

__all__ = ["HELP", "main", "parser"]

HELP = "predict a table with a trained experiment: predict exp1 NEW.csv --output predictions.csv"

_WRITERS = {".csv": "write_csv", ".parquet": "write_parquet", ".feather": "write_ipc"}


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser(
        "predict",
        "Predict the rows of a table with an experiment of ignite-recipes supervised FILE --target COLUMN. The columns "
        "are found by their names; they are written again with the prediction, and of classes the probability of each.",
    )
    options.add_argument("experiment", type=str, help="e.g. exp1, or runs/exp1")
    options.add_argument("file", type=str, help="a table: .csv, .csv.gz, .tsv, .parquet or .feather")
    options.add_argument(
        "--output", type=str, default="predictions.csv", help="the file to write: .csv, .parquet, .feather"
    )
    options.add_argument("--runs-dir", type=str, default="runs", help="where experiments are kept")
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto is the best one")
    return options


def main(argv: Sequence[str]) -> str:
    """Predict and write; what was done, as one line."""
    settings = parse_settings(parser(), argv)
    output = Path(settings["output"]).expanduser()
    if output.suffix not in _WRITERS:
        raise ValueError(f"--output must end in {', '.join(_WRITERS)}; got {settings['output']!r}")
    if output.resolve() == Path(settings["file"]):
        raise ValueError(f"--output must be another file than the one that is predicted; got {settings['output']!r}")
    folder = _folder(settings)
    path = best_weights(folder / "checkpoints")
    if path is None:
        raise ValueError(f"{folder} must have a checkpoint to predict with; it has none yet: train it first")
    predictor = TablePredictor.from_checkpoint(path, device=settings["device"])
    table = read_table(settings["file"], predictor.text_columns)
    outputs = predictor.outputs(table)
    _write(table.with_columns(**predictor.target.decode(outputs)), output)
    done = f"Predicted {predictor.target.name!r} of {table.height} rows with {path}"
    return f"{done}{_found(predictor, table, outputs)}; the predictions are in {output}"


def _folder(settings: dict[str, Any]) -> Path:
    base, name = os.path.split(os.path.normpath(settings["experiment"]))
    return Path(ExperimentManager(base or settings["runs_dir"], resume_exp=name).experiment_dir)


def _write(table: "pl.DataFrame", output: Path) -> None:
    replace_file(output, getattr(table, _WRITERS[output.suffix]))


def _found(predictor: TablePredictor, table: "pl.DataFrame", outputs: Tensor) -> str:
    """How good they are, where the target is known."""
    target = predictor.target
    if target.name not in table.columns or not (count := table[target.name].count()):
        return ""
    known = table[target.name].is_not_null()
    try:
        targets = target.encode(table[target.name].filter(known))
    except ValueError:
        return (
            f"; what the column {target.name!r} holds is not what was trained on, so that nothing is compared with it"
        )
    metrics = predictor.metrics(outputs[known.to_numpy()], targets)
    shown = f"accuracy {metrics['accuracy']:.2f}%" if "accuracy" in metrics else f"RMSE {metrics['rmse']:.4g}"
    return f"; {shown} on the {count} of them whose target is known"

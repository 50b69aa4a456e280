"""``ignite-recipes predict``: predict new samples with a trained experiment."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser

from ignite_recipes.answers.inputs import Inputs, read_inputs
from ignite_recipes.answers.predicting import predict_inputs
from ignite_recipes.answers.trained import Trained
from ignite_recipes.cli.answering import answer_parser, trained_experiment
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.files import replace_file
from ignite_recipes.models import TablePredictor
from ignite_recipes.models.vector_embedder import WHAT
from ignite_recipes.optional import polars as pl

__all__ = ["HELP", "main", "parser"]

HELP = "predict new data with a trained experiment: predict exp1 NEW.csv --output predictions.csv"

_WRITERS = {".csv": "write_csv", ".parquet": "write_parquet", ".feather": "write_ipc"}


def parser() -> ArgumentParser:
    """The command's options."""
    options = answer_parser(
        "predict",
        "Predict new samples with the best weights of an experiment, in their order: the rows of a table, the windows "
        "of a series, or the images of a folder. A variational autoencoder gives embeddings. The columns that the "
        "model did not use come first, then the prediction and, for classes, the probability of each.",
    )
    options.add_argument(
        "file", nargs="?", type=str | None, help="a table, an eBird file or a folder; by default the validation data"
    )
    options.add_argument(
        "--output", type=str, default="predictions.csv", help="the file to write: .csv, .parquet, .feather"
    )
    options.add_argument(
        "--id", type=str, nargs="*", help="the columns to copy, instead of all that the model did not use"
    )
    options.add_argument(
        "--what", type=str, default="embeddings", help=f"for a variational autoencoder: {', '.join(WHAT)}"
    )
    return options


def main(argv: Sequence[str]) -> Result:
    """Predict and write; what was done, as one line."""
    settings = parse_settings(parser(), argv)
    output = Path(settings["output"]).expanduser()
    if output.suffix not in _WRITERS:
        raise ValueError(f"--output must end in {', '.join(_WRITERS)}; got {settings['output']!r}")
    if settings["file"] is not None and output.resolve() == Path(settings["file"]):
        raise ValueError(f"--output must not be the file that is predicted; got {settings['output']!r}")
    if output.is_dir():
        raise ValueError(f"--output must be a file; {settings['output']!r} is a folder")
    if settings["what"] not in WHAT:
        raise ValueError(f"--what must be one of {', '.join(WHAT)}; got {settings['what']!r}")
    trained = trained_experiment(settings)
    inputs = read_inputs(trained, settings["file"])
    try:
        predictions = predict_inputs(trained, inputs, settings["id"], settings["what"])
    except ValueError as error:
        if str(error).startswith("id_columns:"):  # as the command calls it
            raise ValueError(str(error).replace("id_columns", "--id", 1)) from error
        raise
    write_frame(predictions, output)
    target = trained.predictor.target.name if isinstance(trained.predictor, TablePredictor) else None
    of = "" if target is None else f" {target!r} of"
    done = f"Predicted{of} {predictions.height} rows with {trained.path}"
    found = _found(trained, inputs, predictions)
    facts = {
        "experiment": trained.name,
        "model": trained.path,
        "rows": predictions.height,
        "columns": predictions.columns,
        "output": output,
        "measures": found,
    }
    return Result(f"{done}{_told(target, found)}; the predictions are in {output}", facts)


def write_frame(frame: "pl.DataFrame", output: Path) -> None:
    """Write a frame as its file's ending says, at once or not at all."""
    replace_file(output, getattr(frame, _WRITERS[output.suffix]))


def _found(trained: Trained, inputs: Inputs, predictions: "pl.DataFrame") -> dict[str, float] | None:
    """How good the predictions of a table are, where the target is known; None where what it holds is another thing."""
    if not isinstance(trained.predictor, TablePredictor) or inputs.targets is None:
        return {}
    target = trained.predictor.target
    truth = inputs.data[target.name]
    known = truth.is_not_null()
    try:
        right, guess = (target.encode(column.filter(known)) for column in (truth, predictions["prediction"]))
    except ValueError:
        return None
    if target.classes:
        return {"accuracy": 100 * (right == guess).double().mean().item(), "rows": len(right)}
    return {"rmse": (right - guess).double().square().mean().sqrt().item() * target.scale, "rows": len(right)}


def _told(target: str | None, found: dict[str, float] | None) -> str:
    if found is None:
        return (
            f"; the values of the column {target!r} differ in kind from those of the training, so they are not compared"
        )
    if not found:
        return ""
    shown = f"accuracy {found['accuracy']:.2f}%" if "accuracy" in found else f"RMSE {found['rmse']:.4g}"
    return f"; {shown} on the {found['rows']} of them whose target is known"

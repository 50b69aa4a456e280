"""What the command ``supervised`` does with a table: its options, its training, its last line."""

import inspect
import math
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.attachments import monitored, reached, require_best
from ignite_recipes.cli.options import add_options, option_names, parameter_texts
from ignite_recipes.cli.result import Result
from ignite_recipes.recipes import train_on_table
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["add_table_options", "check_table_options", "train_table"]

_OPTIONS = ("target", "task", "val_size", "group", "time", "ignore", "class_weights", "max_categories")


def add_table_options(options: ArgumentParser) -> None:
    """The file, its target, and how its rows are split and weighed."""
    texts = parameter_texts(train_on_table)
    options.add_argument(
        "file", nargs="?", type=str | None, help="a table to train on: .csv, .csv.gz, .tsv, .parquet or .feather"
    )
    options.add_argument("--target", type=str | None, help="the column of the file to predict")
    add_options(options, train_on_table, ["task", "val_size", "max_categories"])
    for name in ("group", "time"):
        options.add_argument(*option_names(name), type=str | None, help=texts[name])
    options.add_argument("--ignore", type=str, nargs="*", default=[], help=texts["ignore"])
    options.add_argument("--class-weights", type=dict[str, float] | str | None, help=texts["class_weights"])


def check_table_options(settings: dict[str, Any]) -> None:
    """Refuse a file without a target, and a table's options without a file.

    Raises:
        ValueError: that says what is missing.
    """
    if settings["file"] is not None:
        if settings["target"] is None:
            raise ValueError(f"supervised {settings['file']} needs the column to predict: add --target COLUMN")
        return
    defaults = {**_defaults(), "target": None, "ignore": []}
    given = [name for name in _OPTIONS if settings[name] != defaults[name]]
    if given:
        raise ValueError(
            f"--{given[0].replace('_', '-')} needs a table: give FILE, ignite-recipes supervised FILE --target COLUMN"
        )


def _defaults() -> dict[str, Any]:
    """Those of the recipe's options."""
    return {name: parameter.default for name, parameter in inspect.signature(train_on_table).parameters.items()}


def train_table(run: ExperimentRun, settings: dict[str, Any], arguments: dict[str, Any]) -> Result:
    """Train on the file; what was reached, as one line.

    Args:
        run: of the experiment that is trained.
        settings: the settings of the command.
        arguments: of the recipe, which every supervised training has.
    """
    of_table = {name: settings[name] for name in (*_OPTIONS, "batch_size", "num_workers", "split_seed")}
    of_table["fold"] = None if settings["fold"] is None else (settings["fold"], settings["folds"])
    result = train_on_table(settings["file"], **of_table, **arguments)
    require_best(run, settings, result["best_epoch"])
    run.write_model(lambda: result["predictor"], result["best_epoch"])
    metrics, baseline = result["metrics"], result["baseline"]
    early = " (stopped early)" if result["stopped_early"] else ""
    place = f"at epoch {result['best_epoch']} of {result['epochs_trained']}{early}"
    folder = run.make().experiment_dir
    if not metrics:
        return Result(
            f"Trained on all rows, validated on none; lowest training loss {result['best_val_loss']:.4g} {place}; "
            f"curves and checkpoints are in {folder}, to predict with: ignite-recipes predict {folder} FILE",
            {**reached(result, result["epochs_trained"]), "metrics": {}, "baseline": {}, "is_better": None},
        )
    if "accuracy" in metrics:
        is_better = metrics["accuracy"] > baseline["accuracy"]
        balanced = f"(balanced {metrics['balanced_accuracy']:.2f}%)"
        best = f"Validation accuracy {metrics['accuracy']:.2f}% {balanced}{monitored(settings, result)} {place}"
        guess = f"the {baseline['accuracy']:.2f}% of always guessing the most frequent class"
    else:
        is_better = metrics["rmse"] < baseline["rmse"] if math.isfinite(metrics["r2"]) else None
        r2 = "(R2 is not defined)" if is_better is None else f"(R2 {metrics['r2']:.3f})"
        best = f"Validation RMSE {metrics['rmse']:.4g} {r2}{monitored(settings, result)} {place}"
        guess = f"the {baseline['rmse']:.4g} of always guessing the mean"
    compared = "" if is_better is None else f", {'better' if is_better else 'no better'} than {guess}"
    return Result(
        f"{best}{compared}; curves and checkpoints are in {folder}, "
        f"to predict with: ignite-recipes predict {folder} FILE",
        {
            **reached(result, result["epochs_trained"]),
            "metrics": metrics,
            "baseline": baseline,
            "is_better": is_better,
        },
        lambda: result["val_predictions"],
    )

"""``ignite-recipes supervised``: train a network on a table of yours, or a classifier of the digits."""

from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

from jsonargparse import ArgumentParser
from torch.utils.data import TensorDataset

from ignite_recipes.answers.run_data import digits_sides
from ignite_recipes.answers.trained import DIGITS
from ignite_recipes.cli.attachments import monitored, reached, require_best
from ignite_recipes.cli.experiments import Run, experiment_parser, run_experiment, run_options
from ignite_recipes.cli.options import add_options
from ignite_recipes.cli.result import Result
from ignite_recipes.cli.tables import add_table_options, check_table_options, train_table
from ignite_recipes.data import create_dataloaders
from ignite_recipes.loading.randomness import set_seed
from ignite_recipes.many.predictions import predict_batches
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.recipes import train_model_advanced
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["HELP", "main", "parser"]

HELP = "train a network on a table, supervised FILE --target COLUMN, or on the digits"

_PASSED = [
    "learning_rate",
    "use_scheduler",
    "scheduler_type",
    "gradient_clip",
    "use_mixed_precision",
    "check_stability",
    "use_augmentation",
]
_NETWORK = ["hidden_dimension", "num_layers", "dropout_rate"]
_BATCH_SIZE = 128  # of the digits

Digits: TypeAlias = tuple[TensorDataset, TensorDataset, Any]


def parser() -> ArgumentParser:
    """The command's options."""
    options = experiment_parser(
        "supervised",
        "Train a network to predict a column of a table from the others, with --target. Without a file it classifies "
        "scikit-learn's digits, with a stratified fifth of them for validation.",
        train_model_advanced,
    )
    add_table_options(options)
    add_options(options, train_model_advanced, ["epochs", "early_stop_patience"])
    add_options(options, train_model_advanced, _PASSED[:-1])
    options.add_argument("--use-augmentation", type=bool, default=False, help="add noise to the inputs")
    options.add_argument(
        "--batch-size",
        type=int | None,
        help=f"rows per batch; by default {_BATCH_SIZE} for the digits, 32 to 1024 for a table, by its number of rows",
    )
    add_options(options, create_dataloaders, ["num_workers"])
    add_options(options, multilayer_perceptron, _NETWORK)
    return options


def main(argv: Sequence[str], run: Run = run_experiment) -> Result:
    """Train, or do what ``run`` does with the recipe; the result, as one line."""
    return run("supervised", parser(), argv, _load, _train)


def _load(settings: dict[str, Any]) -> Digits | None:
    """The digits to train on, those to validate on and their rows; None for a table, read later."""
    check_table_options(settings)
    return None if settings["file"] is not None else digits_sides(settings)


def _train(run: ExperimentRun, settings: dict[str, Any], data: Digits | None) -> Result:
    arguments = {
        "epochs": settings["epochs"],
        "device": settings["device"],
        "early_stop_patience": settings["patience"],
        "seed": settings["seed"],
        **{name: settings[name] for name in _PASSED},
        **run_options(run, settings, train_model_advanced),
    }
    network = {name: settings[name] for name in _NETWORK}
    if data is None:
        return train_table(run, settings, {**arguments, **network})
    train, val, rows = data
    labels = val.tensors[1]
    batch_size = _BATCH_SIZE if settings["batch_size"] is None else settings["batch_size"]
    train_loader, val_loader = create_dataloaders(train, val, batch_size, settings["num_workers"])
    set_seed(settings["seed"])
    model = multilayer_perceptron(64, 10, **network)
    result = train_model_advanced(model, train_loader, val_loader, **arguments)
    history, epoch = result["history"], result["best_epoch"]
    require_best(run, settings, epoch)
    predictor = ArrayPredictor(model, class_names=DIGITS, input_shape=[64])
    run.write_model(lambda: predictor, epoch)
    accuracy, guess = history["val_accuracy"][epoch - 1], 100 * labels.bincount().max().item() / len(labels)
    verdict = "better" if accuracy > guess else "no better"
    early = " (stopped early)" if result["stopped_early"] else ""
    return Result(
        f"Validation accuracy {accuracy:.2f}%{monitored(settings, result)} at epoch {epoch} of "
        f"{result['epochs_trained']}{early}, {verdict} than "
        f"the {guess:.2f}% of always guessing the most frequent class; curves and checkpoints are in "
        f"{run.make().experiment_dir}",
        {**reached(result, result["epochs_trained"]), "baseline": {"accuracy": guess}, "is_better": accuracy > guess},
        partial(predict_batches, predictor, [val.tensors], rows),
    )

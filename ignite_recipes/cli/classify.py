"""``ignite-recipes classify``: train an image classifier on the digits, or on another registered data set."""

import importlib
import logging
import sys
import traceback
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import nn

from ignite_recipes.answers.run_data import image_dataset
from ignite_recipes.answers.trained import image_predictor
from ignite_recipes.cli.attachments import monitored, reached, require_best
from ignite_recipes.cli.experiments import Run, experiment_parser, run_experiment, run_options
from ignite_recipes.cli.options import add_module, add_options, parameter_texts
from ignite_recipes.cli.result import Result
from ignite_recipes.data import BaseDataset, DatasetRegistry
from ignite_recipes.handlers.progress import print_line
from ignite_recipes.loading.randomness import set_seed
from ignite_recipes.many.given_rows import labelled_batches
from ignite_recipes.many.predictions import predict_batches
from ignite_recipes.models import ModelRegistry
from ignite_recipes.recipes import Trainer
from ignite_recipes.recipes.checks import check_count
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["HELP", "import_file", "main", "parser"]

logger = logging.getLogger(__name__)

HELP = "train an image classifier on the digits, on MNIST and similar data sets, or on a folder of your own images"


def parser() -> ArgumentParser:
    """The command's options."""
    options = experiment_parser(
        "classify",
        "Train an image classifier with AdamW and a one-cycle schedule; by default on scikit-learn's digits, with "
        "a stratified fifth of them for validation.",
        Trainer,
    )
    options.add_argument(
        "--dataset",
        type=str,
        default="digits",
        help=f"{', '.join(DatasetRegistry.names())}; or a folder with a folder of images for each class",
    )
    options.add_argument(
        "--image-size",
        type=int | None,
        help="for a folder: pixels of each side to resize images to; by default they keep their size if it is the same",
    )
    options.add_argument(
        "--data-root",
        type=str | None,
        help="the folder of the data sets' files, by default data; for --dataset idx the folder of its files",
    )
    options.add_argument("--model", type=str, default="mynet", help=", ".join(ModelRegistry.names()))
    options.add_argument("--epochs", type=int, default=20, help="the last epoch to train, counted from 1")
    options.add_argument("--learning-rate", type=float, default=5e-3, help="the peak of the one-cycle schedule")
    options.add_argument("--weight-decay", type=float, default=1e-2, help="that of AdamW")
    options.add_argument(
        "--reapply-transforms",
        action="store_true",
        help="draw new random transforms of the training images for every epoch; otherwise each keeps its first",
    )
    add_module(options)
    add_options(options, BaseDataset.get_dataloaders, ["batch_size", "num_workers"])
    patience = parameter_texts(Trainer)["patience"]
    options.add_argument("--patience", type=int | None, default=None, help=f"{patience} none does the same.")
    return options


def main(argv: Sequence[str], run: Run = run_experiment) -> Result:
    """Train, or do what ``run`` does with the recipe; the result, as one line."""
    return run("classify", parser(), argv, _load, _train)


def _load(settings: dict[str, Any]) -> BaseDataset:
    check_count(epochs=settings["epochs"], accumulation_steps=settings["accumulation_steps"])
    if settings["save_every"] is not None:
        check_count(save_every=settings["save_every"])
    if settings["module"] is not None:
        import_file(Path(settings["module"]))
    ModelRegistry.get(settings["model"])  # a mistake there costs no download
    if settings["dataset"] not in DatasetRegistry and Path(settings["dataset"]).expanduser().exists():
        settings["dataset"] = str(Path(settings["dataset"]).expanduser().resolve())  # to be found from anywhere
    return image_dataset(settings)


def import_file(path: Path) -> None:
    """Import a user's file for what it registers.

    By its own name and from its own folder, so that a loader's workers, where they start afresh, can import it too.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it fails, saying where, or its name is taken.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no Python file {path}: check --module")
    if path.suffix != ".py":
        raise ValueError(f"--module must name a Python file, which ends in .py; got {path.name}")
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    try:
        module = importlib.import_module(path.stem)
    except Exception as error:
        last = error if isinstance(error, SyntaxError) else traceback.extract_tb(error.__traceback__)[-1]
        raise ValueError(f"{path} failed, in line {last.lineno} of {last.filename}: {error!r}") from error
    if Path(module.__file__ or "").resolve() != path:
        raise ValueError(f"--module must not have the name of another module; got {path.name}: rename it")


def _train(run: ExperimentRun, settings: dict[str, Any], dataset: BaseDataset) -> Result:
    train_loader, val_loader = dataset.get_dataloaders(settings["batch_size"], settings["num_workers"])
    for line in dataset.decisions:
        logger.info(line)
    for line in dataset.decisions[-1:]:
        print_line(line)
    set_seed(settings["seed"])
    sizes = {"num_classes": dataset.num_classes, "input_shape": dataset.input_shape}
    try:
        model = ModelRegistry.create(settings["model"], **sizes)
    except TypeError as error:  # a mistake in a model of the user's own
        raise ValueError(str(error)) from error
    rate, decay = settings["learning_rate"], settings["weight_decay"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=decay, fused=True)
    steps = settings["epochs"] * -(-len(train_loader) // settings["accumulation_steps"])
    trainer = Trainer(
        model,
        train_loader,
        val_loader,
        nn.CrossEntropyLoss(),
        optimizer,
        settings["device"],
        scheduler=torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps),
        dataset=dataset if settings["reapply_transforms"] else None,
        patience=settings["patience"] or 0,
        seed=settings["seed"],
        verbose=True,
        **run_options(run, settings, Trainer),
    )
    results = trainer.train(settings["epochs"])
    require_best(run, settings, results["best_epoch"])
    run.write_model(lambda: image_predictor(model, dataset), results["best_epoch"])
    trained = len(results["history"]["val_accuracy"])
    early = ", stopped early" if results["stopped_early"] else ""
    return Result(
        f"Best validation accuracy {results['best_accuracy']:.2f}%{monitored(settings, results)}, at epoch "
        f"{results['best_epoch']} of {trained}{early}; log, curves and checkpoints are in {results['experiment_dir']}",
        reached(results, trained),
        partial(predict_batches, image_predictor(model, dataset), labelled_batches(dataset.val), dataset.val_rows),
    )

"""``ignite-recipes vae``: train a variational autoencoder on the digits, or on an eBird file."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.answers.run_data import EBIRD_CHOICES, EBIRD_FILTERS, vae_matrix, vae_sides
from ignite_recipes.cli.attachments import reached
from ignite_recipes.cli.experiments import Run, experiment_parser, run_experiment, run_options
from ignite_recipes.cli.options import add_options, parameter_texts
from ignite_recipes.cli.result import Result
from ignite_recipes.data import (
    BEST_PRACTICES,
    ChecklistFilters,
    create_dataloaders,
    read_species_matrix,
    split_train_val,
)
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.loading.randomness import set_seed
from ignite_recipes.models import VariationalAutoencoder, VectorEmbedder, save_for_inference
from ignite_recipes.recipes import train_variational_autoencoder
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["HELP", "main", "parser"]

logger = logging.getLogger(__name__)

HELP = "train a denoising variational autoencoder on the digits, or on an eBird file"

_PASSED = (
    "learning_rate",
    "noise_std",
    "print_every",
    "patience",
    "beta",
    "kl_epochs",
    "kl_cycles",
    "free_bits",
    "importance_samples",
    "weight_decay",
)
_FEW = 300  # checklists; on 193 of them it was measured
_FOR_FEW = "--input-dropout 0.5 --batch-size 16 --epochs 200 --patience 20 --ema-decay 0.99"
_OF_MODEL = ("likelihood", "scale", "num_layers", "input_dropout")


def parser() -> ArgumentParser:
    """The command's options."""
    options = experiment_parser(
        "vae",
        "Train a denoising variational autoencoder; without a file, on scikit-learn's digits.",
        train_variational_autoencoder,
    )
    options.add_argument(
        "file",
        nargs="?",
        type=str | None,
        help="an eBird download (.zip, .tar, .txt, .txt.gz, MyEBirdData.csv or a folder)",
    )
    recipe = train_variational_autoencoder
    add_options(options, recipe, ["num_epochs"])
    add_options(options, recipe, _PASSED)
    add_options(options, create_dataloaders, ["batch_size", "num_workers"])
    add_options(options, split_train_val, ["val_size"])
    add_options(options, VariationalAutoencoder, ["latent_dimension", "hidden_dimension", *_OF_MODEL])
    add_options(options, read_species_matrix, [name for name in EBIRD_CHOICES if name != "sampling"])
    options.add_argument("--sampling", type=str | None, help=parameter_texts(read_species_matrix)["sampling"])
    add_options(options, ChecklistFilters, EBIRD_FILTERS)
    options.add_argument(
        "--best-practices", type=bool, default=False,
        help=f"filter checklists as eBird's scientists recommend, where no option says otherwise: {_recommended()}",
    )  # fmt: skip
    return options


def main(argv: Sequence[str], run: Run = run_experiment) -> Result:
    """Train, or what else ``run`` does with the recipe; what was reached, as one line."""
    return run("vae", parser(), argv, _load, _train)


def _recommended() -> str:
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in BEST_PRACTICES.items())


def _load(settings: dict[str, Any]) -> tuple[Any, list[str] | None]:
    """The matrix and its names; of few checklists a warning says what has helped."""
    matrix, names = vae_matrix(settings)
    if len(matrix) < _FEW and not settings["input_dropout"] and settings["resume"] is None:
        on_rank_zero(
            lambda: logger.warning(
                "%d checklists are few: on simulated ones %s lowered the validation loss by some 3 nats (docs/vae.rst)",
                len(matrix),
                _FOR_FEW,
            )
        )
    return matrix, names


def _train(run: ExperimentRun, settings: dict[str, Any], data: tuple[Any, list[str] | None]) -> Result:
    matrix, names = data
    train, val = vae_sides(matrix, names, settings)
    train_loader, val_loader = create_dataloaders(train, val, settings["batch_size"], settings["num_workers"])
    set_seed(settings["seed"])
    model = VariationalAutoencoder(
        train.num_features,
        settings["latent_dimension"],
        settings["hidden_dimension"],
        **{name: settings[name] for name in _OF_MODEL},
    )
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=settings["epochs"],
        device=settings["device"],
        seed=settings["seed"],
        metadata={"features": names},
        **{name: settings[name] for name in _PASSED},
        **run_options(run, settings, train_variational_autoencoder),
    )
    best, folder = run.best, run.make().experiment_dir
    assert best is not None
    if best.best is None or not best.path.is_file():
        raise ValueError(f"no epoch of {folder} had a finite {best.metric}: nothing was exported")
    net: Any = run.best_model(model)
    on_rank_zero(lambda: save_for_inference(net, Path(folder) / "vae.pt2", names))
    run.write_model(lambda: VectorEmbedder(net, feature_names=names), best.best_epoch)
    trained, epoch = len(history["val_loss"]), best.best_epoch or 0
    early = ", stopped early" if trained < settings["epochs"] else ""
    measured = f"validation loss {best.best:.3f} nats per vector"
    if best.metric != "val_loss":
        measured = f"{best.metric} {best.best:.4g}"
    return Result(
        f"Best {measured}, at epoch {epoch} of {trained}{early}; model, curves and checkpoints are in {folder}",
        reached({"best_epoch": epoch, "history": history, "stopped_early": bool(early)}, trained),
    )

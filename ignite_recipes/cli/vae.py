"""``ignite-recipes vae``: train a variational autoencoder on the digits, or on an eBird file."""

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser

from ignite_recipes.answers.run_data import EBIRD_CHOICES, EBIRD_FILTERS, VaeData, vae_data, vae_sides
from ignite_recipes.cli.attachments import reached
from ignite_recipes.cli.experiments import Run, experiment_parser, run_experiment, run_options
from ignite_recipes.cli.many_lines import NLL
from ignite_recipes.cli.options import add_options, parameter_texts
from ignite_recipes.cli.result import Result
from ignite_recipes.cli.vae_answers import with_answers
from ignite_recipes.data import (
    BEST_PRACTICES,
    ChecklistFilters,
    RowDataset,
    create_dataloaders,
    read_species_matrix,
    spatial_blocks,
    split_train_val,
)
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.loading.randomness import set_seed
from ignite_recipes.loading.row_sets import spaced_rows
from ignite_recipes.models import (
    VariationalAutoencoder,
    VectorEmbedder,
    importance_weighted_nll,
    save_for_inference,
)
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
_SAMPLES, _MOST_MEASURED = 200, 2000  # of the importance-weighted bound of a member of many runs, and its checklists
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
    options.add_argument(
        "--covariates",
        type=str | None,
        help="effort: give encoder and decoder the season, duration, distance and observers of each checklist",
    )
    options.add_argument(
        "--split",
        type=str,
        default="random",
        help="random, or spatial: validate on whole blocks of the map that are not in the training data",
    )
    add_options(options, spatial_blocks, ["block_km"])
    options.add_argument(
        "--answers",
        type=bool,
        default=True,
        help="for an eBird file: also write embeddings, species, maps, an evaluation on hidden species, and a report",
    )
    add_options(options, read_species_matrix, [name for name in EBIRD_CHOICES if name != "sampling"])
    options.add_argument("--sampling", type=str | None, help=parameter_texts(read_species_matrix)["sampling"])
    add_options(options, ChecklistFilters, EBIRD_FILTERS)
    options.add_argument(
        "--best-practices", type=bool, default=False,
        help=f"filter checklists as eBird's scientists recommend; other options replace these values: {_recommended()}",
    )  # fmt: skip
    return options


def main(argv: Sequence[str], run: Run = run_experiment) -> Result:
    """Train, or do what ``run`` does with the recipe; the result, as one line."""
    return run("vae", parser(), argv, _load, _train)


def _recommended() -> str:
    return ", ".join(f"{name.replace('_', '-')} {value}" for name, value in BEST_PRACTICES.items())


def _load(settings: dict[str, Any]) -> VaeData:
    """The matrix and its names; of few checklists a warning says what has helped."""
    data = vae_data(settings)
    if len(data.matrix) < _FEW and not settings["input_dropout"] and settings["resume"] is None:
        on_rank_zero(
            lambda: logger.warning(
                "%d checklists are few: on simulated ones %s lowered the validation loss by some 3 nats (docs/vae.rst)",
                len(data.matrix),
                _FOR_FEW,
            )
        )
    return data


def _train(run: ExperimentRun, settings: dict[str, Any], data: VaeData) -> Result:
    names = data.names
    train, val = vae_sides(data, settings)
    train_loader, val_loader = create_dataloaders(train, val, settings["batch_size"], settings["num_workers"])
    set_seed(settings["seed"])
    model = VariationalAutoencoder(
        train.num_features - data.covariates,
        settings["latent_dimension"],
        settings["hidden_dimension"],
        covariates=data.covariates,
        **{name: settings[name] for name in _OF_MODEL},
    )
    if data.covariates:
        model.standardize_covariates(torch.cat([rows[:, -data.covariates :] for rows in train.blocks()]))
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
    result = Result(
        f"Best {measured}, at epoch {epoch} of {trained}{early}; model, curves and checkpoints are in {folder}",
        reached({"best_epoch": epoch, "history": history, "stopped_early": bool(early)}, trained),
        measures=lambda: {NLL: importance_weighted_nll(net, _some(val), _SAMPLES).nll},
    )
    if data.checklists is None or not settings["answers"]:
        return result
    return result._replace(finish=lambda: with_answers(result, run, net, data, (train, val), settings))


def _some(rows: RowDataset) -> torch.Tensor:
    """At most 2,000 of the rows, evenly spaced, the same for all members."""
    return rows.__getitems__(spaced_rows(len(rows), _MOST_MEASURED).tolist())

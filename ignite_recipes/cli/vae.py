"""``ignite-recipes vae``: train a variational autoencoder on the digits, or on an eBird file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.checkpoint import load_checkpoint, newest_checkpoint
from ignite_recipes.cli.options import add_options, new_parser, parse_settings
from ignite_recipes.data import (
    create_dataloaders,
    create_species_matrix,
    load_digits_matrix,
    load_ebird_data,
    split_train_val,
)
from ignite_recipes.experiment import ExperimentManager
from ignite_recipes.handlers import BestCheckpoint, Checkpointing
from ignite_recipes.models import VariationalAutoencoder, save_for_inference
from ignite_recipes.plotting import plot_history
from ignite_recipes.randomness import set_seed
from ignite_recipes.recipes import train_variational_autoencoder

__all__ = ["HELP", "main", "parser"]

HELP = "train a denoising variational autoencoder on vectors in [0, 1]"

_FREE_ON_RESUME = ("epochs", "device", "runs_dir", "resume")


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser(
        "vae",
        f"{HELP[0].upper()}{HELP[1:]}. Without a file it trains on scikit-learn's digits; every run is an "
        "experiment with its settings, checkpoints, curves and model in a folder of its own.",
    )
    options.add_argument("file", nargs="?", type=str | None, help="an eBird Basic Dataset (.txt, tab-separated)")
    options.add_argument("--runs-dir", type=str, default="runs", help="where experiments are kept")
    options.add_argument("--resume", type=str | None, help="go on with this experiment, e.g. exp5, to its epochs")
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto is the best one")
    options.add_argument("--seed", type=int, default=0, help="of the split, the initial weights and the training")
    recipe = train_variational_autoencoder
    add_options(options, recipe, ["num_epochs"], {"num_epochs": "epochs"})
    add_options(options, recipe, ["patience", "learning_rate", "noise_std", "max_grad_norm", "accumulation_steps"])
    add_options(options, recipe, ["precision", "non_finite", "print_every"])
    options.add_argument("--save-every", type=int | None, help="epochs between two checkpoints that are kept")
    add_options(options, create_dataloaders, ["batch_size", "num_workers"])
    add_options(options, split_train_val, ["val_size"])
    add_options(options, VariationalAutoencoder, ["latent_dimension", "hidden_dimension"])
    add_options(options, load_ebird_data, ["nrows"])
    add_options(options, create_species_matrix, ["min_species_observations", "min_checklist_species"])
    return options


def main(argv: Sequence[str]) -> str:
    """Train; what was reached, as one line."""
    settings = parse_settings(parser(), argv)
    if settings["resume"] is not None:
        experiment, settings = _reopen(argv, settings)
    else:
        settings["file"] = settings["file"] and str(Path(settings["file"]).resolve())
        _load(settings)  # a wrong file is found before an experiment is made for it
        experiment = ExperimentManager(settings["runs_dir"], settings={"recipe": "vae", **_own(settings)})
    try:
        return _train(experiment, settings)
    except Exception:
        experiment.discard_unused()
        raise
    except KeyboardInterrupt:
        raise KeyboardInterrupt(
            f"stopped; go on with: ignite-recipes vae --resume {Path(experiment.experiment_dir).name}"
            + ("" if settings["runs_dir"] == "runs" else f" --runs-dir {settings['runs_dir']}")
        ) from None


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in ("runs_dir", "resume")}


def _reopen(argv: Sequence[str], given: dict[str, Any]) -> tuple[ExperimentManager, dict[str, Any]]:
    """An experiment and its own settings; only its end and its device may be changed."""
    experiment = ExperimentManager(given["runs_dir"], resume_exp=given["resume"])
    own = experiment.settings()
    if own.pop("recipe", None) != "vae":
        raise ValueError(f"{experiment.experiment_dir} is not an experiment of the command vae")
    settings = parse_settings(parser(), argv, own)
    changed = [name for name, value in own.items() if settings[name] != value and name not in _FREE_ON_RESUME]
    if changed:
        raise ValueError(
            f"--resume goes on with the experiment's own settings; {', '.join(changed)} cannot be changed. "
            "Start a new experiment for that"
        )
    experiment.write_settings({"recipe": "vae", **_own(settings)})
    return experiment, settings


def _load(settings: dict[str, Any]) -> tuple[Any, list[str] | None]:
    """Vectors in [0, 1] and the names of their features."""
    if settings["file"] is None:
        return load_digits_matrix()[0], None
    observations = load_ebird_data(settings["file"], nrows=settings["nrows"])
    return create_species_matrix(observations, settings["min_species_observations"], settings["min_checklist_species"])


def _train(experiment: ExperimentManager, settings: dict[str, Any]) -> str:
    matrix, names = _load(settings)
    train, val = split_train_val(matrix, names, settings["val_size"], settings["seed"])
    loaders = create_dataloaders(train, val, settings["batch_size"], settings["num_workers"])
    set_seed(settings["seed"])
    model = VariationalAutoencoder(train.num_features, settings["latent_dimension"], settings["hidden_dimension"])
    checkpoints = Path(experiment.checkpoints_dir)
    best = BestCheckpoint(checkpoints / "best_model.pt")
    every = settings["save_every"]
    kept = [] if every is None else [Checkpointing(checkpoints, "epoch_{epoch}.pt", every=every)]
    passed = ("learning_rate", "noise_std", "print_every", "patience", "max_grad_norm", "accumulation_steps")
    history = train_variational_autoencoder(
        model,
        *loaders,
        num_epochs=settings["epochs"],
        device=settings["device"],
        resume_from=newest_checkpoint(checkpoints) if settings["resume"] else None,
        seed=settings["seed"],
        metadata={"features": names},
        progress=True,
        handlers=[best, *kept, Checkpointing(checkpoints, "latest_checkpoint.pt")],
        **{name: settings[name] for name in (*passed, "precision", "non_finite")},
    )
    load_checkpoint(checkpoints / "best_model.pt", model)
    save_for_inference(model, Path(experiment.experiment_dir) / "vae.pt2", names)
    plot_history(history).savefig(experiment.plot_file)
    return (
        f"Best validation loss {best.best:.3f} nats per vector, at epoch {best.best_epoch} of "
        f"{len(history['val_loss'])}; model, curves and checkpoints are in {experiment.experiment_dir}"
    )

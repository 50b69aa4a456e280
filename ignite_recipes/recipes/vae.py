"""Train a denoising variational autoencoder."""

import math
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.sharded import is_sharded
from ignite_recipes.handlers import Checkpointing, LatentMonitor, NoiseAugmentation
from ignite_recipes.loading.given import as_loaders
from ignite_recipes.models import VectorEmbedder
from ignite_recipes.recipes.assembly import (
    attach_records,
    attach_step_handlers,
    attach_stopping,
    attach_validation,
    chosen_precision,
    fused_adam,
    new_evaluator,
    new_history,
    new_trainer,
    saves_inside,
    train_to,
)
from ignite_recipes.recipes.checks import check_count, check_positive, check_saves
from ignite_recipes.recipes.earlier_files import SetAside, epoch_files
from ignite_recipes.recipes.experiment_run import experiment_run
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions, Unpack, takes_run_options
from ignite_recipes.recipes.plain_settings import described
from ignite_recipes.recipes.vae_inputs import InputCheck, VariationCheck, check_first_batch
from ignite_recipes.recipes.vae_loss import inputs_of, kl_schedule, likelihood_of, vae_loss_function

__all__ = ["train_variational_autoencoder"]

RECIPE = "train_variational_autoencoder"
HISTORY = [f"{part}_{name}" for part in ("train", "val") for name in ("loss", "recon_loss", "kl_loss")]
MODES = dict.fromkeys(HISTORY, "min")
PROBABILITY = 0.5  # of a feature, above which it counts as there for the metrics that are given by their names


@takes_run_options()
def train_variational_autoencoder(
    model: nn.Module,
    train_loader: Any,
    val_loader: Any,
    num_epochs: int = 50,
    learning_rate: float = 1e-3,
    noise_std: float = 0.1,
    device: str | torch.device = "cpu",
    print_every: int | None = 1,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    save_every: int = 10,
    *,
    patience: int | None = None,
    batch_size: int | None = None,
    likelihood: str | None = None,
    beta: float = 1.0,
    kl_epochs: float = 0,
    kl_cycles: int = 1,
    free_bits: float = 0.0,
    importance_samples: int | None = None,
    weight_decay: float = 0.0,
    **options: Unpack[RunOptions],
) -> dict[str, list[float]]:
    """Maximise the evidence lower bound of clean vectors, reconstructed from noisy ones, with Adam.

    Losses are in nats per vector: binary cross-entropy (or minus the log-probability by another ``likelihood``) summed
    over the features, plus the KL divergence summed over the latent dimensions, averaged over the vectors. Training
    sees noisy inputs, validation clean ones. The model ends with its last weights, or, if ``patience`` is given, with
    its best ones. Metrics get the reconstructions (N, D), as probabilities, and the clean vectors. For named metrics of
    classes, vectors must be 0 or 1, and a probability above 0.5 is the class 1. A value that is not a number is in the
    checkpoints' ``report``. A warning is logged if all training vectors are equal, such as those of a matrix without
    absences, because a low loss then says nothing. Another one is logged if the validation vectors do not use the
    latent space, see :class:`LatentMonitor`.

    Args:
        model: a :class:`VariationalAutoencoder`, or any module whose forward pass gives
            ``reconstruction, mean, log_variance`` with reconstructions in [0, 1].
        train_loader: batches (N, D) of vectors in [0, 1], or other vectors that fit the likelihood, or tuples or lists
            whose first item is such a batch; or a data set, an array (N, D), a frame of numbers or a CSR matrix, see
            ``batch_size``. A model with ``covariates`` takes rows (N, D + C), with the covariates after the vectors;
            they get no noise.
        val_loader: the same, for validation; None trains without validation.
        num_epochs: the epoch to train to, counted from 1, also on a resume, whose history starts at epoch 1 too.
        learning_rate: the rate of Adam.
        noise_std: standard deviation of the Gaussian noise on the inputs, which are clamped to [0, 1] again;
            0 is none. Counts are clamped at 0, real numbers not at all.
        device: ``"cpu"``, ``"cuda"``, ``"mps"``, ... ; ``"auto"`` is the best available one.
        print_every: epochs between two printed lines; None prints none.
        checkpoint_dir: the folder for ``checkpoint_epoch_N.pt``; None writes nothing. Files of an earlier run are first
            moved to a folder in it, ``earlier_1``.
        save_every: epochs between two checkpoints; the last epoch is always written.
        patience: epochs without a lower validation loss, or a better ``monitor``, before the run stops; None trains to
            the end.
        batch_size: rows per batch, if a data set or arrays are given in place of a loader; None is 32 to 1024,
            depending on the number of rows. Rows are shuffled for training, and in order for validation.
        likelihood: the likelihood of the vectors; None is that of the model, or ``"bernoulli"`` for your own module. If
            your own module is trained with another likelihood, its ``reconstruction`` is the value before the link
            function, e.g. a Poisson's log-rates.
        beta: weight of the KL divergence in the training loss, as in a beta-VAE. ``train_loss`` is minimised;
            ``val_loss`` always has the weight 1, so that runs and epochs can be compared.
        kl_epochs: epochs over which the weight grows from 0 to ``beta``, see ``KLSchedule``. They do not count for the
            patience.
        kl_cycles: how often the weight grows in that time, each time in the first half of a cycle; 1 is a linear
            warm-up.
        free_bits: nats by which each latent dimension may diverge at no cost in the training loss; this helps against a
            latent space that is not used.
        importance_samples: K, to train with the importance-weighted bound of K samples for each vector, which is
            tighter and costs K times the decoder; None is the evidence lower bound. ``val_loss`` is the same bound.
        weight_decay: that of Adam (L2), for models that are large for their data.
        **options: those of every recipe, :class:`RunOptions`.

    Returns:
        ``train_loss, train_recon_loss, train_kl_loss, val_loss, val_recon_loss, val_kl_loss``, a float an
        epoch; the ``val_`` lists are empty without a validation set. Each metric has ``val_{name}``.

    Raises:
        ValueError: for a setting out of its range; an empty loader; data outside [0, 1], NaN included, or
            with another number of features than the model's; a resume with other settings. The weights are then as they
            were before that batch.
        NonFiniteError: for a loss or gradient that is not finite.
        FileNotFoundError, CheckpointError: if there is no valid checkpoint to resume from.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> model = VariationalAutoencoder(4, latent_dimension=2, hidden_dimension=8)
    >>> batches = [torch.eye(4)]
    >>> history = train_variational_autoencoder(model, batches, batches, 40, learning_rate=0.01, print_every=20)
    Epoch 20/40 | train ... (reconstruction ..., KL ...) | val ... (reconstruction ..., KL ...)
    Epoch 40/40 | train ... (reconstruction ..., KL ...) | val ... (reconstruction ..., KL ...)
    >>> history["val_loss"][-1] < history["val_loss"][0]
    True

    Reference: D. Kingma, M. Welling, arXiv:1312.6114; denoising: D. Im et al., arXiv:1511.06406.
    """
    check_count(num_epochs=num_epochs, save_every=save_every)
    if print_every is not None:
        check_count(print_every=print_every)
    check_positive(learning_rate=learning_rate)
    train_loader, val_loader = as_loaders(train_loader, val_loader, batch_size, of="vectors")
    run = experiment_run(options, checkpoint_dir=checkpoint_dir)
    has_place = checkpoint_dir is not None or run.is_kept
    check_saves(options["save_every_iterations"], has_place=has_place, place="checkpoint_dir")
    device = as_device(device)
    model = move_model(model, device)
    likelihood_of_data = likelihood_of(model, likelihood)
    noise = NoiseAugmentation(noise_std, *likelihood_of_data.bounds)  # a level that makes no sense is refused here
    schedule = kl_schedule(beta, kl_epochs, kl_cycles, device)
    loss_fn = vae_loss_function(model, likelihood_of_data, schedule, free_bits, importance_samples)
    options["precision"] = chosen_precision(options, device)
    settings = {
        "latent_dim": getattr(unwrap(model), "latent_dimension", None),
        "hidden_dim": getattr(unwrap(model), "hidden_dimension", None),
        "noise_std": noise_std,
        "learning_rate": learning_rate,
        "patience": patience,
        "likelihood": likelihood_of_data.name,
        "beta": beta,
        "kl_epochs": kl_epochs,
        "kl_cycles": kl_cycles,
        "free_bits": free_bits,
        "importance_samples": importance_samples,
        "weight_decay": weight_decay,
    }
    default = "train_loss" if val_loader is None else "val_loss"
    measuring = Measuring(options, MODES, default, validates=val_loader is not None, threshold=PROBABILITY)
    optimizer = fused_adam(model, device, learning_rate, weight_decay)
    trainer = new_trainer(
        model, optimizer, loss_fn, options, device=device, get_inputs=inputs_of(model), settings=settings
    )
    unmeasured = [] if val_loader is not None else [name for name in HISTORY if name.startswith("val_")]
    history = new_history(HISTORY, measuring, unmeasured=unmeasured)

    # One step, in the order in which it happens.
    InputCheck(model, likelihood_of_data).attach(trainer)
    VariationCheck(model).attach(trainer)
    if not schedule.is_constant:
        schedule.attach(trainer)
    if noise_std > 0:
        noise.attach(trainer)
    attach_step_handlers(trainer, options)

    # One epoch: measure, decide, save.
    if val_loader is not None:
        evaluator = new_evaluator(trainer, measuring)
        InputCheck(model, likelihood_of_data).attach(evaluator)
        attach_validation(trainer, evaluator, val_loader, measuring)
        if callable(getattr(unwrap(model), "encode", None)) and not is_sharded(unwrap(model)):
            LatentMonitor(val_loader).attach(trainer)
    if patience is not None:
        attach_stopping(trainer, patience, measuring, patience_from_epoch=math.ceil(kl_epochs) + 1)
    attach_records(trainer, history, _line, measuring, options, print_every=print_every)

    if val_loader is not None:
        check_first_batch(val_loader, InputCheck(model, likelihood_of_data))
    sizes = {"latent_dimension": settings["latent_dim"], "hidden_dimension": settings["hidden_dim"]}
    sizes |= {name: getattr(unwrap(model), name, None) for name in ("num_layers", "input_dropout", "covariates")}
    sizes["scale"] = getattr(unwrap(model), "fixed_scale", None)
    with run.open(RECIPE, described(model, train_loader, options, {**settings, **sizes})):
        run.attach(
            trainer, options, measuring, "nats per vector", _savers(checkpoint_dir, num_epochs, save_every, options)
        )
        train_to(num_epochs, trainer, train_loader, options, settings)
        run.write_model(lambda: _predictor(run.best_model(model), options), run.best_epoch)
    return history.epochs


def _savers(
    folder: str | os.PathLike[str] | None, num_epochs: int, save_every: int, options: RunOptions
) -> list[Attachable]:
    if folder is None:
        return []
    aside = SetAside(folder, [LATEST, *epoch_files(num_epochs)], options["resume_from"])
    return [aside, Checkpointing(folder, every=save_every), *saves_inside(folder, options["save_every_iterations"])]


def _predictor(model: nn.Module, options: RunOptions) -> VectorEmbedder:
    return VectorEmbedder(model, feature_names=(options["metadata"] or {}).get("features"))


def _line(metrics: Mapping[str, float]) -> str:
    parts = []
    for part in ("train", "val"):
        if f"{part}_loss" in metrics:
            loss, fit, divergence = (metrics[f"{part}_{name}"] for name in ("loss", "recon_loss", "kl_loss"))
            parts.append(f"{part} {loss:.4f} (reconstruction {fit:.4f}, KL {divergence:.4f})")
    return " | ".join(parts)

"""Middle-sized steps: the denoising VAE at 470 species, width 512, batches of 128.

Every program trains a model of the same shapes on the same 6,400 checklists (50 steps an epoch), with noise on the
inputs, averages of the loss and its two parts, and a validation on 1,280 checklists an epoch.
"""

import itertools
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy, binary_cross_entropy_with_logits

from benchmarks import peers, plain
from benchmarks.measuring import Program

ROWS, VAL_ROWS, SPECIES, LATENT, WIDTH, BATCH, EPOCHS = 6400, 1280, 470, 16, 512, 128, 4
NOISE = 0.1


def make_model() -> nn.Module:
    from ignite_recipes import VariationalAutoencoder

    torch.manual_seed(0)
    return VariationalAutoencoder(SPECIES, LATENT, WIDTH)


def make_data(rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return (torch.rand(rows, SPECIES, generator=generator) < torch.linspace(0.005, 0.4, SPECIES)).float()


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    """As the loss is mostly written: cross-entropy of the sigmoid's result."""
    clean = batch[0]
    noisy = (clean + NOISE * torch.randn_like(clean)).clamp(0, 1) if training else clean
    reconstruction, mean, log_variance = model(noisy)
    fit = binary_cross_entropy(reconstruction, clean, reduction="sum") / len(clean)
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp()) / len(clean)
    return {"loss": fit + divergence, "recon_loss": fit, "kl_loss": divergence}


def half_losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    """The same with a forward pass in bfloat16, where it trains."""
    clean = batch[0]
    noisy = (clean + NOISE * torch.randn_like(clean)).clamp(0, 1) if training else clean
    with torch.autocast("cpu", torch.bfloat16, enabled=training):
        logits, *rest = model(noisy, logits=True)
    mean, log_variance = (value.float() for value in rest)
    fit = binary_cross_entropy_with_logits(logits.float(), clean, reduction="sum") / len(clean)
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp()) / len(clean)
    return {"loss": fit + divergence, "recon_loss": fit, "kl_loss": divergence}


def half_task() -> plain.Task:
    return replace(task(), losses=half_losses)


def task() -> plain.Task:
    return plain.Task(make_model, losses, (make_data(ROWS),), (make_data(VAL_ROWS),), BATCH, EPOCHS)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import RowDataset, create_dataloaders, train_variational_autoencoder

    loaders = create_dataloaders(RowDataset(make_data(ROWS)), RowDataset(make_data(VAL_ROWS)), batch_size=BATCH)
    return lambda: train_variational_autoencoder(
        make_model(), *loaders, num_epochs=EPOCHS, seed=0, print_every=None, **settings
    )


def floor() -> Callable[[], None]:
    encoder = (SPECIES, WIDTH, WIDTH, WIDTH, 2 * LATENT)
    decoder = (LATENT, WIDTH, WIDTH, WIDTH, SPECIES)
    sizes = (*itertools.pairwise(encoder), *itertools.pairwise(decoder))
    return plain.matrix_products(sizes, BATCH, EPOCHS * ROWS // BATCH)


PROGRAMS: dict[str, Program] = {
    "matrix products alone": floor,
    "plain loop": partial(plain.plain_loop, task),
    "tuned loop": partial(plain.tuned_loop, task),
    "tuned loop, bfloat16": partial(plain.tuned_loop, half_task),
    "**train_variational_autoencoder**": recipe,
    '**... `precision="bfloat16"`**': partial(recipe, precision="bfloat16"),
    "Ignite": partial(peers.with_ignite, task),
    "Accelerate": partial(peers.with_accelerate, task),
    "Lightning": partial(peers.with_lightning, task),
}

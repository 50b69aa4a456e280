"""Binarised MNIST with the published settings of pythae's reproduction: latent 40, 400 hidden units, batches of 100."""

import time
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.lr_scheduler import MultiStepLR

from benchmarks import measuring
from ignite_recipes import (
    LearningRateScheduler,
    RowDataset,
    VariationalAutoencoder,
    create_dataloaders,
    get_device,
    importance_weighted_nll,
    latent_measures,
    train_variational_autoencoder,
)
from ignite_recipes.data.idx import read_idx
from ignite_recipes.data.idx_folder import find_idx_file

__all__ = ["mnist"]

EPOCHS, BATCH, LATENT, HIDDEN, LEARNING_RATE, SAMPLES, ROUNDS = 500, 100, 40, 400, 1e-3, 200, 5
MILESTONES, GAMMA = (200, 350, 500, 750, 1000), 10 ** (-1 / 5)
NUM_VAL = 10_000  # the last of the 60,000, as H. Larochelle's files have them
AMAT = {part: f"binarized_mnist_{part}.amat" for part in ("train", "valid", "test")}
IDX = ("train-images-idx3-ubyte", "t10k-images-idx3-ubyte")
PUBLISHED = {"pythae's reproduction": "89.78", "the paper (arXiv:1505.05770)": "89.9"}


def mnist(folder: Path, epochs: int = EPOCHS, device: str | torch.device | None = None, seed: int = 0) -> str:
    """-log p(x) of test images, by the importance-weighted bound of 200 samples, in Markdown; or what is missing.

    Where the folder has the files of H. Larochelle's fixed binarisation, ``binarized_mnist_train.amat`` and so on,
    these are used, and the figure is that of the papers. Of MNIST's own IDX files each pixel is drawn once, 1 with the
    probability of its brightness, as those were: another draw of the same kind.

    Args:
        folder: with the files.
        epochs: of training; the weights of the best epoch by validation are measured.
        device: None is the best there is.
        seed: of the binarisation, the initial weights and the run.
    """
    found = _read(folder, seed)
    if isinstance(found, str):
        return found
    train, val, test, source = found
    device = get_device() if device is None else torch.device(device)
    torch.manual_seed(seed)
    model = VariationalAutoencoder(train.shape[1], LATENT, HIDDEN, num_layers=1)
    sides = (RowDataset(part).to(device) for part in (train, val))  # as bytes
    began = time.perf_counter()
    history = train_variational_autoencoder(
        model, *create_dataloaders(*sides, batch_size=BATCH), num_epochs=epochs, learning_rate=LEARNING_RATE,
        noise_std=0.0, device=device, seed=seed, patience=epochs, print_every=max(1, epochs // 10),
        handlers=[partial(_decay)],
    )  # fmt: skip
    took = time.perf_counter() - began
    bounds = [importance_weighted_nll(model, test, SAMPLES, seed=k) for k in range(ROUNDS)]
    nll = [bound.nll for bound in bounds]
    latent = latent_measures(model, test)
    best = int(np.argmin(history["val_loss"])) + 1
    rows = [
        (f"ours, {epochs} epochs, the best of them {best}", f"{np.mean(nll):.2f} ({np.std(nll):.2f})"),
        *((name, figure) for name, figure in PUBLISHED.items()),
    ]
    return (
        measuring.table(("binarised MNIST", f"-log p(x), {SAMPLES} samples, nats"), rows)
        + f"\n\n{source}; {len(train):,} images to train on, {len(val):,} to validate, {len(test):,} to test. The "
        f"figure is the mean of {ROUNDS} rounds of samples (and their deviation); its standard error over images is "
        f"{bounds[0].standard_error:.2f}. {latent.active_units} of {LATENT} latent dimensions are active, and share "
        f"{latent.mutual_information:.1f} nats with an image. {took:.0f} seconds of training on {device}. "
        f"{measuring.machine()}.\n"
    )


def _decay(trainer: Any) -> None:
    optimizer = trainer.optimizer
    LearningRateScheduler(optimizer, MultiStepLR(optimizer, [*MILESTONES], GAMMA)).attach(trainer)


def _read(folder: Path, seed: int) -> tuple[Tensor, Tensor, Tensor, str] | str:
    """Train, validation and test images as bytes, (N, 784), and where they are from; a sentence if there are none."""
    if all((folder / name).is_file() for name in AMAT.values()):
        parts = [torch.from_numpy(np.loadtxt(folder / name, dtype=np.uint8)) for name in AMAT.values()]
        return parts[0], parts[1], parts[2], f"the fixed binarisation in {folder}"
    files = [find_idx_file(folder, name) for name in IDX] if folder.is_dir() else [None, None]
    if None in files:
        return (
            f"Not run: {folder} must hold {' and '.join(IDX)} (plain or .gz), or {', '.join(AMAT.values())}: name the "
            "folder with --data."
        )
    generator = torch.Generator().manual_seed(seed)
    images = [read_idx(path).flatten(1) for path in files if path is not None]
    train, test = (torch.bernoulli(each / 255.0, generator=generator).byte() for each in images)
    num_val = min(NUM_VAL, len(train) // 6)
    return train[:-num_val], train[-num_val:], test, f"pixels of {folder}, drawn once"

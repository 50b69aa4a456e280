"""What helps a VAE on few checklists: simulated ones, of which as many as one likes can be held out."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import measuring
from ignite_recipes import (
    RowDataset,
    VariationalAutoencoder,
    VectorEmbedder,
    create_dataloaders,
    create_species_matrix,
    importance_weighted_nll,
    load_ebird_data,
    train_variational_autoencoder,
    write_example_ebd,
)

__all__ = ["VARIANTS", "few_checklists"]

NUM_TRAIN, NUM_TEST, NUM_CHECKLISTS, SAMPLES = 155, 1500, 5000, 200
LONG = {"num_epochs": 400, "patience": 30}
SHORT = {"num_epochs": 200, "patience": 20, "batch_size": 16, "input_dropout": 0.5}
VARIANTS: Mapping[str, Mapping[str, Any]] = {
    "torch's initial weights, 50 epochs": {"as_torch": True},
    "torch's initial weights, 400 epochs, patience 30": {"as_torch": True, **LONG},
    "the defaults, 50 epochs": {},
    "400 epochs, patience 30": LONG,
    "400 epochs, patience 30, input dropout 0.5": {**LONG, "input_dropout": 0.5},
    "batches of 16, patience 20, input dropout 0.5": SHORT,
    "the same, moving average of the weights 0.99": {**SHORT, "ema_decay": 0.99},
}


def few_checklists(folder: Path, seeds: int = 5, variants: Mapping[str, Mapping[str, Any]] = VARIANTS) -> str:
    """-log p(x) and the negative lower bound of held-out checklists by each variant, in Markdown.

    Args:
        folder: where the simulated files are written, and deleted afterwards.
        seeds: worlds, each with a seed of its own for the run.
        variants: settings by name.
    """
    worlds = [_world(folder / "few.txt", seed) for seed in range(seeds)]
    rows = [
        (
            "prevalence of each species, no model",
            *[measuring.spread([_prevalence(train, test) for train, _, test in worlds], 2)] * 2,
        )
    ]
    for name, settings in variants.items():
        found = [_measured(*world, seed, **settings) for seed, world in enumerate(worlds)]
        rows.append((name, *(measuring.spread(values, 2) for values in zip(*found, strict=True))))
    return (
        measuring.table(("settings", "-log p(x)", "negative lower bound"), rows)
        + f"\n\n{NUM_TRAIN} simulated checklists to train on, {NUM_TRAIN // 4} to validate, {NUM_TEST:,} to test; nats "
        f"per checklist, mean and standard deviation of {seeds} worlds and seeds; {SAMPLES} importance samples. "
        f"{measuring.machine()}.\n"
    )


def _world(path: Path, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Checklists to train on, to validate, to test: one world has its own habitats' species."""
    try:
        matrix, species = create_species_matrix(load_ebird_data(write_example_ebd(path, NUM_CHECKLISTS, seed=seed)), 20)
    finally:
        path.unlink(missing_ok=True)
    x = torch.tensor(matrix[species].to_numpy(), dtype=torch.float32)
    x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))]
    train, val, test = x.split([NUM_TRAIN, NUM_TRAIN // 4, len(x) - NUM_TRAIN - NUM_TRAIN // 4])
    return train, val, test[:NUM_TEST]


def _prevalence(train: Tensor, test: Tensor) -> float:
    p = (train.sum(0) + 0.5) / (len(train) + 1)
    return -(test * p.log() + (1 - test) * (1 - p).log()).sum(1).mean().item()


def _measured(
    train: Tensor,
    val: Tensor,
    test: Tensor,
    seed: int,
    *,
    as_torch: bool = False,
    batch_size: int = 128,
    input_dropout: float = 0.0,
    **settings: Any,
) -> tuple[float, float]:
    torch.manual_seed(seed)
    model = VariationalAutoencoder(train.shape[1], input_dropout=input_dropout)
    if as_torch:
        for layer in model.modules():
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
    loaders = create_dataloaders(RowDataset(train), RowDataset(val), batch_size)
    with contextlib.redirect_stdout(io.StringIO()):
        train_variational_autoencoder(model, *loaders, seed=seed, print_every=None, **settings)
    return importance_weighted_nll(model, test, SAMPLES).nll, VectorEmbedder(model).evaluate(test)["loss"]

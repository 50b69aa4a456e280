"""How much memory a run takes beside the loop by hand, in copies of the weights.

The VAE at width 2,048 has 75 MB of weights, so that a copy shows. Each program has a process of its own, and what is
compared is its peak as the operating system counts it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import plain, vae
from benchmarks.measuring import Program, in_turns, table

WIDTH, ROWS = 2048, 640


def make_model() -> torch.nn.Module:
    from ignite_recipes import VariationalAutoencoder

    torch.manual_seed(0)
    return VariationalAutoencoder(vae.SPECIES, vae.LATENT, WIDTH)


def task() -> plain.Task:
    import ignite_recipes  # noqa: F401  # so that both processes have imported the same

    return plain.Task(make_model, vae.losses, (vae.make_data(ROWS),), (vae.make_data(128),), vae.BATCH, 3)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import RowDataset, create_dataloaders, train_variational_autoencoder

    loaders = create_dataloaders(RowDataset(vae.make_data(ROWS)), RowDataset(vae.make_data(128)), batch_size=vae.BATCH)
    return lambda: train_variational_autoencoder(
        make_model(), *loaders, num_epochs=3, seed=0, print_every=None, **settings
    )


# name -> program, copies of the weights that its features keep
PROGRAMS: dict[str, tuple[Program, int]] = {
    "tuned loop, nothing kept": (partial(plain.tuned_loop, task), 0),
    "**train_variational_autoencoder**": (recipe, 0),
    "**with** `patience`": (partial(recipe, patience=5), 1),
    # The trained weights need a place of their own while the model is validated with the averaged ones.
    "**with** `ema_decay`": (partial(recipe, ema_decay=0.99), 2),
    '**with** `non_finite="rollback"`': (partial(recipe, non_finite="rollback"), 3),
    "**with** `patience` and `ema_decay`": (partial(recipe, patience=5, ema_decay=0.99), 3),
}


def memory(rounds: int) -> str:
    figures = in_turns({name: program for name, (program, _) in PROGRAMS.items()}, rounds=max(1, rounds // 2))
    weights = sum(p.numel() * p.element_size() for p in make_model().parameters()) / 2**20
    least = next(iter(figures.values())).peak
    rows = []
    for name, (_, copies) in PROGRAMS.items():
        peak = figures[name].peak
        rows.append([name, f"{peak:.0f}", f"{(peak - least) / weights:.2f}", copies])
    return table(["program", "peak, MiB", "copies of the weights above the loop", "kept by its features"], rows)

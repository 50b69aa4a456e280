"""Tiny steps, where overhead is everything: a three-layer perceptron of width 64 on batches of 32.

Every program trains the same model on the same 3,200 rows (100 steps an epoch) with clipping, averages and validation
on 320 rows, and with a plateau schedule, early stopping and the best weights kept where its framework has them. Ignite
and Lightning stop early and keep no weights in memory; Accelerate leaves both, and the schedule, to the loop.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks import peers, plain
from benchmarks.measuring import Program

ROWS, VAL_ROWS, FEATURES, WIDTH, BATCH, EPOCHS = 3200, 320, 20, 64, 32, 5


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))


def make_keras_model() -> Any:
    keras = peers.import_keras()
    layers = [keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(WIDTH, "relu"), keras.layers.Dense(1)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers])


def make_data(rows: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, FEATURES, generator=generator)
    return x, x[:, :3].sin().sum(1, keepdim=True)


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    return {"loss": mse_loss(model(batch[0]), batch[1])}


def task() -> plain.Task:
    data, settings = (make_data(ROWS), make_data(VAL_ROWS)), {"plateau": True, "criterion": mse_loss}
    return plain.Task(make_model, losses, *data, BATCH, EPOCHS, max_norm=1.0, patience=10, **settings)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import train_model_advanced

    loaders = task().loaders(plain.batched_loader)
    return lambda: train_model_advanced(make_model(), *loaders, epochs=EPOCHS, seed=0, verbose=False, **settings)


def floor() -> Callable[[], None]:
    sizes = itertools.pairwise((FEATURES, WIDTH, WIDTH, 1))
    return plain.matrix_products(sizes, BATCH, EPOCHS * ROWS // BATCH)


PROGRAMS: dict[str, Program] = {
    "matrix products alone": floor,
    "plain loop": partial(plain.plain_loop, task),
    "tuned loop": partial(plain.tuned_loop, task),
    "**train_model_advanced**": recipe,
    "Ignite": partial(peers.with_ignite, task),
    "Accelerate": partial(peers.with_accelerate, task),
    "skorch": partial(peers.with_skorch, task),
    "Lightning": partial(peers.with_lightning, task),
    "Keras on torch": partial(peers.with_keras, task, make_keras_model),
}

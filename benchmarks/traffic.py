"""The traffic predictor on batches of 1,024 windows: a small network with batch norm and three heads.

Every program trains the same model on the same 20,480 windows (20 steps an epoch) with clipping, averages, validation
on 4,096 windows and early stopping, and keeps the best weights (Lightning keeps none in memory); nothing
is written to disk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import peers, plain
from benchmarks.measuring import Program

WINDOWS, VAL_WINDOWS, SOURCE, TARGET, FEATURES, BATCH, EPOCHS = 20480, 4096, 10, 5, 3, 1024, 4


def make_arrays(windows: int) -> tuple[Tensor, ...]:
    from ignite_recipes import make_traffic_windows

    generator = torch.Generator().manual_seed(windows)
    samples = windows + SOURCE + TARGET - 1
    context = torch.randn(samples, FEATURES, generator=generator).cumsum(0).mul(0.05).sin().mul(0.5).add(0.5)
    flags = (torch.rand(samples, generator=generator) < 0.3).float()
    flags[0] = 1.0
    return tuple(make_traffic_windows(context, flags, SOURCE, TARGET))


def make_model() -> nn.Module:
    from ignite_recipes import TrafficPredictor

    torch.manual_seed(0)
    return TrafficPredictor(FEATURES, TARGET, len_source=SOURCE)


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    from ignite_recipes import traffic_losses

    return traffic_losses(model(batch[0], batch[2], batch[3]), batch)


def task() -> plain.Task:
    data = make_arrays(WINDOWS), make_arrays(VAL_WINDOWS)
    return plain.Task(make_model, losses, *data, BATCH, EPOCHS, max_norm=1.0, patience=10, average_all=True)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import getDefaultModelParams, trainModel

    train, val = make_arrays(WINDOWS), make_arrays(VAL_WINDOWS)
    parameters = getDefaultModelParams(SOURCE, TARGET, train)
    parameters |= {"num_epochs": EPOCHS, "batch_size": BATCH, "save_checkpoints": False, "seed": 0}
    return lambda: trainModel(parameters, train, val, verbose=False, **settings)


PROGRAMS: dict[str, Program] = {
    "plain loop": partial(plain.plain_loop, task),
    "tuned loop": partial(plain.tuned_loop, task),
    "**trainModel**": recipe,
    "Lightning": partial(peers.with_lightning, task),
}

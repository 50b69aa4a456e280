"""What tests of steps that are programs train: a small regression whose loss function gives two losses."""

import math

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import create_trainer
from support.models import perceptron

BATCH_SIZE = 4


def regression(batches):
    """Rows (N, 3) and targets (N, 1) of so many batches, the last of which is short by one."""
    rows = torch.randn(batches * BATCH_SIZE - 1, 3, generator=torch.Generator().manual_seed(0))
    return rows, rows.sum(1, keepdim=True)


def loss_fn(model, inputs, batch):
    error = model(inputs) - batch[1]
    return {"loss": error.square().mean(), "size": error.abs().mean()}


def loader_of(data, *, bad=None, shuffle=True, **settings):
    """Batches of these rows and targets; of ``bad`` the row is NaN."""
    rows, targets = data
    if bad is not None:
        rows = rows.clone()
        rows[bad] = math.nan
    return DataLoader(TensorDataset(rows, targets), BATCH_SIZE, shuffle=shuffle, **settings)


def regressor(*, model=None, optimizer=None, loss=loss_fn, compile="step", layers=(), **settings):
    """A trainer of a small model."""
    model = perceptron(3, 4, seed=3, activation=nn.Tanh, **dict(layers)) if model is None else model
    make = optimizer or (lambda weights: torch.optim.Adam(weights, lr=0.02))
    return create_trainer(model, make(model.parameters()), loss, seed=1, compile=compile, **settings)

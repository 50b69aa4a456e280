"""A run with all that makes an exact resume hard: dropout, batch statistics, random augmentation, shuffling."""

import random

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from ignite_recipes import EpochAverages, History, Validation, create_evaluator, create_trainer
from support.models import perceptron

EPOCHS, BATCHES, BATCH_SIZE = 3, 4, 4


class Augmented(Dataset):
    """Rows to which every generator a data set may use adds a bit, with one of its own for the workers to copy."""

    def __init__(self, bad=None):
        draw = torch.Generator().manual_seed(0)
        self.rows = torch.randn(BATCHES * BATCH_SIZE - 1, 3, generator=draw)
        self.bad, self.own = bad, np.random.default_rng(3)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, k):
        noise = (random.random(), float(np.random.rand()), torch.rand(()).item())
        row = self.rows[k] + 0.1 * torch.tensor(noise)
        return row * (float("nan") if k == self.bad else 1.0), self.rows[k].sum(0, keepdim=True)


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def evaluator_of(model):
    evaluator = create_evaluator(model, loss_fn)
    EpochAverages().attach(evaluator)
    return evaluator


def make_run(attach, *, num_workers=0, accumulation_steps=1, bad=None, breaks_from=None, compile=False):
    """What makes a run with dropout, batch statistics, random augmentation, shuffling and what ``attach`` adds."""

    def make():
        model = perceptron(3, 4, seed=3, activation=nn.Tanh, batch_norm=True, dropout=0.3)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.02)

        def loss_of(m, inputs, batch):
            """Infinite from an iteration on, for as long as the learning rate is above a third of its first."""
            rate, iteration = optimizer.param_groups[0]["lr"], trainer.state.iteration
            breaks = breaks_from is not None and iteration >= breaks_from and rate > 0.02 / 3
            return {"loss": loss_fn(m, inputs, batch)["loss"] * (float("inf") if breaks else 1.0)}

        loss = loss_of if breaks_from is not None else loss_fn
        trainer = create_trainer(model, optimizer, loss, seed=1, accumulation_steps=accumulation_steps, compile=compile)
        attach(trainer)
        return trainer, DataLoader(Augmented(bad), BATCH_SIZE, shuffle=True, num_workers=num_workers)

    return make


def measured(trainer):
    """Validation, averages and a history: what handlers watch."""
    validation = [(torch.ones(4, 3), torch.ones(4, 1)), (torch.zeros(3, 3), torch.ones(3, 1))]
    Validation(evaluator_of(trainer.model), validation).attach(trainer)
    EpochAverages("train_", skip_nonfinite=True).attach(trainer)
    History(["train_loss", "val_loss"]).attach(trainer)

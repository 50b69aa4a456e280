"""The small models that most tests train."""

import torch
from torch import nn


def perceptron(inputs, width, outputs=1, *, seed=0, activation=nn.ReLU, batch_norm=False, dropout=None):
    """One hidden layer, with the same weights in every call."""
    torch.manual_seed(seed)
    layers = [nn.Linear(inputs, width), *([nn.BatchNorm1d(width)] if batch_norm else []), activation()]
    return nn.Sequential(*layers, *([] if dropout is None else [nn.Dropout(dropout)]), nn.Linear(width, outputs))

"""The printed summary is the document's, to the digit."""

import torch
from torch import nn

from ignite_recipes import VariationalAutoencoder, count_parameters, print_model_summary


def test_the_documented_model_prints_the_documented_figures(capsys):
    model = VariationalAutoencoder(467, 16, 512)
    print_model_summary(model)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["=" * 80, "Model Summary", "=" * 80]
    assert lines[3:-5] == str(model).splitlines()
    assert lines[3] == "VariationalAutoencoder("
    assert lines[-5:] == [
        "-" * 80,
        "Total parameters: 1,554,931",
        "Trainable parameters: 1,554,931",
        "Model size: 5.93 MB",
        "=" * 80,
    ]
    assert count_parameters(model) == (1554931, 1554931)


def test_frozen_parameters_are_not_trainable_and_shared_ones_count_once():
    shared = nn.Linear(3, 3)
    model = nn.Sequential(shared, shared, nn.Linear(3, 1).requires_grad_(False))
    assert count_parameters(model) == (12 + 4, 12)


def test_buffers_and_dtypes_count_in_the_size(capsys):
    model = nn.Module()
    model.register_buffer("table", torch.zeros(2**20, dtype=torch.float16))
    print_model_summary(model)
    assert "Total parameters: 0\nTrainable parameters: 0\nModel size: 2.00 MB" in capsys.readouterr().out

"""A model and its training state in a file, saved and loaded by hand.

The keys that such a file has, and every checkpoint of a run::

    epoch, model_state_dict, optimizer_state_dict, train_loss, val_loss, history, metadata
"""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint, write_checkpoint
from ignite_recipes.checkpoint.fit import load_model, load_optimizer, optimizer_state, unchanged_on_error
from ignite_recipes.engine.weights import unwrap

__all__ = ["AVERAGED", "documented_entries", "load_checkpoint", "save_checkpoint"]

AVERAGED = "ema_model_state_dict"
"""The key of the weights' moving average, in checkpoints of runs that have one."""


def documented_entries(
    *,
    epoch: int,
    weights: Mapping[str, Any],
    optimizer_state: Any,
    train_loss: float | None,
    val_loss: float | None,
    history: Any,
    metadata: Any,
) -> dict[str, Any]:
    """The documented entries of a checkpoint, under their keys."""
    return {
        "epoch": epoch,
        "model_state_dict": weights,
        "optimizer_state_dict": optimizer_state,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "history": history,
        "metadata": metadata,
    }


def save_checkpoint(
    model: nn.Module,
    optimizer: Optimizer | None,
    epoch: int,
    train_loss: float,
    val_loss: float | None,
    filepath: str | os.PathLike[str],
    history: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Save a model and its training state.

    Args:
        model: its weights and buffers are saved; a compiled model under the names of the plain one.
        optimizer: None leaves its state out.
        epoch: how many epochs the model was trained for.
        train_loss, val_loss: those of that epoch.
        filepath: the file to write; missing folders are made, an existing file is replaced completely or not at all.
        history, metadata: anything made of plain values and tensors.

    Raises:
        TypeError: for values that could not be read back safely.
        OSError: if the file cannot be written; an older one is still there then.

    >>> import tempfile, torch
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(model, optimizer, 5, 0.7, 0.8, f"{folder}/model.pt", metadata={"species": ["Crow", "Kite"]})
    ...     contents = read_checkpoint(f"{folder}/model.pt")
    >>> contents["epoch"], contents["train_loss"], contents["metadata"]
    (5, 0.7, {'species': ['Crow', 'Kite']})
    """
    contents = documented_entries(
        epoch=epoch,
        weights=unwrap(model).state_dict(),
        optimizer_state=None if optimizer is None else optimizer_state(optimizer),
        train_loss=train_loss,
        val_loss=val_loss,
        history=history,
        metadata=metadata,
    )
    write_checkpoint(contents, filepath)


def load_checkpoint(
    filepath: str | os.PathLike[str],
    model: nn.Module,
    optimizer: Optimizer | None = None,
    device: str | torch.device | None = None,
    *,
    averaged: bool | None = False,
) -> dict[str, Any]:
    """Load a checkpoint into a model, and its optimizer, and return the contents of the file.

    Args:
        filepath: a file of :func:`save_checkpoint` or of a recipe.
        model: a model of the architecture that was saved. It stays on its device.
        optimizer: the optimizer of that model; its moments and settings are restored.
        device: the device of the tensors in the returned dict; by default the CPU.
        averaged: load the moving average of the weights, which runs with an average save too; None does if there is
            one.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not sound, is of another architecture, or has no optimizer state or no average
            although it is asked for. Model and optimizer are then as they were before.

    >>> import tempfile, torch
    >>> model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(model, None, epoch=5, train_loss=0.7, val_loss=0.8, filepath=f"{folder}/model.pt")
    ...     contents = load_checkpoint(f"{folder}/model.pt", other)
    >>> torch.equal(other.weight, model.weight), contents["epoch"]
    (True, 5)
    """
    contents = read_checkpoint(filepath, "cpu" if device is None else device)
    weights = contents["model_state_dict"]
    if averaged or (averaged is None and AVERAGED in contents):
        weights = contents.get(AVERAGED)
        if not isinstance(weights, Mapping):
            raise CheckpointError(f"{os.fspath(filepath)!r} holds no moving average: load it with averaged=False")
    with unchanged_on_error(filepath, model, optimizer):
        load_model(model, weights, filepath)
        if optimizer is not None:
            load_optimizer(optimizer, contents.get("optimizer_state_dict"), filepath)
    return contents

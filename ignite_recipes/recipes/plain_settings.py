"""What a run was told, as a file of settings can hold it."""

import functools
import os
from collections.abc import Mapping
from typing import Any

from torch import nn

from ignite_recipes.engine.weights import unwrap
from ignite_recipes.recipes.options import RunOptions, run_settings

__all__ = ["described", "plain"]


def described(model: nn.Module, train_loader: Any, options: RunOptions, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the settings of an experiment say of a run that was called from Python.

    Args:
        model, train_loader: that are trained, and on what.
        options: the options of the run.
        settings: the recipe's own.
    """
    config = getattr(unwrap(model), "model_config", None)
    metrics = options["metrics"]
    return {
        **settings,
        **run_settings(options),
        "metrics": metrics if isinstance(metrics, str) or metrics is None else [*metrics],
        "seed": options.get("seed"),
        "model": dict(config) if isinstance(config, Mapping) else type(unwrap(model)).__name__,
        "batch_size": getattr(train_loader, "batch_size", None),
    }


def plain(value: Any) -> Any:
    """A value of YAML's own types; the name of what is none.

    >>> import torch
    >>> plain({"rates": (0.1, 0.2), "loss": nn.MSELoss(), "sizes": torch.ones(3)})
    {'rates': [0.1, 0.2], 'loss': 'MSELoss', 'sizes': 'Tensor'}
    """
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, (bool, int, float)):  # of NumPy, or an enumeration
        return next(kind(value) for kind in (bool, int, float) if isinstance(value, kind))
    if isinstance(value, functools.partial):
        return plain(value.func)
    if isinstance(value, type) or (callable(value) and not isinstance(value, nn.Module)):
        return getattr(value, "__name__", type(value).__name__)
    return type(value).__name__

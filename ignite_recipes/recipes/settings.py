"""What every recipe checks about its settings before it starts."""

import math
import numbers
import os
from collections.abc import Mapping
from typing import Any, Protocol

import torch

from ignite_recipes.engine import TrainingEngine

__all__ = ["PRECISIONS", "Attachable", "check_choice", "check_count", "check_positive", "check_resumable"]

PRECISIONS: Mapping[str, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


class Attachable(Protocol):
    """A handler: anything with ``attach(trainer)``."""

    def attach(self, trainer: Any, /) -> Any: ...  # noqa: D102


def check_count(**settings: int) -> None:
    """Raise ValueError unless each setting is a whole number of at least 1."""
    for name, value in settings.items():
        if not isinstance(value, numbers.Integral) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1; got {value!r}")


def check_positive(**settings: float) -> None:
    """Raise ValueError unless each setting is a positive, finite number."""
    for name, value in settings.items():
        if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number; got {value!r}")


def check_choice(**settings: tuple[str, Any]) -> None:
    """Raise ValueError unless each setting's value is among its choices."""
    for name, (value, choices) in settings.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {value!r}")


def check_resumable(trainer: TrainingEngine, path: str | os.PathLike[str], num_epochs: int, seed: int | None) -> None:
    """Raise ValueError if the run just restored cannot go on to ``num_epochs`` with ``seed``."""
    state = trainer.state
    if num_epochs < state.epoch:
        raise ValueError(
            f"num_epochs counts from the first epoch and must be at least {state.epoch}, where "
            f"{os.fspath(path)!r} is; got {num_epochs}"
        )
    if seed not in (None, state.seed):
        raise ValueError(f"seed must be that of the run that is resumed, {state.seed}, or None; got {seed}")

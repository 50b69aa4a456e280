"""Checks of settings, told before a run starts."""

import math
import numbers
from collections.abc import Mapping
from typing import Any

import torch

from ignite_recipes.arguments import shown, whole_number

__all__ = ["AUTO", "POLICIES", "PRECISIONS", "check_choice", "check_count", "check_positive", "check_saves"]

PRECISIONS: Mapping[str, torch.dtype | None] = {
    "float32": None,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

AUTO = "auto"
"""The precision that trains fastest on this machine."""

POLICIES = ("raise", "skip", "rollback")
"""What to do at a loss or gradient that is not finite."""


def check_count(**settings: int) -> None:
    """Raise ValueError unless each setting is a whole number of at least 1."""
    for name, value in settings.items():
        whole_number(value, name)


def check_positive(**settings: float) -> None:
    """Raise ValueError unless each setting is a positive, finite number."""
    for name, value in settings.items():
        if not isinstance(value, numbers.Real) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number; got {shown(value)}")


def check_saves(save_every_iterations: int | None, *, has_place: bool, place: str) -> None:
    """Raise ValueError if there is to be saved and nowhere to save to."""
    if save_every_iterations is not None and not has_place:
        raise ValueError(f"save_every_iterations must have a place to save to; got no {place}: give one")


def check_choice(**settings: tuple[str, Any]) -> None:
    """Raise ValueError unless each setting's value is among its choices."""
    for name, (value, choices) in settings.items():
        if value not in choices:
            raise ValueError(f"{name} must be one of {', '.join(choices)}; got {shown(value)}")

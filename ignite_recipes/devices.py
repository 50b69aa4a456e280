"""Which device to train on."""

import os
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn

from ignite_recipes.arguments import shown

__all__ = ["as_device", "get_device", "move_model", "outside_autocast", "without_autocast"]


def get_device(prefer_cuda: bool = True) -> torch.device:
    """The best device of this machine: CUDA, then MPS, then the CPU.

    Args:
        prefer_cuda: False asks for MPS before CUDA; a machine without MPS still gets its CUDA device.

    >>> get_device().type in {"cuda", "mps", "cpu"}
    True
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    order = ("cuda", "mps", "cpu") if prefer_cuda else ("mps", "cuda", "cpu")
    return torch.device(next(name for name in order if available[name]))


def as_device(device: "str | torch.device | None") -> torch.device:
    """``device`` as a :class:`torch.device` that this machine has; None or ``"auto"`` is the best one.

    Raises:
        ValueError: if torch knows no such device, or this machine has none.
    """
    try:
        found = get_device() if device is None or device == "auto" else torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"device must be 'cpu', 'cuda', 'cuda:1', 'mps' or the like; got {shown(device)}") from error
    if found.type == "cuda" and found.index is None and "LOCAL_RANK" in os.environ:
        found = torch.device("cuda", int(os.environ["LOCAL_RANK"]))  # torchrun has started a process for each
    if found.type != "cpu" and not _has(found):
        raise ValueError(f"this machine has no device {str(found)!r}; {get_device().type!r} is its best one")
    return found


def move_model(model: nn.Module, device: torch.device) -> nn.Module:
    """The model on ``device``; TypeError if it is none, e.g. a class that was not called."""
    if not isinstance(model, nn.Module):
        got = f"the class {model.__name__}: call it" if isinstance(model, type) else type(model).__name__
        raise TypeError(f"model must be a torch.nn.Module; got {got}")
    return model.to(device)


def without_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context in which a computation keeps the precision of its inputs; nothing where autocast is off anyway."""
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()  # entering torch's own takes 9 microseconds


def outside_autocast(device: torch.device) -> AbstractContextManager[Any]:
    """A context for a whole run, in which autocast that a caller has switched on is off; nothing where it is off.

    Inside it autocast keeps no copies of weights either. torch frees these copies where the outermost autocast ends, so
    that a training inside the caller's would go on computing with the weights of its first step.
    """
    if torch.is_autocast_enabled(device.type):
        return torch.autocast(device.type, enabled=False, cache_enabled=False)
    return nullcontext()


def _has(device: torch.device) -> bool:
    try:
        module = torch.get_device_module(device)
    except (RuntimeError, AttributeError):  # a kind that this build of torch knows by name only
        return False
    return bool(module.is_available()) and (device.index or 0) < module.device_count()

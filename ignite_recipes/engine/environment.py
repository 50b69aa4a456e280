"""What a run's bits depend on beyond its own state: versions, device, threads, and the choice of algorithms."""

import os
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch

from ignite_recipes.exchange.ranks import world_size

__all__ = ["deterministic_algorithms", "environment", "environment_changes"]


@contextmanager
def deterministic_algorithms(enabled: bool = True) -> Iterator[None]:
    """Let torch use only algorithms that give the same bits each time, and put its settings back afterwards.

    Operations that have none raise an error, which names them. cuDNN stops benchmarking, and cuBLAS gets a
    workspace of fixed size unless the environment gives it one (``CUBLAS_WORKSPACE_CONFIG``, which is read when
    CUDA starts). Some operations become slower.

    Args:
        enabled: False leaves everything as it is.

    >>> with deterministic_algorithms():
    ...     torch.are_deterministic_algorithms_enabled()
    True
    """
    if not enabled:
        yield
        return
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn = torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = cudnn


def environment(device: torch.device, deterministic: bool = False) -> dict[str, Any]:
    """What a checkpoint notes of where it was made, so that a resume elsewhere can say that bits may differ.

    Args:
        device: the device of the run.
        deterministic: whether the run asks for deterministic algorithms itself.
    """
    return {
        "torch": str(torch.__version__),
        "device": _name(device),
        "threads": torch.get_num_threads(),
        "world_size": world_size(),
        "deterministic": deterministic or torch.are_deterministic_algorithms_enabled(),
    }


def _name(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()}, {torch.backends.cpu.get_cpu_capability()})"


def environment_changes(saved: Mapping[str, Any], here: Mapping[str, Any]) -> list[str]:
    """What differs between two environments.

    >>> environment_changes({"torch": "2.12", "threads": 4}, {"torch": "2.13", "threads": 4})
    ['torch was 2.12, here it is 2.13']
    """
    return [
        f"{name} was {saved[name]}, here it is {value}"
        for name, value in here.items()
        if name in saved and saved[name] != value
    ]

"""Randomness as a pure function of a run's seed and of where the run is.

Nothing here saves a generator's state: every place of a run has a key, the key gives a seed, and the
generators are seeded with it before that place is entered. A resumed run enters the same places with the
same keys, so it draws the same numbers, whatever was drawn, or not drawn, in between.
"""

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from ignite_recipes.arguments import whole_number

__all__ = ["SameDraws", "derive_seed", "draw_seed", "preserve_generators", "seed_generators", "seed_torch", "set_seed"]


def derive_seed(seed: int, place: str, *position: int) -> int:
    """The 64-bit seed of one place of a run, e.g. ``derive_seed(42, "step", 1200)``.

    Built on BLAKE2b, because Python's ``hash`` of a string differs from process to process.

    >>> derive_seed(42, "step", 1) == derive_seed(42, "step", 1)
    True
    >>> derive_seed(42, "step", 1) == derive_seed(42, "step", 2)
    False
    """
    key = f"{seed}/{place}/{'/'.join(map(str, position))}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big")


def draw_seed() -> int:
    """One seed from torch's global generator: what ``seed=None`` means."""
    return int(torch.empty((), dtype=torch.int64).random_().item())


def seed_generators(seed: int, device: torch.device | None = None) -> None:
    """Seed Python's, NumPy's and torch's global generators, and the one of ``device``."""
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    seed_torch(seed, device)


def seed_torch(seed: int, device: torch.device | None = None) -> None:
    """Seed torch's global generator and the one of ``device`` only: a quarter of the cost of all.

    Called in each step, hence ``default_generator.manual_seed`` (1.4 microseconds) and not
    ``torch.manual_seed`` (230: it seeds every kind of device through a queue of deferred calls).
    """
    torch.default_generator.manual_seed(seed)
    if device is None or device.type == "cpu":
        return
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # returns at once when it has been done
        index = torch.cuda.current_device() if device.index is None else device.index
        torch.cuda.default_generators[index].manual_seed(seed)
    else:
        torch.get_device_module(device).manual_seed(seed)


@contextmanager
def preserve_generators(device: torch.device | None = None) -> Iterator[None]:
    """Put the global generators (Python, NumPy, torch on the CPU and on ``device``) back afterwards."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    on_accelerator = device is not None and device.type != "cpu"
    kind = {"devices": [device], "device_type": device.type} if on_accelerator and device else {"devices": []}
    try:
        with torch.random.fork_rng(**kind):
            yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)


class SameDraws:
    """Inside the block torch's generators draw what they drew after this was made; after it they continue as before it.

    Args:
        device: its generator too.

    >>> draws = SameDraws(torch.device("cpu"))
    >>> first = torch.rand(2)
    >>> with draws:
    ...     print(torch.equal(torch.rand(2), first))
    True
    """

    def __init__(self, device: torch.device) -> None:
        self._modules: list[Any] = [torch] if device.type == "cpu" else [torch, torch.get_device_module(device)]
        self._first, self._now = self._states(), list[Any]()

    def _states(self) -> list[Any]:
        return [module.get_rng_state() for module in self._modules]

    def _set(self, states: list[Any]) -> None:
        for module, state in zip(self._modules, states, strict=True):
            module.set_rng_state(state)

    def __enter__(self) -> None:
        self._now = self._states()
        self._set(self._first)

    def __exit__(self, *_: object) -> None:
        self._set(self._now)


def set_seed(seed: int, deterministic: bool = False) -> None:
    """Seed Python's ``random``, NumPy and torch (CPU and every accelerator).

    cuDNN chooses deterministic kernels and stops benchmarking. Call it at the start of a
    script, before models and data sets are made.

    Args:
        seed: any integer from 0 to 2**64 - 1; NumPy gets its lower 32 bits.
        deterministic: also ``torch.use_deterministic_algorithms(True)``, which raises where torch has no
            deterministic kernel. On CUDA it needs the environment variable ``CUBLAS_WORKSPACE_CONFIG=:4096:8``.

    Raises:
        ValueError: if ``seed`` is negative or too large.

    >>> set_seed(42)
    >>> first = torch.rand(3)
    >>> set_seed(42)
    >>> torch.equal(first, torch.rand(3))
    True
    """
    seed = whole_number(seed, "seed", at_least=0)
    if seed >= 2**64:
        raise ValueError(f"seed must be below 2**64; got {seed}")
    random.seed(seed)
    np.random.seed(seed & 0xFFFFFFFF)
    torch.manual_seed(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    if deterministic:
        torch.use_deterministic_algorithms(True)

"""Make any loader of batches repeatable: what it yields depends on the seed and the position only."""

import itertools
import random
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch

from ignite_recipes.randomness import derive_seed, seed_generators

__all__ = ["KeyedLoader"]


class KeyedLoader:
    """A loader whose order, augmentation and workers are a pure function of (seed, purpose, epoch, fetch).

    Before an epoch it seeds the global generators and every generator that the loader, its samplers and its
    data set hold, calls their ``set_epoch`` where there is one, and restarts persistent workers, whose
    generators would otherwise run on from the epoch before. Before every fetch it seeds them again.

    Args:
        loader: a ``DataLoader`` or any iterable of batches that can be iterated anew for each epoch.
        seed: the run's seed.
        purpose: a word that keeps the loaders of one run apart, e.g. ``"train"`` and ``"validation"``.
        device: its generator is seeded too.

    Set ``epoch`` (from 1) and ``start`` (batches of this epoch that are already used) before iterating;
    the used batches are fetched again under their own keys and thrown away.

    >>> batches = KeyedLoader(torch.utils.data.DataLoader(range(4), shuffle=True), seed=0)
    >>> [b.item() for b in batches] == [b.item() for b in batches]
    True
    """

    def __init__(
        self, loader: Iterable[Any], seed: int, purpose: str = "train", device: torch.device | None = None
    ) -> None:
        self.loader, self.seed, self.purpose, self.device = loader, seed, purpose, device
        self.epoch, self.start = 1, 0

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # a loader without a length raises TypeError, as it should

    def __iter__(self) -> Iterator[Any]:
        parts = list(_parts(self.loader))
        generators = [value for part in parts for value in vars(part).values() if _is_generator(value)]
        self._seed(generators, "epoch")
        for part in parts:
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(self.epoch)
        if getattr(self.loader, "persistent_workers", False):
            # Drops the workers of the epoch before; torch has no public way to restart them.
            self.loader._iterator = None  # type: ignore[attr-defined]
        batches = iter(self.loader)
        for fetch in itertools.count():
            self._seed(generators, "fetch", fetch)
            try:
                batch = next(batches)
            except StopIteration:
                return
            if fetch >= self.start:
                yield batch

    def _seed(self, generators: list[Any], place: str, *position: int) -> None:
        seed = derive_seed(self.seed, f"{self.purpose} {place}", self.epoch, *position)
        seed_generators(seed, self.device)
        for generator in generators:
            _seed_own(generator, seed)


def _parts(loader: Iterable[Any]) -> Iterator[Any]:
    """The loader, its samplers, its data set and its transforms, and what those wrap."""
    waiting: list[Any] = [loader]
    seen: set[int] = set()
    while waiting:
        part = waiting.pop()
        if id(part) in seen or not hasattr(part, "__dict__") or isinstance(part, type):
            continue
        seen.add(id(part))
        yield part
        waiting += [getattr(part, name, None) for name in _PLACES]
        waiting += getattr(part, "datasets", None) or ()  # of a ConcatDataset


_PLACES = ("batch_sampler", "sampler", "dataset", "collate_fn", "transform", "target_transform", "transforms")


def _is_generator(value: Any) -> bool:
    kinds = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
    return isinstance(value, kinds)


def _seed_own(generator: Any, seed: int) -> None:
    """Seed a generator that an object keeps for itself, of any of the four kinds."""
    if isinstance(generator, torch.Generator):
        generator.manual_seed(seed)
    elif isinstance(generator, np.random.Generator):
        generator.bit_generator.state = type(generator.bit_generator)(seed).state
    elif isinstance(generator, np.random.RandomState):
        generator.seed(seed & 0xFFFFFFFF)
    else:
        generator.seed(seed)

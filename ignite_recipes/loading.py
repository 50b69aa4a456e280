"""Make any loader of batches repeatable: what it yields depends on the seed and the position only."""

import functools
import itertools
import logging
import random
import types
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader

from ignite_recipes.batches import digest
from ignite_recipes.distributed import process_number, processes
from ignite_recipes.randomness import derive_seed, seed_generators
from ignite_recipes.sharding import Part, Shares

__all__ = ["KeyedLoader"]

logger = logging.getLogger(__name__)


class KeyedLoader:
    """A loader whose order, augmentation and workers are a pure function of (seed, purpose, epoch, fetch).

    Before an epoch it seeds the global generators and every generator that it can find in the loader, its
    samplers, its data set and its transforms, calls their ``set_epoch`` where there is one, and restarts
    persistent workers, whose generators would otherwise run on from the epoch before. Before every fetch it
    seeds them again. What a function has closed over it cannot find.

    Args:
        loader: a ``DataLoader`` or any iterable of batches that can be iterated anew for each epoch.
        seed: the run's seed.
        purpose: a word that keeps the loaders of one run apart, e.g. ``"train"`` and ``"validation"``.
        device: its generator is seeded too.

    Raises:
        TypeError: for an iterator, which could be gone through only once.

    :meth:`enter` says which epoch comes next and how many of its batches are already used: those are fetched
    again under their own keys and thrown away. If the last of them is not the batch that it was, a warning in the
    log says so. A loader other than torch's that has ``state_dict`` and ``load_state_dict`` is put back by them
    instead.

    >>> batches = KeyedLoader(torch.utils.data.DataLoader(range(4), shuffle=True), seed=0)
    >>> first = [batch.item() for batch in batches]
    >>> batches.enter(1)
    >>> [batch.item() for batch in batches] == first
    True
    """

    def __init__(
        self, loader: Iterable[Any], seed: int, purpose: str = "train", device: torch.device | None = None
    ) -> None:
        if not hasattr(loader, "__iter__") and not hasattr(loader, "__getitem__"):
            raise TypeError(f"a loader must be an iterable of batches; got {type(loader).__name__}")
        if isinstance(loader, Iterator):
            raise TypeError(
                f"a loader must give its batches anew for every epoch; got a {type(loader).__name__}, which gives "
                "them once: pass a DataLoader, or list(...) of the batches"
            )
        self.process = process_number()
        if processes() > 1:
            loader = Shares(loader, self.process, processes())
            logger.log(logging.INFO if purpose == "train" else logging.DEBUG, "%s: %r", purpose, loader)
        self.loader, self.seed, self.purpose, self.device = loader, seed, purpose, device
        self.enter(1)

    @property
    def part(self) -> Part | None:
        """How much of the batch at hand this process has; None where it does not share batches with others."""
        return self.loader.part if isinstance(self.loader, Shares) else None

    def enter(self, epoch: int, start: int = 0, place: Mapping[str, Any] | None = None) -> None:
        """Iterate over ``epoch`` (from 1) next, behind its first ``start`` batches; ``place`` is of :meth:`place`."""
        self.epoch, self.start, self._place = epoch, start, place or {}
        self._passes = 0  # more than one only where an epoch is longer than the loader

    def place(self, last_batch: Any) -> dict[str, Any]:
        """What a checkpoint inside an epoch notes of the loader, besides how many batches it gave."""
        state = self._source.state_dict() if self._has_own_state else None
        return {"last_batch": digest(last_batch), "processes": processes(), "state": state}

    @property
    def _has_own_state(self) -> bool:
        methods = (getattr(self._source, name, None) for name in ("state_dict", "load_state_dict"))
        return not isinstance(self._source, DataLoader) and all(map(callable, methods))

    @property
    def _source(self) -> Any:
        """The user's own loader, or the one that gives this process' part of its batches."""
        return self.loader.loader if isinstance(self.loader, Shares) else self.loader

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # a loader without a length raises TypeError, as it should

    def __iter__(self) -> Iterator[Any]:
        parts = list(_reachable([self.loader]))
        generators = self._generators(parts)
        self._seed(generators, "epoch", self._passes)
        for part in parts:
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(self.epoch)
            if getattr(part, "persistent_workers", False):
                part._iterator = None  # drops the workers of the epoch before; torch has no public way to
        first = 0
        if self._has_own_state and self._place.get("state") is not None:
            self._source.load_state_dict(self._place["state"])
            first = self.start
        batches = iter(self.loader)
        for fetch in itertools.count(first):
            self._seed(generators, "fetch", self._passes, fetch)
            try:
                batch = next(batches)
            except StopIteration:
                break
            if self.process:  # what is drawn from now on differs from process to process
                self._seed({}, "fetch", self._passes, fetch, self.process)
            if fetch >= self.start:
                yield batch
            elif self.process or fetch < self.start - 1:
                continue
            elif self._has_changed(batch):
                logger.warning(
                    "the loader gives another batch %d of epoch %d than before the run was stopped: from here on it is "
                    "not the same run. Its data have changed, or it draws from a generator that cannot be found: keep "
                    "that in an attribute, or give the loader state_dict() and load_state_dict()",
                    self.start,
                    self.epoch,
                )
        if fetch == 0:
            raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")
        self._passes, self.start = self._passes + 1, max(0, self.start - fetch)

    def _has_changed(self, last_batch: Any) -> bool:
        if self._place.get("processes", 1) != processes():  # whose parts of it are others anyhow
            return False
        return self._place.get("last_batch") not in (None, digest(last_batch))

    def _generators(self, parts: Iterable[Any]) -> dict[Any, tuple[int, ...]]:
        """The loader's own generators, each with what its key has besides: this process' number, if it must differ."""
        generators = [part for part in parts if isinstance(part, _GENERATORS)]
        if not self.process or not isinstance(self.loader, Shares):
            return dict.fromkeys(generators, ())
        alike = {id(part) for part in _reachable(self.loader.drawn_alike, but=self.loader.drawn_apart)}
        return {generator: () if id(generator) in alike else (self.process,) for generator in generators}

    def _seed(self, generators: Mapping[Any, tuple[int, ...]], place: str, *position: int) -> None:
        """Seed the global generators, and others."""
        is_own = self.process and isinstance(self.loader, Shares) and self.loader.is_distributed
        own = (self.process,) if is_own else ()
        keys = {
            key: derive_seed(self.seed, f"{self.purpose} {place}", self.epoch, *position, *key)
            for key in {own, *generators.values()}
        }
        seed_generators(keys[own], self.device)
        for generator, key in generators.items():
            _seed_own(generator, keys[key])


_GENERATORS = (torch.Generator, np.random.Generator, np.random.RandomState, random.Random)
_PLAIN = (str, bytes, int, float, torch.Tensor, np.ndarray, type, types.ModuleType, types.FunctionType)
_MOST = 1000  # items of a list, and objects altogether: data are no place for generators


def _reachable(loaders: Iterable[Any], but: Iterable[Any] = ()) -> Iterator[Any]:
    """Loaders and the objects that they hold, and those that these hold: samplers, data sets, transforms."""
    waiting: deque[Any] = deque(loaders)
    seen: dict[int, Any] = {id(part): part for part in but}  # keeps them alive, so that no two share an id
    while waiting and len(seen) < _MOST:
        part = waiting.popleft()
        if part is None or isinstance(part, _PLAIN) or id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        waiting.extend(_held_by(part))


def _held_by(part: Any) -> Iterable[Any]:
    if isinstance(part, _GENERATORS):
        return ()
    if isinstance(part, (list, tuple, set)):
        return itertools.islice(part, _MOST)
    if isinstance(part, dict):
        return itertools.islice(part.values(), _MOST)
    if isinstance(part, functools.partial):
        return (part.func, *part.args, *part.keywords.values())
    if isinstance(part, types.MethodType):
        return (part.__self__,)
    slots = [name for kind in type(part).__mro__ for name in getattr(kind, "__slots__", ())]
    return (*(getattr(part, name, None) for name in slots), *getattr(part, "__dict__", {}).values())


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

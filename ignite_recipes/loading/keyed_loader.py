"""Make any loader of batches repeatable: what it yields depends on the seed and the position only."""

import gc
import itertools
import logging
import operator
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch

from ignite_recipes.exchange.ranks import rank, world_size
from ignite_recipes.loading.batches import digest, versions
from ignite_recipes.loading.fetching import fetched_at_once, sampled_ahead
from ignite_recipes.loading.generators import is_generator, reachable, seed_generator
from ignite_recipes.loading.randomness import derive_seed, seed_generators
from ignite_recipes.loading.shares import Part, Shares

__all__ = ["KeyedLoader"]

logger = logging.getLogger(__name__)


_NO_BATCH: tuple[int, tuple[int, ...]] = (0, ())


class KeyedLoader:
    """A loader whose order, augmentation and workers are a pure function of (seed, purpose, epoch, fetch).

    Before an epoch it seeds the global generators and every generator that it can find in the loader, its
    samplers, its data set and its transforms, calls their ``set_epoch`` where there is one, and restarts
    persistent workers, whose generators would otherwise run on from the epoch before. Before every fetch it
    seeds them again. It finds generators in attributes, containers and closures, not in global variables.

    Args:
        loader: a ``DataLoader`` or any iterable of batches that can be iterated again for each epoch.
        seed: the run's seed.
        purpose: a word that keeps the loaders of one run apart, e.g. ``"train"`` and ``"validation"``.
        device: its generator is seeded too.

    Raises:
        TypeError: for an iterator, which can be iterated over only once.

    :meth:`enter` says which epoch comes next and how many of its batches are already used: those are fetched
    again under their own keys and thrown away. If the last of them is not the batch that it was, a warning in the
    log says so. A loader that has ``state_dict`` and ``load_state_dict`` is put back by them
    instead.

    :meth:`enter_stream` makes one stream of all passes over the loader, for epochs that are not its passes: shorter
    ones, longer ones, or those of a loader that never ends. Its passes count as epochs, from 1.

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
                f"a loader must give its batches again for every epoch; got a {type(loader).__name__}, which gives "
                "them once: pass a DataLoader, or list(...) of the batches"
            )
        self.rank = rank()
        loader = fetched_at_once(loader, purpose)
        if world_size() > 1:
            loader = Shares(loader, self.rank, world_size())
            logger.log(logging.INFO if purpose == "train" else logging.DEBUG, "%s: %r", purpose, loader)
        self.loader, self.seed, self.purpose, self.device = loader, seed, purpose, device
        self._stream: weakref.ref[Iterator[Any]] | None = None
        self.at_end: Callable[[int], None] | None = None  # told how many batches an epoch had, when it ends by itself
        self.enter(1)

    def rows(self) -> list[Any] | None:
        """The row numbers of each batch of the coming pass, drawn at once; None where they are not known beforehand."""
        if self.is_stream or (world_size() > 1):
            return None
        self._seed(self._generators(self._prepared()), "epoch", self._passes)
        sampled = sampled_ahead(self.loader, iter(self.loader))
        return None if sampled is None else list(sampled)

    def say_epoch(self) -> bool:
        """Tell the loader's parts again which epoch it is; False if none of them asks."""
        asks = False
        for part in self._prepared():
            if callable(set_epoch := getattr(part, "set_epoch", None)):
                set_epoch(self.epoch)
                asks = True
        return asks

    def pass_over(self, start: int, last_batch: Any) -> None:
        """Note that the first ``start`` batches of the epoch were fetched by other means; the last one is given."""
        self.given = self._fetched = start
        self._last = (id(last_batch), versions(last_batch))

    @property
    def part(self) -> Part | None:
        """How much of the current batch this rank has; None where it does not share batches with others."""
        return self.loader.part if isinstance(self.loader, Shares) else None

    def enter(self, epoch: int, start: int = 0, place: Mapping[str, Any] | None = None) -> None:
        """Iterate over ``epoch`` (from 1) next, after its first ``start`` batches; ``place`` is of :meth:`place`."""
        self.epoch, self.start, self._place = epoch, start, place or {}
        self.given = start  # batches of the epoch, those before ``start`` included
        self._last = _NO_BATCH  # the last batch's identity and versions, as it was given
        self._fetched = start  # of the current pass
        self._parts: list[Any] | None = None
        self._passes = 0  # more than one only where the loader is iterated over again inside an epoch
        self.is_stream = False  # whether epochs are not passes over the loader

    def enter_stream(self, start: int = 0, place: Mapping[str, Any] | None = None) -> None:
        """Iterate over the passes as one stream, after its first ``start`` batches; ``place`` is of :meth:`place`."""
        given, length = start, operator.length_hint(self.loader)
        if place and place.get("pass"):
            passes, start = place["pass"] - 1, place["fetched"]
        else:
            passes, start = divmod(start, length) if length else (0, start)
        self.enter(passes + 1, start, place)  # whole passes need not be fetched again
        self.given, self.is_stream, self._stream = given, True, None

    def place(self, last_batch: Any) -> dict[str, Any]:
        """What a checkpoint inside an epoch notes of the loader, in addition to how many batches it gave."""
        state = self._source.state_dict() if self._has_own_state else None
        # One that was changed in place, or replaced by a handler, says nothing of what the loader gives.
        last = digest(last_batch) if (id(last_batch), versions(last_batch)) == self._last else None
        where = {"pass": self.epoch, "fetched": self._fetched} if self.is_stream else {}
        return {"last_batch": last, "world_size": world_size(), "state": state, **where}

    @property
    def _has_own_state(self) -> bool:
        methods = (getattr(self._source, name, None) for name in ("state_dict", "load_state_dict"))
        return all(map(callable, methods))

    @property
    def _source(self) -> Any:
        """The user's own loader, or the one that gives this rank's part of its batches."""
        return self.loader.loader if isinstance(self.loader, Shares) else self.loader

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]  # a loader without a length raises TypeError, as it should

    def __iter__(self) -> Iterator[Any]:
        if not self.is_stream:
            return self._pass()
        stream = None if self._stream is None else self._stream()
        if stream is None:  # Ignite asks once more after terminate_epoch()
            stream = self._passes_from()
            self._stream = weakref.ref(stream)  # a cycle would keep the loader's workers until it is collected
        return stream

    def _passes_from(self) -> Iterator[Any]:
        while True:
            yield from self._pass()
            self.epoch, self._passes, self._place = self.epoch + 1, 0, {}

    def _put_back_by(self, place: Mapping[str, Any]) -> Any:
        """The state by which the loader is put back, if it can be."""
        return place.get("state") if self._has_own_state else None

    def length(self) -> int | None:
        """Batches of the pass that comes next, if the loader knows: a sampler may have another number in each epoch."""
        self._prepared()
        return operator.length_hint(self.loader) or None

    def _prepared(self) -> list[Any]:
        """The loader's parts, told which epoch comes next."""
        if self._parts is None:
            self._parts = list(reachable([self.loader]))
            for part in self._parts:
                if callable(set_epoch := getattr(part, "set_epoch", None)):
                    set_epoch(self.epoch)
        return self._parts

    def _pass(self) -> Iterator[Any]:
        parts, self._parts = self._prepared(), None
        generators = self._generators(parts)
        self._seed(generators, "epoch", self._passes)
        for part in parts:
            if getattr(part, "persistent_workers", False):
                part._iterator = None  # drops the workers of the epoch before; torch has no public way to
        first = 0
        if (state := self._put_back_by(self._place)) is not None:
            self._source.load_state_dict(state)
            self._place = {}  # a further pass of the same epoch begins at the loader's start
            first = self.start
        uses_cuda = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
        if uses_cuda and any(getattr(part, "num_workers", 0) for part in parts):
            # A worker is a copy of this process. If its garbage collector meets memory of CUDA in objects that nobody
            # uses any more, e.g. of a run that has failed, it calls CUDA, which ends a copy.
            gc.collect()
        batches = iter(self.loader)
        sampled = sampled_ahead(self.loader, batches)
        for fetch in itertools.count(first):
            if sampled is not None and fetch < self.start - 1 and next(sampled, None) is not None:
                continue  # already used; its rows are drawn, and nothing is drawn when they are fetched
            # Not before the first one: with workers, a sampler has drawn by now from what "epoch" has seeded; without,
            # it does so in the first fetch, and is to draw the same.
            if fetch:
                self._seed(generators, "fetch", self._passes, fetch)
            try:
                batch = next(batches)
            except StopIteration:
                break
            if self.rank:  # what is drawn from now on differs from rank to rank
                self._seed({}, "fetch", self._passes, fetch, self.rank)
            if fetch >= self.start:
                self.given, self._fetched = self.given + 1, fetch + 1
                self._last = (id(batch), versions(batch))
                yield batch
            elif self.rank or fetch < self.start - 1:
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
        if self.at_end is not None and not self.is_stream:
            self.at_end(self.given)
        self._passes, self.start = self._passes + 1, max(0, self.start - fetch)

    def _has_changed(self, last_batch: Any) -> bool:
        if self._place.get("world_size", 1) != world_size():  # then this rank's part differs anyway
            return False
        return self._place.get("last_batch") not in (None, digest(last_batch))

    def _generators(self, parts: Iterable[Any]) -> dict[Any, tuple[int, ...]]:
        """The loader's own generators, each with what its key has in addition: the rank, if it must differ."""
        generators = [part for part in parts if is_generator(part)]
        if not self.rank or not isinstance(self.loader, Shares):
            return dict.fromkeys(generators, ())
        alike = {id(part) for part in reachable(self.loader.drawn_alike, but=self.loader.drawn_apart)}
        return {generator: () if id(generator) in alike else (self.rank,) for generator in generators}

    def _seed(self, generators: Mapping[Any, tuple[int, ...]], place: str, *position: int) -> None:
        """Seed the global generators, and others."""
        is_own = self.rank and isinstance(self.loader, Shares) and self.loader.is_distributed
        own = (self.rank,) if is_own else ()
        keys = {
            key: derive_seed(self.seed, f"{self.purpose} {place}", self.epoch, *position, *key)
            for key in {own, *generators.values()}
        }
        seed_generators(keys[own], self.device)
        for generator, key in generators.items():
            seed_generator(generator, keys[key])

"""Each rank's part of every batch: the batches of one process, shared between several ranks.

A loader's batch size means the batch that all ranks train on together, so that a run is the same run whatever the
world size. Nothing is dropped and nothing counts twice: parts differ by one sample at most. A batch of fewer than two
samples for each rank is not shared: all compute all of it, and count it once together. So no rank is without
a sample, nor with a single one, of which a batch norm could learn nothing.
"""

import hashlib
import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from ignite_recipes.exchange.ranks import all_equal
from ignite_recipes.loading.batches import digest, tensors_in
from ignite_recipes.loading.randomness import derive_seed, seed_generators

__all__ = ["Part", "Shares"]

logger = logging.getLogger(__name__)


class Part(NamedTuple):
    """How much of a batch a rank has: ``own`` of ``whole`` samples, and ``copies`` ranks have the same ones."""

    own: int
    whole: int
    copies: int = 1

    @property
    def share(self) -> float:
        """Which fraction of the batch the part counts for; those of all ranks add up to 1."""
        return self.own / (self.whole * self.copies)


class Shares:
    """Gives this rank its part of every batch of a loader.

    A ``DataLoader`` over a data set with indices fetches the samples of the part only. Of any other loader every
    rank makes the whole batch and takes its rows. One with torch's ``DistributedSampler`` is taken as it is: its
    batches are parts already.

    Args:
        loader: a ``DataLoader`` or any iterable of batches; the same on all ranks.
        rank: the rank of this process, from 0.
        world_size: how many ranks there are.

    Attributes:
        loader: what gives this rank's batches, or the whole ones.
        part: of the batch that was given last.

    Raises:
        ValueError: at the first batch that is not the same on all ranks, or has no single number of samples.
    """

    def __init__(self, loader: Iterable[Any], rank: int, world_size: int) -> None:
        self.rank, self.world_size = rank, world_size
        self.part = Part(0, 1)
        self._noted: deque[tuple[Part, Any]] = deque()  # of batches that workers are at
        self.is_distributed = _is_distributed(loader)
        self._by_index = not self.is_distributed and _has_batches_of_indices(loader)
        self._batch_size = _batch_size(loader)
        self.loader: Iterable[Any] = self._resharded(loader) if self._by_index else loader

    def __repr__(self) -> str:
        if self.is_distributed:
            return f"batches of {self._batch_size or 'some'} samples on each of {self.world_size} ranks"
        return f"batches of {self._batch_size or 'some'} samples that {self.world_size} ranks share"

    @property
    def drawn_alike(self) -> Iterable[Any]:
        """What must draw the same random numbers on all ranks: what says which samples are in a batch."""
        loader: Any = self.loader
        if self.is_distributed:
            return ()
        return (loader.batch_sampler, loader.generator) if self._by_index else (loader,)

    @property
    def drawn_apart(self) -> Iterable[Any]:
        """What must draw differently on each rank, even if a sampler refers to it: the data set, which augments."""
        loader: Any = self.loader
        return (loader.dataset,) if self._by_index else ()

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        self._noted.clear()
        return self._parts(iter(self.loader))  # now and not with the first batch: it may draw random numbers

    def _parts(self, batches: Iterator[Any]) -> Iterator[Any]:
        for n, batch in enumerate(batches):
            if self.is_distributed:  # torch's own sampler gives every rank equally many
                length = _length(batch)
                self.part = Part(length, length * self.world_size)
                yield batch
                continue
            if self._by_index:
                self.part, whole = self._noted.popleft()
            else:
                rows, self.part = part_of(range(_length(batch)), self.rank, self.world_size)
                whole = batch
            if n == 0:
                self._check_same(whole)
            yield batch if self._by_index else _rows(batch, torch.tensor(rows), self.part.whole)

    def _check_same(self, whole: Any) -> None:
        """Otherwise samples would be lost, and others count twice, without a word."""
        fingerprint = _digest_of_indices(whole) if self._by_index else digest(whole)
        if not all_equal(int(fingerprint[:15], 16)):
            raise ValueError(
                f"all {self.world_size} ranks must be given the same loader; each takes its part of every batch; "
                "got another first batch on each: give the run the same seed everywhere, keep generators in attributes "
                "of the loader, and do not split the data yourself, or by torch's DistributedSampler only"
            )

    def _resharded(self, loader: Any) -> DataLoader[Any]:
        sampler = _Parts(loader, self.rank, self.world_size, self._noted.append)
        return DataLoader(
            loader.dataset,
            batch_sampler=sampler,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=_ApartFromOthers(self.rank, loader.worker_init_fn),
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
        )


def part_of(batch: Sequence[Any], rank: int, world_size: int) -> tuple[Any, Part]:
    """A rank's part of a batch, all of one that is too small to be shared.

    >>> [part_of("abcde", rank, 2)[0] for rank in (0, 1)]
    ['ace', 'bd']
    >>> [part_of("abc", rank, 2)[1].share for rank in (0, 1)]
    [0.5, 0.5]
    """
    whole = len(batch)
    if whole < 2 * world_size:
        return batch, Part(whole, whole, world_size)
    own = batch[rank::world_size]
    return own, Part(len(own), whole)


def _digest_of_indices(indices: Sequence[Any]) -> str:
    """A fingerprint of what a sampler gives; of objects that may look different on each rank, only their number."""
    is_plain = all(isinstance(index, (int, str, tuple, Tensor, np.integer)) for index in indices)
    text = repr([*indices] if is_plain else len(indices))
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


class _Parts:
    """A batch sampler's batches, of each the part of one rank."""

    def __init__(self, loader: Any, rank: int, world_size: int, note: Callable[[tuple[Part, Any]], None]) -> None:
        self.batches, self.rank, self.world_size, self._note = loader.batch_sampler, rank, world_size, note
        self._has_workers = loader.num_workers > 0

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.batches:
            whole = batch if hasattr(batch, "__len__") and hasattr(batch, "__getitem__") else list(batch)
            own, part = part_of(whole, self.rank, self.world_size)
            self._note((part, whole))
            if self.rank and not self._has_workers:
                # The samples are fetched here and now: what is drawn for them is every rank's own. Workers do that
                # on their own, and a sampler that draws for the next batch must draw what it draws on the other ranks.
                seed_generators(derive_seed(torch.initial_seed(), "rank", self.rank))
            yield own


class _ApartFromOthers:
    """Seeds a loader's worker otherwise than the worker of the same number on another rank."""

    def __init__(self, rank: int, then: Callable[[int], None] | None) -> None:
        self.rank, self.then = rank, then

    def __call__(self, worker: int) -> None:
        if self.rank:
            seed_generators(derive_seed(torch.initial_seed(), "rank", self.rank))
        if self.then is not None:
            self.then(worker)


def _has_batches_of_indices(loader: Any) -> bool:
    is_torchs = type(loader) is DataLoader and loader.batch_sampler is not None
    return is_torchs and not isinstance(loader.dataset, IterableDataset)


def _batch_size(loader: Any) -> Any:
    """The batch size of a loader, or of the sampler of its batches; None if neither has one."""
    return getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)


def _is_distributed(loader: Any) -> bool:
    samplers = [getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None)]
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


def _length(batch: Any) -> int:
    lengths = {len(tensor) for tensor in tensors_in(batch) if tensor.dim() > 0}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "a batch that ranks share must hold tensors of one length, its number of samples; got "
            f"{sorted(lengths) or 'none'}: pass a DataLoader over a data set with indices, or one with a "
            "torch.utils.data.DistributedSampler"
        )
    return lengths.pop()


def _rows(batch: Any, indices: Tensor, length: int) -> Any:
    if len(indices) == length:
        return batch
    if isinstance(batch, Tensor):
        return batch[indices.to(batch.device)] if batch.dim() > 0 else batch
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_rows(item, indices, length) for item in batch))
    if isinstance(batch, np.ndarray) and batch.ndim and len(batch) == length:
        return batch[indices.numpy()]
    if isinstance(batch, (list, tuple)):
        if len(batch) == length and not any(True for _ in tensors_in(batch)):  # e.g. the samples' names
            return type(batch)(batch[index] for index in indices)
        return type(batch)(_rows(item, indices, length) for item in batch)
    if isinstance(batch, Mapping):
        return {name: _rows(item, indices, length) for name, item in batch.items()}
    return batch

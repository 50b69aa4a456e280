"""Each process' part of every batch: the batches of one process, shared out among several.

A loader's batch size means the batch that all processes train on together, so that a run is the same run whatever
their number. Nothing is dropped and nothing counts twice: parts differ by one sample at most, and where there are fewer
samples than processes, a process without one computes with another's, which then counts for nothing.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, IterableDataset

from ignite_recipes.batches import tensors_in
from ignite_recipes.randomness import derive_seed, seed_generators

__all__ = ["Shares", "shares_of"]

logger = logging.getLogger(__name__)


class Shares:
    """A loader's batches, of each the part of one process.

    Attributes:
        size: samples in the part that was given last, and in the whole batch that it is of.
    """

    def __init__(self, loader: Iterable[Any], number: int, processes: int) -> None:
        self.number, self.processes = number, processes
        self.size = (0, 0)
        self._sizes: deque[tuple[int, int]] = deque()  # of batches that workers are at
        self._is_sharded = _is_sharded(loader)
        self._by_index = not self._is_sharded and _has_batches_of_indices(loader)
        self.loader: Iterable[Any] = self._resharded(loader) if self._by_index else loader

    def __len__(self) -> int:
        return len(self.loader)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        self._sizes.clear()
        return self._parts(iter(self.loader))  # now and not with the first batch: it may draw random numbers

    def _parts(self, batches: Iterator[Any]) -> Iterator[Any]:
        for batch in batches:
            if self._by_index:
                self.size = self._sizes.popleft()
                yield batch
            elif self._is_sharded:  # torch's own sampler gives every process equally many
                n = _length(batch)
                self.size = (n, n * self.processes)
                yield batch
            else:
                n = _length(batch)
                indices, counted = part_of(range(n), self.number, self.processes)
                self.size = (counted, n)
                yield _rows(batch, torch.tensor(indices), n)

    def _resharded(self, loader: Any) -> DataLoader[Any]:
        sampler = _Parts(loader.batch_sampler, self.number, self.processes, self._sizes.append)
        return DataLoader(
            loader.dataset,
            batch_sampler=sampler,
            num_workers=loader.num_workers,
            collate_fn=loader.collate_fn,
            pin_memory=loader.pin_memory,
            timeout=loader.timeout,
            worker_init_fn=_ApartFromOthers(self.number, loader.worker_init_fn),
            multiprocessing_context=loader.multiprocessing_context,
            generator=loader.generator,
            prefetch_factor=loader.prefetch_factor,
        )


def shares_of(loader: Iterable[Any], number: int, processes: int) -> Shares:
    """What of a loader's batches process ``number`` of ``processes`` gets, and a line in the log that says so."""
    shares = Shares(loader, number, processes)
    size = getattr(loader, "batch_size", None) or getattr(getattr(loader, "batch_sampler", None), "batch_size", None)
    if shares._is_sharded:
        logger.info("%d processes train on %s samples each: their sampler is distributed", processes, size or "their")
    else:
        logger.info("%d processes share each batch of %s samples", processes, size or "all")
    return shares


def part_of(batch: Iterable[Any], number: int, processes: int) -> tuple[list[Any], int]:
    """A process' part of a batch, and how many of it count; of too small a batch something that does not.

    >>> [part_of("abcde", number, 2) for number in (0, 1)]
    [(['a', 'c', 'e'], 3), (['b', 'd'], 2)]
    >>> part_of("a", 1, 2)
    (['a'], 0)
    """
    items = list(batch)
    own = items[number::processes]
    return (own, len(own)) if own else (items[:1], 0)


class _Parts:
    """A batch sampler's batches, of each the part of one process."""

    def __init__(self, batches: Any, number: int, processes: int, note: Callable[[tuple[int, int]], None]) -> None:
        self.batches, self.number, self.processes, self._note = batches, number, processes, note

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[Any]]:
        for batch in self.batches:
            whole = list(batch)
            own, counted = part_of(whole, self.number, self.processes)
            self._note((counted, len(whole)))
            if self.number:  # the order is every process' own, what is drawn for its samples is not
                seed_generators(derive_seed(torch.initial_seed(), "process", self.number))
            yield own


class _ApartFromOthers:
    """Seeds a loader's worker otherwise than the worker of the same number in another process."""

    def __init__(self, number: int, then: Callable[[int], None] | None) -> None:
        self.number, self.then = number, then

    def __call__(self, worker: int) -> None:
        if self.number:
            seed_generators(derive_seed(torch.initial_seed(), "process", self.number))
        if self.then is not None:
            self.then(worker)


def _has_batches_of_indices(loader: Any) -> bool:
    is_torchs = type(loader) is DataLoader and loader.batch_sampler is not None
    return is_torchs and not isinstance(loader.dataset, IterableDataset)


def _is_sharded(loader: Any) -> bool:
    samplers = [getattr(loader, "sampler", None), getattr(getattr(loader, "batch_sampler", None), "sampler", None)]
    return any(isinstance(sampler, DistributedSampler) for sampler in samplers)


def _length(batch: Any) -> int:
    lengths = {len(tensor) for tensor in tensors_in(batch) if tensor.dim() > 0}
    if len(lengths) != 1 or lengths == {0}:
        raise ValueError(
            "a batch that processes share must hold tensors of one length, its number of samples; got "
            f"{sorted(lengths) or 'none'}: pass a DataLoader over a data set with indices, or one with a "
            "torch.utils.data.DistributedSampler"
        )
    return lengths.pop()


def _rows(batch: Any, indices: Tensor, length: int) -> Any:
    if isinstance(batch, Tensor):
        return batch[indices.to(batch.device)] if batch.dim() > 0 else batch
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):
        return type(batch)(*(_rows(item, indices, length) for item in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(_rows(item, indices, length) for item in batch)
    if isinstance(batch, Mapping):
        return {name: _rows(item, indices, length) for name, item in batch.items()}
    return batch

"""The steps of a run to come that nobody looks at one by one, and what they need."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.utils import _pytree

from ignite_recipes.engine.blocks import (
    AFTER_STEP,
    BEFORE_STEP,
    Outcome,
    batches_until_needed,
    needs_each_step,
)
from ignite_recipes.engine.describe import name_of
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.step_program import NotOneProgramError, parts_of_step
from ignite_recipes.engine.steps_taken import take_notice
from ignite_recipes.engine.window import Window
from ignite_recipes.loading.batches import count_samples, to_device
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import derive_seed, seed_torch
from ignite_recipes.programs.part import takes_blocks

if TYPE_CHECKING:
    from ignite_recipes.engine.step import TrainingStep
    from ignite_recipes.engine.trainer import TrainingEngine

__all__ = ["StepsAhead"]

MOST_BYTES = 2**26
"""The most bytes of batches that handlers are given as one."""

BYTES_AT_ONCE = 2**20
"""Bytes of batches that are fetched by one index: they stay in the processor's cache until they are used."""

_ALIGNMENT = 64  # bytes, of the memory that torch gives; libraries may sum in another order where it is less


class StepsAhead:
    """The steps of a run to come in the current epoch, but for its last one.

    A step is that of the optimizer, and has all batches of its window. The last one is computed by the run itself: its
    gradients are there for those who look at them at the epoch's end.

    Args:
        step: that can be a program.
        engine: that runs it, between two steps.

    Attributes:
        batches: the row numbers of the batches of these steps.
        window_length: batches of a step.
        num_samples: of each batch.
        shares_rows: whether a batch is a matter of its rows only, so that several can be fetched at once.
        example: the first batch, as the step takes it.
        parts: the handlers that are parts of the program.
        optimizer: its step as a function, once it is known.

    Raises:
        NotOneProgramError: if they cannot be computed in blocks; the message says why.
    """

    optimizer: Any

    def __init__(self, step: "TrainingStep", engine: "TrainingEngine") -> None:
        self.engine, self.step = engine, step
        self.state: Any = engine.state
        self.update = step.updates.first
        self.window_length = self.update.window.length
        self._check()
        self._schedules = [
            handler
            for handler in self._handlers(TrainEvents.OPTIMIZER_STEP_COMPLETED)
            if hasattr(handler, "looking_ahead")
        ]
        self.parts = {name: list(parts) for name, parts in parts_of_step(engine).items()}
        self.loader = self._loader()
        self.batches = self._batches()
        if not self.batches:  # the run ends with the next one
            return
        self._has_epochs = self.loader.say_epoch()
        self._bytes = 0
        self._look_at_batches(1)
        self.example = self.prepared(self.fetch(0))
        self.num_samples = self.step.batch_size(self.example)
        leaves = [leaf for leaf in _pytree.tree_leaves(self.example) if isinstance(leaf, Tensor)]
        self._bytes = sum(leaf.nbytes for leaf in leaves)
        is_by_rows = not self._has_epochs and self.step.prepare_batch is to_device
        self.shares_rows = is_by_rows and all(leaf.dim() and len(leaf) == len(self.batches[0]) for leaf in leaves)

    def _check(self) -> None:
        if self.step.device.type != "cpu":
            raise NotOneProgramError(f"there is no program of several steps for {self.step.device.type}")
        if self.update.window.is_open:
            raise NotOneProgramError("gradients of some batches wait for others")
        if self.step.batch_size is not count_samples:
            raise NotOneProgramError("the samples of a batch are counted by your own function")
        for event in BEFORE_STEP:
            for handler in self._handlers(event):
                if needs_each_step(handler):
                    raise NotOneProgramError(f"{name_of(handler)}, a handler of {event.name}, may change the batch")

    def _handlers(self, event: Any) -> list[Any]:
        return [entry[0] for entry in self.engine._event_handlers.get(event, ())]

    def _loader(self) -> KeyedLoader:
        loader = self.state.dataloader
        if not isinstance(loader, KeyedLoader):
            raise NotOneProgramError("there is no loader")
        return loader

    def _batches(self) -> list[Any]:
        """The row numbers of the batches of whole windows to come, but for the epoch's last one."""
        length, progress = self.state.epoch_length, self.engine.progress
        if length is None:
            raise NotOneProgramError("the length of an epoch is not known beforehand")
        if progress.given_length is not None:
            raise NotOneProgramError("an epoch is not a pass over the loader")
        rows = self.loader.rows()
        if rows is None:
            raise NotOneProgramError("the loader's batches cannot be fetched by row numbers that are known beforehand")
        last = min(length, len(rows)) - 1
        if self.state.max_iters is not None:
            last = min(last, self.state.max_iters - progress.epoch_start - 1)
        count = max(0, last - progress.position) // self.window_length * self.window_length
        return rows[progress.position : progress.position + count]

    # What a block needs.

    @property
    def num_left(self) -> int:
        """Steps that can be computed at once until the run must look at something."""
        at_once = 1 if self.window_length == 1 else 0  # inside a window handlers may look, too
        limits = [len(self.batches) // self.window_length]
        for event in AFTER_STEP:
            for handler in self._handlers(event):
                if needs_each_step(handler):
                    limits.append(at_once)
                elif (batches := batches_until_needed(handler, self.engine)) is not None:
                    limits.append(-(-batches // self.window_length))
        if not all(takes_blocks(part) for parts in self.parts.values() for part in parts):
            limits.append(at_once)
        return min(limits)

    def fetch(self, k: int) -> Any:
        """The batch that comes after ``k`` others."""
        self.loader.say_epoch()
        return self.fetch_rows(self.batches[k])

    def fetch_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> Any:
        """A batch of these rows, as the loader would give it."""
        loader: Any = self.loader.loader
        return loader.collate_fn(loader.dataset.__getitems__(rows))

    def prepared(self, batch: Any) -> Any:
        """The batch as the step takes it."""
        return self.step.prepare_batch(batch, self.step.device, True)

    def prepared_batches(self, count: int) -> Iterator[Any]:
        """The next ``count`` batches as the step takes them.

        Many of them are fetched by one index where each is the same tensor then, with its memory aligned as usual.
        """
        at_once, size = self.batches_at_once(), len(self.batches[0])
        for first in range(0, count, at_once):
            rows = self.batches[first : min(first + at_once, count)]
            if len(rows) == 1 or any(len(batch) != size for batch in rows):
                yield from (self.prepared(self.fetch_rows(batch)) for batch in rows)
                continue
            leaves, structure = _pytree.tree_flatten(self.prepared(self.fetch_rows(np.concatenate(rows))))
            for batch in zip(*(leaf.split(size) for leaf in leaves), strict=True):
                yield _pytree.tree_unflatten(batch, structure)

    def batches_at_once(self, runs: int = 1) -> int:
        """How many batches of so many runs are fetched by one index."""
        leaves = _pytree.tree_leaves(self.example)
        can_be_divided = self.shares_rows and all(
            type(leaf) is Tensor and leaf.is_contiguous() and leaf.nbytes % _ALIGNMENT == 0 for leaf in leaves
        )
        return max(1, BYTES_AT_ONCE // max(1, runs * self._bytes)) if can_be_divided else 1

    def look_at_batches(self, count: int) -> None:
        """Let handlers check the batches of so many steps, all at once."""
        self._look_at_batches(count * self.window_length)

    def _look_at_batches(self, count: int) -> None:
        entries = [entry for event in BEFORE_STEP for entry in self.engine._event_handlers.get(event, ())]
        if not entries:
            return
        self.loader.say_epoch()
        at_once = max(1, MOST_BYTES // max(1, self._bytes))
        for first in range(0, count, at_once):
            self._look_at(range(first, min(first + at_once, count)), entries)

    def _look_at(self, numbers: range, entries: Sequence[Any]) -> None:
        """Let handlers look at some batches as one."""
        before = self.state.iteration
        self.state.iteration += numbers[0] + 1
        self.state.batch = self.fetch_rows([row for k in numbers for row in self.batches[k]])
        try:
            for entry in entries:
                self.engine._call(entry)
        except ValueError:  # of which batch, it says where it has only one
            for k in numbers:
                self.state.iteration, self.state.batch = before + k + 1, self.fetch(k)
                for entry in entries:
                    self.engine._call(entry)
            raise
        finally:
            self.state.iteration, self.state.batch = before, None

    def numbers(self, count: int, known: dict[Any, list[list[float]]] | None = None) -> list[list[float]]:
        """What the host knows of each batch of the steps to come, if all of them are taken.

        Args:
            count: the number of steps.
            known: the optimizer's numbers of other runs, by what they depend on.
        """
        length, window = self.window_length, Window(self.window_length)
        of_batches = [part.numbers_ahead(count * length) for part in self.parts["inputs"]]
        of_steps = [part.numbers_ahead(count) for place in ("gradients", "after") for part in self.parts[place]]
        of_optimizer = self._optimizer_numbers(count, {} if known is None else known)
        if length == 1 and not any(part[0] for part in (*of_batches, *of_steps)):
            return of_optimizer
        weights = [[window.weigh(self.num_samples), window.weight] if length > 1 else [] for _ in range(length)]
        found = []
        for k in range(count * length):
            step, place = divmod(k, length)
            takes_step = place + 1 == length
            row = [*weights[place], *(of_optimizer[step] if takes_step else ())]
            row += [number for part in of_batches for number in part[k]]
            row += [number for part in (of_steps if takes_step else ()) for number in part[step]]
            found.append(row)
        return found

    def _optimizer_numbers(self, count: int, known: dict[Any, list[list[float]]]) -> list[list[float]]:
        if self._schedules and count > 1:
            with ExitStack() as stack:
                for schedule in self._schedules:
                    stack.enter_context(schedule.looking_ahead())
                found = []
                for k in range(count):
                    found.append(self.optimizer.numbers(k))
                    for schedule in self._schedules:
                        schedule.step()
            return found
        key = self.optimizer.settings()
        if key not in known:
            known[key] = [self.optimizer.numbers(k) for k in range(count)]
        return known[key]

    def seed(self, k: int, place: str | None) -> None:
        """Let torch's generators draw what belongs to a place in a batch to come; None is the update's.

        Args:
            k: how many batches come before it.
            place: of :class:`~ignite_recipes.engine.step.TrainingStep`.
        """
        place = self.update.place if place is None else place
        iteration = self.state.iteration + 1 + k
        if self.state.seed is not None:
            seed_torch(derive_seed(self.state.seed, place, iteration, *self.step.exchange.key), self.step.device)

    def leave(self) -> None:
        """Let the run itself fetch and compute the rest of its epoch."""
        progress = self.engine.progress
        self.loader.enter(self.state.epoch, progress.position, None)
        self.engine._init_iter = progress.position
        self.engine._dataloader_iter = iter(self.loader)

    def apply(self, outcome: Outcome) -> None:
        """Let the run's handlers take notice of the steps; then raise what has ended the block.

        Of steps after one that was dropped nothing is known; they are computed again in the next block.
        """
        if outcome.count:
            take_notice(self, outcome)
        if outcome.error is not None:
            raise outcome.error

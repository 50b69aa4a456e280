"""Means over samples of what a run measures, kept on the device and read once."""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

from ignite_recipes.metrics.statistics import exact_dtype

__all__ = ["SampleMeans", "StepBuffer"]

Fold = Callable[[Tensor, Tensor], None]


class StepBuffer:
    """Rows of 0-d tensors, one row a step, handed to ``fold`` in blocks of 128.

    Appending to a list costs under a microsecond and never makes the host wait, where adding each number
    to a running sum costs a small kernel, 7 microseconds, per number and step.

    Args:
        fold: called with ``values`` (N, K) and ``weights`` (N,), float64 (float32 where the device has none).

    >>> total = []
    >>> buffer = StepBuffer(lambda values, weights: total.append((values.sum(1) * weights).sum().item()))
    >>> buffer.add([torch.tensor(2.0)], weight=3)
    >>> buffer.flush()
    >>> total
    [6.0]
    """

    BLOCK = 128

    def __init__(self, fold: Fold) -> None:
        self.fold = fold
        self.rows: list[Sequence[Tensor]] = []
        self.weights: list[float] = []

    def add(self, row: Sequence[Tensor], weight: float = 1.0) -> None:
        """Append one step's numbers, 0-d tensors on one device."""
        self.rows.append(row)
        self.weights.append(weight)
        if len(self.rows) == 2 * self.BLOCK:  # the newest block can still be taken back
            self._fold_first()

    def add_block(self, rows: Tensor, weight: float = 1.0) -> None:
        """Append those of several steps, (N, K), all of one weight; sums are to the last bit those of N rows."""
        for k in range(len(rows)):
            self.add(_RowOf(rows, k), weight)

    def flush(self) -> None:
        """Fold what is there; before reading a result."""
        while self.rows:
            self._fold_first()

    def drop_last(self) -> float:
        """Take back the newest row, a block of them at most; its weight, 0 if there is none."""
        if not self.rows:
            return 0.0
        self.rows.pop()
        return self.weights.pop()

    def _fold_first(self) -> None:
        """Fold the oldest block."""
        values = self._stacked(self.rows[: self.BLOCK])
        # Filled on the device: copying a list there would make the host wait.
        runs = [(weight, len(list(group))) for weight, group in groupby(self.weights[: self.BLOCK])]
        weights = torch.cat([values.new_full((length,), weight) for weight, length in runs])
        self.rows, self.weights = self.rows[self.BLOCK :], self.weights[self.BLOCK :]
        self.fold(values, weights)

    def clear(self) -> None:
        """Forget what has not been folded."""
        self.rows, self.weights = [], []

    @staticmethod
    def _stacked(rows: list[Sequence[Tensor]]) -> Tensor:
        newest = rows[-1][0]  # rows of a run that was resumed come from the host
        device, exact = newest.device, exact_dtype(newest)
        blocks = []
        for _, group in groupby(rows, _RowOf.block_of):
            block = list(group)
            if isinstance(first := block[0], _RowOf):
                blocks.append(first.block[first.k : first.k + len(block)].to(device).to(exact))
            else:
                columns = [torch.stack([row[k].to(device) for row in block]).to(exact) for k in range(len(first))]
                blocks.append(torch.stack(columns, dim=1))
        return blocks[0] if len(blocks) == 1 else torch.cat(blocks)

    def state_dict(self) -> dict[str, Any]:
        """The rows as they are. Folding them early would change the order of summation, hence the last bit."""
        return {"values": self._stacked(self.rows) if self.rows else None, "weights": list(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with the rows of :meth:`state_dict`."""
        values = state["values"]
        self.rows = [] if values is None else [tuple(row) for row in values]
        self.weights = list(state["weights"])


class _RowOf(Sequence[Tensor]):
    """A row of a block, which costs no tensor of its own."""

    __slots__ = ("block", "k")

    def __init__(self, block: Tensor, k: int) -> None:
        self.block, self.k = block, k

    def __getitem__(self, place: Any) -> Any:
        return self.block[self.k, place]

    def __len__(self) -> int:
        return self.block.shape[1]

    @staticmethod
    def block_of(row: Sequence[Tensor]) -> int | None:
        """Which block a row is of; None of one by itself."""
        return id(row.block) if isinstance(row, _RowOf) else None


class SampleMeans:
    """Sample-weighted means of named numbers: ``sum(n_i * x_i) / sum(n_i)`` with n_i samples in batch i.

    The sums are over the batches that have the number: a loss term may be computed for some of them only. Summed in
    float64 on the device; only :meth:`read` makes the host wait.

    Args:
        skip_nonfinite: leave batches out of which a number is not finite.

    Attributes:
        num_batches, num_samples: added so far.

    >>> means = SampleMeans()
    >>> means.add({"loss": torch.tensor(0.0)}, 3)
    >>> means.add({"loss": torch.tensor(4.0), "penalty": torch.tensor(2.0)}, 1)
    >>> means.read()
    {'loss': 1.0, 'penalty': 2.0}
    """

    def __init__(self, *, skip_nonfinite: bool = False) -> None:
        self.skip_nonfinite = skip_nonfinite
        self.num_batches = self.num_samples = 0
        self._sums: dict[tuple[str, ...], _Sums] = {}  # of the batches that have the same names
        self._order: list[tuple[str, ...]] = []  # the names of each batch

    def add(self, values: Mapping[str, Tensor | float], num_samples: int) -> None:
        """Take note of one batch's means: 0-d tensors."""
        names = tuple(values)
        if (sums := self._sums.get(names)) is None:
            sums = self._sums[names] = _Sums(self.skip_nonfinite)
        if names:
            sums.buffer.add([torch.as_tensor(values[name]) for name in names], num_samples)
        self._order.append(names)
        self.num_batches += 1
        self.num_samples += num_samples

    def add_block(self, values: Mapping[str, Tensor], num_samples: int) -> None:
        """Take note of several batches of so many samples each: (N,) for each number."""
        names = tuple(values)
        if (sums := self._sums.get(names)) is None:
            sums = self._sums[names] = _Sums(self.skip_nonfinite)
        columns = [*values.values()]
        sums.buffer.add_block(torch.stack(columns, dim=1), num_samples)
        self._order += [names] * len(columns[0])
        self.num_batches += len(columns[0])
        self.num_samples += num_samples * len(columns[0])

    def keep_first(self, num_batches: int) -> None:
        """Take the newest batches back until so many are left."""
        for names in self._order[num_batches:]:
            self.num_samples -= int(self._sums[names].buffer.drop_last())
        self._order = self._order[:num_batches]
        self.num_batches = len(self._order)

    def clear(self) -> None:
        """Begin again."""
        self._sums, self._order, self.num_batches, self.num_samples = {}, [], 0, 0

    def read(self) -> dict[str, float]:
        """The means; NaN where every batch was left out, nothing where there was none."""
        totals: dict[str, float] = {}
        counts: dict[str, float] = {}
        for names, sums in self._sums.items():
            *of_names, count = sums.read() or [0.0]
            for name, total in zip(names, of_names, strict=False):
                totals[name] = totals.get(name, 0.0) + total
                counts[name] = counts.get(name, 0.0) + count
        # To 14 digits, twice what float32 holds: as many right answers, differently spread over the
        # batches, are the same accuracy then, and no improvement on it.
        return {
            name: float(f"{total / counts[name] if counts[name] else math.nan:.14g}") for name, total in totals.items()
        }

    def state_dict(self) -> dict[str, Any]:
        """The sums and the batches not summed yet, for each set of names, and which of them each batch has."""
        number = {names: k for k, names in enumerate(self._sums)}
        return {
            "names": [list(names) for names in self._sums],
            "sums": [sums.state_dict() for sums in self._sums.values()],
            "order": torch.tensor([number[names] for names in self._order], dtype=torch.int16),
            "samples": self.num_samples,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the batches that were saved."""
        self._sums = {tuple(names): _Sums(self.skip_nonfinite) for names in state["names"]}
        for sums, saved in zip(self._sums.values(), state["sums"], strict=True):
            sums.load_state_dict(saved)
        names = list(self._sums)
        self._order = [names[number] for number in state["order"].tolist()]
        self.num_batches, self.num_samples = len(self._order), state["samples"]


class _Sums:
    """Weighted sums of rows of the same names, then the sum of the weights."""

    def __init__(self, skip_nonfinite: bool) -> None:
        self.skip_nonfinite = skip_nonfinite
        self.buffer = StepBuffer(self._fold)
        self._totals: Tensor | None = None  # (K + 1,)

    def read(self) -> list[float]:
        """The sums; nothing where there was no batch."""
        self.buffer.flush()
        return [] if self._totals is None else self._totals.tolist()

    def _fold(self, values: Tensor, weights: Tensor) -> None:
        weighted = values * weights[:, None]
        if self.skip_nonfinite:
            finite = values.isfinite().all(1)
            weighted, weights = weighted.where(finite[:, None], 0), weights.where(finite, 0)
        block = torch.cat([weighted.sum(0), weights.sum()[None]])
        self._totals = block if self._totals is None else self._totals.to(block.device) + block

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self._totals, "buffer": self.buffer.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._totals = state["totals"]
        self.buffer.load_state_dict(state["buffer"])

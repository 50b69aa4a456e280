"""Keep a few numbers of every step on the device and look at many of them at once."""

from collections.abc import Callable, Sequence
from itertools import groupby
from typing import Any

import torch
from torch import Tensor

__all__ = ["StepBuffer"]

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

    def flush(self) -> None:
        """Fold what is there; before reading a result."""
        while self.rows:
            self._fold_first()

    def drop_last(self, count: int) -> None:
        """Take back the newest rows, a block of them at most."""
        keep = len(self.rows) - count
        self.rows, self.weights = self.rows[:keep], self.weights[:keep]

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
        device = rows[-1][0].device  # rows of a run that was resumed come from the host
        exact = torch.float32 if device.type == "mps" else torch.float64
        columns = [torch.stack([row[k].to(device) for row in rows]).to(exact) for k in range(len(rows[0]))]
        return torch.stack(columns, dim=1)

    def state_dict(self) -> dict[str, Any]:
        """The rows as they are. Folding them early would change the order of summation, hence the last bit."""
        return {"values": self._stacked(self.rows) if self.rows else None, "weights": list(self.weights)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the rows of :meth:`state_dict`."""
        values = state["values"]
        self.rows = [] if values is None else [tuple(row) for row in values]
        self.weights = list(state["weights"])

"""Numbers on their way from an accelerator to the host, which asks for each when it has long arrived."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["LateFlags"]


class LateFlags:
    """Small whole numbers that a device has computed, each with the place that it is of, in their order.

    They leave the device in groups: a copy and an event cost as much as a dozen kernels.

    Args:
        values: of :meth:`values`.

    >>> flags = LateFlags()
    >>> flags.send(("update", 1, 7), torch.tensor(2.0))
    >>> flags.values(), flags.receive(), len(flags)
    ([('update', 1, 7, 2)], (('update', 1, 7), 2), 0)
    """

    GROUP = 4

    def __init__(self, values: Iterable[Sequence[Any]] = ()) -> None:
        self._sent: deque[tuple[tuple[Any, ...], _Group, int]] = deque()  # the place, and where its number is
        self._waiting: list[tuple[tuple[Any, ...], Tensor]] = []  # on the device
        for *place, value in values:
            self._sent.append((tuple(place), _Group(torch.tensor([float(value)])), 0))

    def __len__(self) -> int:
        return len(self._sent) + len(self._waiting)

    def send(self, place: tuple[Any, ...], flag: Tensor) -> None:
        """Copy a 0-d tensor to the host without waiting."""
        self._waiting.append((place, flag))
        if len(self._waiting) == self.GROUP:
            self._send_group()

    def _send_group(self) -> None:
        group = _Group(torch.stack([flag for _, flag in self._waiting]))
        self._sent.extend((place, group, k) for k, (place, _) in enumerate(self._waiting))
        self._waiting = []

    def receive(self) -> tuple[tuple[Any, ...], int]:
        """The oldest one, and its place."""
        if not self._sent:
            self._send_group()
        place, group, k = self._sent.popleft()
        return place, group.values()[k]

    def values(self) -> list[tuple[Any, ...]]:
        """All of them, with the number after the place; waits for those that have not arrived."""
        if self._waiting:
            self._send_group()
        return [(*place, group.values()[k]) for place, group, k in self._sent]


class _Group:
    """Numbers that were sent together."""

    def __init__(self, numbers: Tensor) -> None:
        self._values: list[int] = []
        self._on_host: Tensor | None = numbers
        self._arrived: Any = None
        if numbers.device.type != "cpu":
            self._on_host = torch.empty(numbers.shape, pin_memory=True).copy_(numbers, non_blocking=True)
            self._arrived = torch.Event(numbers.device)
            self._arrived.record()

    def values(self) -> list[int]:
        """Waits until they have arrived."""
        if self._on_host is not None:
            if self._arrived is not None:
                self._arrived.synchronize()
            self._values, self._on_host = [int(value) for value in self._on_host], None
        return self._values

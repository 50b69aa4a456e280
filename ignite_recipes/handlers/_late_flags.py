"""Numbers on their way from an accelerator to the host, which asks for each when it has long arrived."""

from collections import deque
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["LateFlags"]


class LateFlags:
    """Small whole numbers that a device has computed, each with the place that it is of, in their order.

    Args:
        values: of :meth:`values`.

    >>> flags = LateFlags()
    >>> flags.send(("update", 1, 7), torch.tensor(2.0))
    >>> flags.values(), flags.receive(), len(flags)
    ([('update', 1, 7, 2)], (('update', 1, 7), 2), 0)
    """

    def __init__(self, values: Iterable[Sequence[Any]] = ()) -> None:
        # The place, the number, and the event that says it has arrived.
        self._sent: deque[tuple[tuple[Any, ...], Tensor, Any]] = deque()
        for *place, value in values:
            self._sent.append((tuple(place), torch.tensor(float(value)), None))

    def __len__(self) -> int:
        return len(self._sent)

    def send(self, place: tuple[Any, ...], flag: Tensor) -> None:
        """Let a 0-d tensor come to the host; nobody waits."""
        arrived = None
        if flag.device.type != "cpu":
            on_host = torch.empty((), pin_memory=True).copy_(flag, non_blocking=True)
            arrived = torch.Event(flag.device)
            arrived.record()
            flag = on_host
        self._sent.append((place, flag, arrived))

    def receive(self) -> tuple[tuple[Any, ...], int]:
        """The oldest one, and its place."""
        place, flag, arrived = self._sent.popleft()
        return place, _value(flag, arrived)

    def values(self) -> list[tuple[Any, ...]]:
        """All of them, with the number after the place; waits for those that have not arrived."""
        return [(*place, _value(flag, arrived)) for place, flag, arrived in self._sent]


def _value(flag: Tensor, arrived: Any) -> int:
    if arrived is not None:
        arrived.synchronize()
    return int(flag)

"""How many runs one call of a program computes: so many that it is fastest."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["Portions"]

T = TypeVar("T")

_CALLS = 4  # of each number of runs; the fastest counts
_LONG = 0.1  # seconds of a call, of which one is enough
_GAIN = 0.95  # of a run's time, with which twice as many runs are worth it


class Portions:
    """Divides runs into portions, each of which is computed by one call.

    A call costs some time however many runs it computes. But the tensors of many runs do not fit into the processor's
    cache together, and then each operation waits for the memory. Which of the two matters more is measured, with 2, 4,
    8, ... runs, until twice as many are hardly faster for each.

    Args:
        prepare: ``prepare(count)`` gives a function that computes one step of so many runs.

    >>> seconds = {2: 0.02, 4: 0.02, 8: 0.2}
    >>> portions = Portions(lambda count: lambda: time.sleep(seconds[count]))
    >>> [len(portion) for portion in portions.of(range(9))]
    [4, 5]
    """

    def __init__(self, prepare: Callable[[int], Callable[[], object]]) -> None:
        self._prepare = prepare
        self._seconds: dict[int, float] = {}  # of a run, by the number of runs

    def of(self, runs: Sequence[T]) -> list[Sequence[T]]:
        """The portions of these runs, about equal; none has one run only, if there are others."""
        count = len(runs)
        if not count:
            return []
        number = count // self._size(count)
        ends = [count * k // number for k in range(number + 1)]
        return [runs[ends[k] : ends[k + 1]] for k in range(number)]

    def _size(self, count: int) -> int:
        """The number of runs with which a run takes the least time."""
        if count < 4:  # there is nothing to divide
            return count
        size = best = 2
        while size <= count:
            if size not in self._seconds:
                self._seconds[size] = self._measured(size)
            if size > best and self._seconds[size] > _GAIN * self._seconds[best]:
                return best
            size, best = 2 * size, size
        return count

    def _measured(self, size: int) -> float:
        step, took = self._prepare(size), list[float]()
        while len(took) < _CALLS and not (took and min(took) > _LONG):
            began = time.perf_counter()
            step()
            took.append(time.perf_counter() - began)
        return min(took) / size

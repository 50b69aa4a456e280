"""How many runs the memory has room for, found out with the first of them."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["Room"]

logger = logging.getLogger(__name__)

SHARE = 0.8
"""The part of the memory that is free before the first run; the rest is for what runs need for a short time."""

_UNKNOWN = 10**9


class Room:
    """Memory for runs: how many can be under way at once.

    The first run shows what one needs: how much the process has grown when that run stands before its first step, with
    its data, its model and its optimizer. On the CPU only; where the system says nothing, all runs fit.

    Args:
        free: bytes; None asks the system.
        used: gives the bytes that the process uses; None asks the system.

    >>> sizes = iter([100, 150])
    >>> room = Room(free=1000, used=lambda: next(sizes))
    >>> room.runs(begun=0), room.runs(begun=1)
    (1, 16)
    """

    def __init__(self, free: int | None = None, used: Callable[[], int] | None = None) -> None:
        self._used = _used if used is None else used
        self._free = _free() if free is None else free
        self._before = self._used()
        self._most: int | None = None

    def runs(self, begun: int) -> int:
        """How many can be under way at once, when ``begun`` are."""
        if begun == 0 or self._free is None:
            return 1 if self._free is not None else _UNKNOWN
        if self._most is None:
            needed = max(1, (self._used() - self._before) // begun)
            self._most = max(1, int(SHARE * self._free) // needed)
            if self._most < 10_000:
                logger.debug("a run needs %.1f MB: there is room for %d", needed / 1e6, self._most)
        return self._most


def _used() -> int:
    """Bytes of memory that the process has in use; 0 where the system does not say."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def _free() -> int | None:
    """Bytes that the process can still take, by the system and by its control group; None if they do not report it."""
    found = []
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    except (OSError, ValueError, IndexError):
        pass
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        if limit != "max":
            found.append(int(limit) - int(Path("/sys/fs/cgroup/memory.current").read_text()))
    except (OSError, ValueError):
        pass
    return min(found, default=None) if found else None

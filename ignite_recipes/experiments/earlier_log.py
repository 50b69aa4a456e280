"""What the package logs before there is an experiment to keep it: how the data were read."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from ignite_recipes.turns import current_run

__all__ = ["kept_log"]

_package_logger = logging.getLogger("ignite_recipes")


class _Keeper(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []
        self._run = current_run()

    def emit(self, record: logging.LogRecord) -> None:
        if current_run() is self._run:  # of several that take turns
            self.records.append(record)


@contextmanager
def kept_log() -> Iterator[list[logging.LogRecord]]:
    """Keep what is logged in the block, for an experiment's ``run.log``; it is printed as usual where it is printed.

    >>> with kept_log() as records:
    ...     logging.getLogger("ignite_recipes.data").error("a line")
    >>> [record.getMessage() for record in records]
    ['a line']
    """
    keeper = _Keeper()
    _package_logger.addHandler(keeper)
    try:
        yield keeper.records
    finally:
        _package_logger.removeHandler(keeper)

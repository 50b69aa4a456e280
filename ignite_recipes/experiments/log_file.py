"""The file of a run's metrics, ``training_log.csv``: what is in it, and how it is read."""

import csv
import math
import os
from pathlib import Path

__all__ = ["CLOCK_COLUMNS", "read_training_log", "whole_lines"]

CLOCK_COLUMNS = ("seconds", "batches_per_second", "finished_at")
"""Columns that a second run of the same training has otherwise."""


def whole_lines(path: Path) -> list[str]:
    """The lines that were written to their end; none if there is no file."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def read_training_log(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    r"""The columns of a log, without the time of day, as they are now; also during the run.

    Half a row, which a kill can leave, is passed over; a cell that is empty is NaN.

    Returns:
        ``epoch`` and every metric, a number an epoch; empty if there is no row.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is no log of this library.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "training_log.csv")
    ...     _ = path.write_text("epoch,train_loss,val_loss\n1,0.5,0.6\n2,0.25,0.4\n3,0.1")
    ...     read_training_log(path)
    {'epoch': [1, 2], 'train_loss': [0.5, 0.25], 'val_loss': [0.6, 0.4]}
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no training log at {os.fspath(path)!r}: check the path, or train first")
    header, *rows = list(csv.reader(whole_lines(Path(path)))) or [[]]
    if header and header[0] != "epoch":
        raise ValueError(f"{os.fspath(path)!r} must be a log with a column epoch; its first line is {','.join(header)}")
    names = [name for name in header if name != "finished_at"]
    try:
        columns = {name: [float(row[k]) if row[k] else math.nan for row in rows] for k, name in enumerate(names)}
        return {name: [int(n) for n in values] if name == "epoch" else values for name, values in columns.items()}
    except (ValueError, IndexError) as error:
        raise ValueError(f"{os.fspath(path)!r} must hold a number in every cell; it is damaged ({error})") from error

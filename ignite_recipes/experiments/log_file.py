"""The file of a run's metrics, ``training_log.csv``: what is in it, and how it is read."""

import csv
import math
import os
from pathlib import Path
from typing import NamedTuple

__all__ = ["CLOCK_COLUMNS", "LogLine", "read_training_log", "whole_lines"]

CLOCK_COLUMNS = ("seconds", "batches_per_second", "finished_at")
"""Columns that a second run of the same training has otherwise."""


class LogLine(NamedTuple):
    """A line of a log.

    Attributes:
        number: the number of the line in the file, from 1.
        text: without its end.
        end: bytes from the beginning of the file to the end of the line and of the comments that follow it.
    """

    number: int
    text: str
    end: int


def whole_lines(path: Path) -> list[LogLine]:
    """The lines that were written to their end, without comments and empty ones; none if there is no file."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    found: list[LogLine] = []
    end = 0
    for number, line in enumerate(lines, start=1):
        if not line.endswith((b"\n", b"\r")):
            break
        end += len(line)
        text = line.decode(errors="replace").lstrip("\ufeff").rstrip("\r\n")
        if text.strip(" \t,") and not text.lstrip().startswith("#"):
            found.append(LogLine(number, text, end))
        elif found:
            found[-1] = found[-1]._replace(end=end)
    return found


def read_training_log(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    r"""The columns of a log, without the time of day, as they are now; also during the run.

    Half a row at its end, which a kill can leave, is ignored, and so are empty lines and comments, which begin with
    ``#``. An empty cell is NaN.

    Returns:
        ``epoch`` and every metric, a number for each epoch; empty if there is no row.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is not a log of this library, or a line of it is damaged; the message names the line.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "training_log.csv")
    ...     _ = path.write_text("epoch,train_loss,val_loss\n1,0.5,0.6\n2,0.25,0.4\n3,0.1")
    ...     read_training_log(path)
    {'epoch': [1, 2], 'train_loss': [0.5, 0.25], 'val_loss': [0.6, 0.4]}
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no training log at {os.fspath(path)!r}: check the path, or train first")
    lines = whole_lines(Path(path))
    try:
        rows = [(line.number, next(csv.reader([line.text]))) for line in lines]
    except csv.Error as error:
        raise ValueError(f"{os.fspath(path)!r} must be a log of a training, a text with commas; {error}") from error
    header = rows[0][1] if rows else []
    if header and header[0] != "epoch":
        raise ValueError(
            f"{os.fspath(path)!r} must be a log, whose first line begins with epoch; it is {lines[0].text[:80]!r}: put "
            "that line back, or choose another file"
        )
    names = [name for name in header if name != "finished_at"]
    columns: dict[str, list[float]] = {name: [] for name in names}
    for number, row in rows[1:]:
        for k, name in enumerate(names):
            columns[name].append(_number(row, k, name, f"{os.fspath(path)!r} is damaged: line {number}"))
    return columns


def _number(row: list[str], k: int, name: str, line: str) -> float:
    remedy = "correct that line, or remove it"
    if k >= len(row):
        raise ValueError(f"{line} must have a cell for {name}; it has {len(row)} cells: {remedy}")
    try:
        value = float(row[k]) if row[k].strip() else math.nan
    except ValueError:
        raise ValueError(f"{line} must hold a number for {name}; got {row[k][:40]!r}: {remedy}") from None
    if name != "epoch":
        return value
    if not value.is_integer():
        raise ValueError(f"{line} must hold a whole number for epoch; got {row[k][:40]!r}: {remedy}")
    return int(value)

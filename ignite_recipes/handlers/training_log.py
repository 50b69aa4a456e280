"""Write an epoch's metrics as a row of a CSV file that can be read while the run goes on."""

import csv
import io
import math
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.distributed import process_number
from ignite_recipes.engine import TrainingEngine
from ignite_recipes.handlers.metric import decision_event

__all__ = ["CLOCK_COLUMNS", "TrainingLog", "read_training_log"]

CLOCK_COLUMNS = ("seconds", "batches_per_second", "finished_at")
"""Columns that a second run of the same training has otherwise."""


class TrainingLog:
    """Append a row to a CSV file at the end of every epoch: its number, its metrics, its time and speed.

    Numbers are written with all their digits. The columns are the metrics of the first epoch that is written,
    then ``seconds`` (of the training part of the epoch, without validation and saving),
    ``batches_per_second`` and ``finished_at`` (local time, ISO 8601); what is not known stays empty.

    A run that begins anew replaces the file. One that is resumed removes, before its first row, what a kill
    has left behind the epoch that it resumes from: rows of epochs that are to be trained again, or half a row.

    Runs:   trainer; EPOCH_STARTED, METRICS_READY (another Engine: EPOCH_COMPLETED, after what computes the
            metrics).
    Reads:  ``state.metrics``.
    Writes: the file; flushed to the disk, so that the log is never behind a checkpoint.
    Keeps:  nothing; the file itself is the record.

    Args:
        path: of the file; its folder is made if missing.

    >>> from tempfile import TemporaryDirectory
    >>> trainer = Engine(lambda engine, batch: None)
    >>> trainer.state.metrics["loss"] = 0.5
    >>> with TemporaryDirectory() as folder:
    ...     log = TrainingLog(Path(folder, "training_log.csv")).attach(trainer)
    ...     _ = trainer.run([0], max_epochs=2)
    ...     read_training_log(log.path)["loss"]
    [0.5, 0.5]
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._columns: list[str] = []
        self._last_epoch: int | None = None  # the newest of our own rows
        self._first_batch = 0  # of the epoch at hand that was trained by this process

    def __repr__(self) -> str:
        return f"TrainingLog({self.path.name!r})"

    def attach(self, trainer: Engine) -> "TrainingLog":
        """Log the epochs of ``trainer``."""
        if process_number():  # the first one does it for all
            return self
        trainer.add_event_handler(Events.EPOCH_STARTED, self._begin)
        trainer.add_event_handler(decision_event(trainer), self)
        return self

    def _begin(self, trainer: Engine) -> None:
        self._first_batch = trainer.position if isinstance(trainer, TrainingEngine) else 0

    def __call__(self, trainer: Engine) -> None:
        """Write the row of the epoch that has just ended."""
        state: Any = trainer.state
        if self._last_epoch is None or state.epoch <= self._last_epoch:
            self._columns = self._keep_rows_before(state.epoch)
        metrics = {name: float(value) for name, value in state.metrics.items() if _is_number(value)}
        header = ""
        if not self._columns:
            self._columns = ["epoch", *metrics, *CLOCK_COLUMNS]
            header = _line(self._columns)
        row = {"epoch": state.epoch, **metrics, **self._clock(state)}
        self._last_epoch = None  # if the write fails, what it leaves behind is removed before the next one
        self._append(header + _line([row.get(name, "") for name in self._columns]))
        self._last_epoch = state.epoch

    def _clock(self, state: Any) -> dict[str, Any]:
        seconds = state.times.get(Events.EPOCH_COMPLETED.name)
        known: dict[str, Any] = {"finished_at": datetime.now().astimezone().isoformat(timespec="seconds")}
        if seconds and not self._first_batch:  # part of an epoch says nothing of the whole
            known |= {"seconds": round(seconds, 4), "batches_per_second": round(state.epoch_length / seconds, 2)}
        return known

    def _append(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _keep_rows_before(self, epoch: int) -> list[str]:
        """Cut the file behind its last whole row of an earlier epoch; its columns."""
        header, *rows = _whole_lines(self.path) or [""]
        kept = []
        for row in rows:
            number = row.split(",", 1)[0]
            if not number.isdigit() or int(number) >= epoch:
                break
            kept.append(row)
        if not kept:
            self.path.unlink(missing_ok=True)
            return []
        with open(self.path, "r+b") as file:
            file.truncate(len("".join([header, *kept]).encode()))
        return next(csv.reader([header]))


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _line(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(repr(cell) if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue()


def _whole_lines(path: Path) -> list[str]:
    """The lines that were written to their end; none if there is no file."""
    try:
        text = path.read_bytes().decode(errors="replace")
    except FileNotFoundError:
        return []
    return [line for line in text.splitlines(keepends=True) if line.endswith("\n")]


def read_training_log(path: str | os.PathLike[str]) -> dict[str, list[float]]:
    r"""The columns of a log, without the time of day, as they are now; also while the run goes on.

    Half a row, which a kill can leave behind, is passed over; a cell that is empty is NaN.

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
    header, *rows = list(csv.reader(_whole_lines(Path(path)))) or [[]]
    if header and header[0] != "epoch":
        raise ValueError(f"{os.fspath(path)!r} must be a log with a column epoch; its first line is {','.join(header)}")
    names = [name for name in header if name != "finished_at"]
    try:
        columns = {name: [float(row[k]) if row[k] else math.nan for row in rows] for k, name in enumerate(names)}
        return {name: [int(n) for n in values] if name == "epoch" else values for name, values in columns.items()}
    except (ValueError, IndexError) as error:
        raise ValueError(f"{os.fspath(path)!r} must hold a number in every cell; it is damaged ({error})") from error

"""Write an epoch's metrics as a row of a CSV file that can be read during the run."""

import csv
import io
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.exchange.ranks import rank
from ignite_recipes.experiments.log_file import CLOCK_COLUMNS, whole_lines
from ignite_recipes.files import replace_file
from ignite_recipes.handlers._host import host_of, training_host_of

__all__ = ["TrainingLog"]


class TrainingLog:
    """Append a row to a CSV file at the end of every epoch: its number, its metrics, its time and speed.

    Numbers are written with all their digits. The columns are the metrics of the first epoch that is written, and of
    later ones as they appear, then ``seconds`` (of the training part of the epoch, without validation and saving),
    ``batches_per_second`` and ``finished_at`` (local time, ISO 8601); unknown values stay empty.

    A run that is not resumed replaces the file. A resumed run removes, before its first row, the rows after the epoch
    from which it resumes: those of epochs that it trains again, or half a row that a kill has left. Comments, lines
    that begin with ``#``, stay where they are.

    Runs:   trainer; EPOCH_STARTED, METRICS_READY (another Engine: EPOCH_COMPLETED, after what computes the
            metrics).
    Reads:  ``state.metrics``.
    Writes: the file; flushed to the disk, so that no checkpoint is newer than the log.
    Keeps:  nothing; the file itself is the record.

    Args:
        path: the path of the file; its folder is made if missing.

    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import read_training_log
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
        self._first_batch = 0  # of the current epoch that was trained by this process

    def __repr__(self) -> str:
        return f"TrainingLog({self.path.name!r})"

    def attach(self, trainer: Engine) -> "TrainingLog":
        """Log the epochs of ``trainer``."""
        host = training_host_of(trainer, self)
        if rank() == 0:
            trainer.add_event_handler(Events.EPOCH_STARTED, self._begin)
            host.to_decide(self)
        return self

    def _begin(self, trainer: Engine) -> None:
        self._first_batch = host_of(trainer).batches_done

    def __call__(self, trainer: Engine) -> None:
        """Write the row of the epoch that has just ended."""
        state: Any = trainer.state
        if self._last_epoch is None or state.epoch <= self._last_epoch:
            self._columns = self._keep_rows_before(state.epoch)
        metrics = host_of(trainer).metrics.numbers()
        header = ""
        if not self._columns:
            self._columns = ["epoch", *metrics, *CLOCK_COLUMNS]
            header = _line(self._columns)
        elif later := [name for name in metrics if name not in self._columns]:
            self._add_columns(later)
        row = {"epoch": state.epoch, **metrics, **self._clock(state)}
        self._last_epoch = None  # if the write fails, what it leaves is removed before the next one
        self._append(header + _line([row.get(name, "") for name in self._columns]))
        self._last_epoch = state.epoch

    def _clock(self, state: Any) -> dict[str, Any]:
        seconds = state.times.get(Events.EPOCH_COMPLETED.name)
        known: dict[str, Any] = {"finished_at": datetime.now().astimezone().isoformat(timespec="seconds")}
        if seconds and state.epoch_length and not self._first_batch:  # part of an epoch says nothing of the whole
            known |= {"seconds": round(seconds, 4), "batches_per_second": round(state.epoch_length / seconds, 2)}
        return known

    def _append(self, text: str) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, "a", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())

    def _add_columns(self, names: list[str]) -> None:
        """For metrics that the first epoch did not measure: empty in the rows that are there."""
        place = next((k for k, name in enumerate(self._columns) if name in CLOCK_COLUMNS), len(self._columns))
        lines = self.path.read_bytes().splitlines(keepends=True)  # comments stay as they are
        for k, line in enumerate(whole_lines(self.path)):
            cells = next(csv.reader([line.text]))
            cells[place:place] = [""] * len(names) if k else names
            lines[line.number - 1] = _line(cells).encode()
        self._columns[place:place] = names
        replace_file(self.path, lambda file: file.writelines(lines))

    def _keep_rows_before(self, epoch: int) -> list[str]:
        """Cut the file after its last whole row of an earlier epoch; its columns."""
        lines = whole_lines(self.path)
        end = 0
        for row in lines[1:]:
            number = row.text.split(",", 1)[0].strip()
            if not number.isdigit() or int(number) >= epoch:
                break
            end = row.end
        if not end:
            self.path.unlink(missing_ok=True)
            return []
        with open(self.path, "r+b") as file:
            file.truncate(end)
        return next(csv.reader([lines[0].text]))


def _line(cells: list[Any]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(repr(cell) if isinstance(cell, float) else cell for cell in cells)
    return text.getvalue()

"""Write an epoch's metrics as TensorBoard events."""

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._host import host_of, training_host_of

__all__ = ["TensorBoardLog"]

_HEADER, _FOOTER = struct.Struct("<QI"), 4  # a record: length, checksum of the length, data, checksum of the data

_OURS = ".ignite-recipes"  # in the names of files that we may remove


class TensorBoardLog:
    """Write every metric as a scalar, ``train_loss`` as ``loss/train``, with the epoch as its step.

    A resumed run removes the events of epochs that it trains again, so that no step is in the files twice. A run that
    is not resumed removes the events of an earlier run in its folder.

    Runs:   trainer; METRICS_READY (another Engine: EPOCH_COMPLETED, after what computes the metrics);
            COMPLETED to close the file.
    Reads:  ``state.metrics``; only numbers are written, and one warning names the others.
    Writes: ``events.out.tfevents.*`` in its folder, with tensorboardX, in the trainer's own thread.
    Keeps:  nothing; the files are the record.

    Args:
        folder: made if missing.

    >>> from tempfile import TemporaryDirectory
    >>> trainer = Engine(lambda engine, batch: None)
    >>> trainer.state.metrics["train_loss"] = 0.5
    >>> with TemporaryDirectory() as folder:
    ...     _ = TensorBoardLog(folder).attach(trainer)
    ...     _ = trainer.run([0], max_epochs=2)
    ...     len(list(Path(folder).iterdir()))
    1
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._writer: Any = None
        self._last_epoch: int | None = None

    def __repr__(self) -> str:
        return "TensorBoardLog()"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_writer": None, "_last_epoch": None}  # a copy opens a file of its own

    def attach(self, trainer: Engine) -> "TensorBoardLog":
        """Log the epochs of ``trainer``."""
        host = training_host_of(trainer, self)
        if rank() == 0:
            host.to_decide(self)
            host.at_end(self._close)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Write the metrics of the epoch that has just ended."""
        from tensorboardX.proto.event_pb2 import Event
        from tensorboardX.summary import scalar

        epoch = trainer.state.epoch
        if self._last_epoch is None or epoch <= self._last_epoch:
            self._close()
            self._keep_events_before(epoch)
        self._last_epoch = None  # if a write fails, what it leaves is removed before the next one
        if self._writer is None:
            self._open(epoch)
        for name, number in host_of(trainer).metrics.numbers().items():
            event = Event(wall_time=time.time(), step=epoch, summary=scalar(_tag(name), number))
            self._writer.write_event(event)
        self._writer.flush()
        self._last_epoch = epoch

    def _open(self, epoch: int) -> None:
        # Not SummaryWriter: its thread and queue would be copied into the workers of every loader.
        from tensorboardX.event_file_writer import EventsWriter

        self.folder.mkdir(parents=True, exist_ok=True)
        # The name holds the second; two starts within one must not share a file.
        self._writer = EventsWriter(str(self.folder / "events"), f"{_OURS}.{os.getpid()}.{epoch}")

    def _close(self, *_: object) -> None:  # EXCEPTION_RAISED brings its exception
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _keep_events_before(self, epoch: int) -> None:
        for path in self.folder.glob(f"events.out.tfevents.*{_OURS}.*"):
            records = list(_records(path.read_bytes()))
            kept = [record for step, record in records if step < epoch]
            if not any(step for step, _ in records if step < epoch):  # nothing but the file's version
                path.unlink()
            elif len(kept) < len(records):
                temporary = path.with_name(f".{path.name}.tmp")
                temporary.write_bytes(b"".join(kept))
                temporary.replace(path)


def _tag(name: str) -> str:
    """Training and validation of one quantity in one chart."""
    part, _, quantity = name.partition("_")
    return f"{quantity}/{part}" if part in ("train", "val") and quantity else name


def _records(content: bytes) -> Iterator[tuple[int, bytes]]:
    """The steps and the bytes of a file's events; half a record at its end is left out."""
    from google.protobuf.message import DecodeError
    from tensorboardX.proto.event_pb2 import Event

    start = 0
    while start + _HEADER.size <= len(content):
        length, _ = _HEADER.unpack_from(content, start)
        end = start + _HEADER.size + length + _FOOTER
        if end > len(content):
            return
        try:
            event = Event.FromString(content[start + _HEADER.size : end - _FOOTER])
        except DecodeError:
            return
        yield event.step, content[start:end]
        start = end

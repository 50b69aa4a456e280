"""Save a run at the end of its epochs, and inside them."""

import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.checkpoint import write_checkpoint
from ignite_recipes.distributed import on_first_process
from ignite_recipes.engine import TrainingEngine, keep_state
from ignite_recipes.events import TrainEvents
from ignite_recipes.handlers.metric import Metric, read_metric
from ignite_recipes.run_state import run_state

__all__ = ["BestCheckpoint", "Checkpointing", "SaveInside"]


class Checkpointing:
    """Write the whole run to a file every few epochs, at its end, and if asked for inside epochs.

    Runs:   trainer, CHECKPOINT_READY: after every decision of the epoch, and ITERATION_COMPLETED if there are to
            be files inside epochs; behind other handlers, whenever it was attached.
    Writes: ``folder / filename``, as described in :mod:`ignite_recipes.checkpoint`.
    Keeps:  the epochs whose files it is to remove when newer ones are written.

    Args:
        folder: made if missing.
        filename: ``{epoch}`` stands for the epoch's number, from 1.
        every: epochs between two files.
        keep: how many files of this run to keep, the newest; None keeps all. Files of other runs are left
            alone, and an old file is removed only when a newer one is safely written.
        every_iterations: save inside epochs too, every so many iterations, or at the end of the accumulation
            window that is open then; None does not. Such a file has the number of the epoch that it is in.

    Raises:
        ValueError: if ``every``, ``keep`` or ``every_iterations`` is below 1.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import create_trainer
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> with TemporaryDirectory() as folder:
    ...     _ = Checkpointing(folder, keep=2).attach(trainer)
    ...     _ = trainer.run([torch.ones(4, 2)], max_epochs=3)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['checkpoint_epoch_2.pt', 'checkpoint_epoch_3.pt']
    """

    saves_last = True  # its files hold the state of the other handlers of CHECKPOINT_READY

    def __init__(
        self,
        folder: str | os.PathLike[str],
        filename: str = "checkpoint_epoch_{epoch}.pt",
        *,
        every: int = 1,
        keep: int | None = None,
        every_iterations: int | None = None,
    ) -> None:
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every must be at least one epoch; got {every!r}")
        try:
            filename.format(epoch=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"filename may hold {{epoch}} and no other field; got {filename!r}") from error
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least one file, or None for all; got {keep}")
        self.folder, self.filename, self.every, self.keep = Path(folder), filename, every, keep
        self._inside = None if every_iterations is None else SaveInside(every_iterations, self.save)
        self._written: list[int] = []

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.filename!r}, every={self.every})"

    def attach(self, trainer: Engine) -> "Checkpointing":
        """Save the run of ``trainer``.

        Raises:
            RuntimeError: if it is not a trainer of ``create_trainer``: only that one can say all of its state.
            OSError: if the folder cannot be made or written to; now, and not after the first hour.
        """
        _require_ours(trainer, self)
        _prepare(self.folder)
        keep_state(trainer, "checkpointing", self)
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)
        if self._inside is not None:
            self._inside.attach(trainer)
        return self

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if it is time to."""
        epoch = trainer.state.epoch
        is_last = epoch == trainer.state.max_epochs or bool(trainer.should_terminate)
        if epoch % self.every == 0 or is_last:
            self.save(trainer)

    def save(self, trainer: TrainingEngine) -> Path:
        """Save now; the path of the file."""
        epoch = trainer.state.epoch
        path, old = self._path(epoch), []
        if self.keep is not None:
            written = [*(other for other in self._written if other != epoch), epoch]
            old, self._written = written[: -self.keep], written[-self.keep :]
        state = run_state(trainer)
        return on_first_process(lambda: self._write(state, path, old))

    def _write(self, state: dict[str, Any], path: Path, old: list[int]) -> Path:
        write_checkpoint(state, path)
        for epoch in old:
            self._path(epoch).unlink(missing_ok=True)
        return path

    def _path(self, epoch: int) -> Path:
        return self.folder / self.filename.format(epoch=epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epochs whose files are to be removed some day."""
        return {"written": list(self._written)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on removing what an earlier part of the run has written."""
        self._written = list(state["written"])


class SaveInside:
    """Call a function that saves every few iterations, wherever an epoch can be cut there.

    It can be cut behind an optimizer step that is not the last one of its epoch: gradients of an open
    accumulation window are in no checkpoint, and an epoch that is all trained has still to be closed.

    Runs:   trainer, ITERATION_COMPLETED, behind other handlers.
    Keeps:  nothing.

    Args:
        every: iterations.
        save: is given the trainer.

    Raises:
        ValueError: if ``every`` is below 1.

    >>> import torch
    >>> from ignite_recipes import create_trainer
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> saved = []
    >>> _ = SaveInside(2, lambda trainer: saved.append(trainer.state.iteration)).attach(trainer)
    >>> _ = trainer.run([torch.ones(4, 2)] * 4, max_epochs=2)
    >>> saved  # not at 4 and 8, where the epochs end
    [2, 5, 6]
    """

    saves_last = True

    def __init__(self, every: int, save: Callable[[TrainingEngine], Any]) -> None:
        if not isinstance(every, int) or every < 1:
            raise ValueError(f"every_iterations must be a whole number of at least 1, or None; got {every!r}")
        if not callable(save):
            raise TypeError(f"save must be called with the trainer; got {save!r}")
        self.every, self.save = every, save
        self._is_due = False

    def __repr__(self) -> str:
        return f"SaveInside(every={self.every} iterations)"

    def attach(self, trainer: Engine) -> "SaveInside":
        """Save the run of ``trainer`` inside its epochs; errors as for :meth:`Checkpointing.attach`."""
        _require_ours(trainer, self)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        return self

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if it is time to and possible."""
        self._is_due |= trainer.state.iteration % self.every == 0
        if self._is_due and trainer.can_be_cut:
            self._is_due = False
            self.save(trainer)


class BestCheckpoint:
    """Write the whole run to one file whenever its metric is the best so far.

    Runs:   trainer, CHECKPOINT_READY.
    Reads:  ``state.metrics[metric]``; what is not finite is never best.
    Writes: ``path``.
    Keeps:  the best value and its epoch.

    Args:
        path: of the file.
        metric: a name in ``state.metrics``, or a function of the trainer.
        mode: ``"min"`` or ``"max"``: which way is better.

    Attributes:
        best, best_epoch: None before there is a finite value.

    >>> import torch
    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import create_trainer, read_checkpoint
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> val_losses = {1: 0.5, 2: 0.3, 3: 0.4}
    >>> with TemporaryDirectory() as folder:
    ...     best = BestCheckpoint(f"{folder}/best.pt", lambda trainer: val_losses[trainer.state.epoch]).attach(trainer)
    ...     _ = trainer.run([torch.ones(4, 2)], max_epochs=3)
    ...     best.best, best.best_epoch, read_checkpoint(best.path)["epoch"]
    (0.3, 2, 2)
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        metric: Metric = "val_loss",
        *,
        mode: str = "min",
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max'; got {mode!r}")
        self.path, self.metric, self.mode = Path(path), metric, mode
        self.best: float | None = None
        self.best_epoch: int | None = None

    def __repr__(self) -> str:
        return f"BestCheckpoint({self.path.name!r}, {self.metric!r})"

    def attach(self, trainer: Engine) -> "BestCheckpoint":
        """Save the best epochs of ``trainer``; errors as for :meth:`Checkpointing.attach`."""
        _require_ours(trainer, self)
        _prepare(self.path.parent)
        keep_state(trainer, "best_checkpoint", self)
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)
        return self

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if this epoch is the best."""
        value = read_metric(trainer, self.metric)
        if not math.isfinite(value) or (self.best is not None and not self._is_better(value)):
            return
        self.best, self.best_epoch = value, trainer.state.epoch
        state = run_state(trainer)
        on_first_process(lambda: write_checkpoint(state, self.path))

    def _is_better(self, value: float) -> bool:
        assert self.best is not None
        return value < self.best if self.mode == "min" else value > self.best

    def state_dict(self) -> dict[str, Any]:
        """The best value and its epoch."""
        return {"best": self.best, "best_epoch": self.best_epoch}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from the best of an earlier part of the run."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]


def _prepare(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"checkpoints must be written to {str(folder)!r}, which is read-only here")


def _require_ours(trainer: Engine, handler: object) -> None:
    if not isinstance(trainer, TrainingEngine):
        raise RuntimeError(
            f"{type(handler).__name__} needs a trainer of create_trainer, which knows all of its state; with an "
            "engine of your own call save_checkpoint(...) in a handler of EPOCH_COMPLETED"
        )

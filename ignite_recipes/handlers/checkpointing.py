"""Save a run at the end of its epochs, and inside them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.checkpoint.file import write_checkpoint
from ignite_recipes.checkpoint.run import run_state
from ignite_recipes.engine.blocks import after_block
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.handlers._earlier_files import say_earlier_files
from ignite_recipes.handlers._host import host_of, training_host_of

__all__ = ["Checkpointing", "SaveInside", "prepare_folder", "require_ours"]


class Checkpointing:
    """Write the whole run to a file every few epochs, at its end, and if asked for inside epochs.

    A new run replaces files of the same name that an earlier one has left in the folder: a warning says so when it
    begins. :func:`~ignite_recipes.restore_newest` tells the files of different runs apart.

    Runs:   trainer, STARTED to look for files of an earlier run; EPOCH_DECIDED to choose the files and
            CHECKPOINT_READY to write them: after every decision of the epoch; COMPLETED, if the run ends inside an
            epoch; RESUME_POINT if there are to be files inside epochs.
    Writes: ``folder / filename``, as described in :mod:`ignite_recipes.checkpoint.file`.
    Keeps:  the epochs whose files it removes when newer ones are written.

    Args:
        folder: made if missing.
        filename: ``{epoch}`` stands for the epoch's number, from 1.
        every: epochs between two files.
        keep: how many files of this run to keep, the newest; None keeps all. Files of other runs are left
            alone, and an old file is removed only when a newer one is safely written.
        every_iterations: save inside epochs too, after this number of iterations, or at the end of the accumulation
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

    def __init__(
        self,
        folder: str | os.PathLike[str],
        filename: str = "checkpoint_epoch_{epoch}.pt",
        *,
        every: int = 1,
        keep: int | None = None,
        every_iterations: int | None = None,
    ) -> None:
        every = whole_number(every, "every", "epochs")
        try:
            filename.format(epoch=1)
        except (KeyError, IndexError, ValueError) as error:
            raise ValueError(f"filename may hold {{epoch}} and no other field; got {shown(filename)}") from error
        if keep is not None and keep < 1:
            raise ValueError(f"keep must be at least one file, or None for all; got {keep}")
        self.folder, self.filename, self.every, self.keep = Path(folder).expanduser(), filename, every, keep
        self._inside = None if every_iterations is None else SaveInside(every_iterations, self.save)
        self._written: list[int] = []
        self._old: list[int] = []  # to be removed when the next file is written
        self._is_due = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.filename!r}, every={self.every})"

    def attach(self, trainer: Engine) -> "Checkpointing":
        """Save the run of ``trainer``.

        Raises:
            RuntimeError: if it is not a trainer of ``create_trainer`` or ``make_resumable``, which know all of their
                state.
            OSError: if the folder cannot be made or written to; now, and not after the first hour.
        """
        require_ours(trainer, self)
        prepare_folder(self.folder)
        host_of(trainer).keep("checkpointing", self)
        trainer.add_event_handler(Events.STARTED, self._say_earlier_files)
        trainer.add_event_handler(TrainEvents.EPOCH_DECIDED, self._choose)
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)
        trainer.add_event_handler(Events.COMPLETED, self._save_end)
        if self._inside is not None:
            self._inside.attach(trainer)
        return self

    def _say_earlier_files(self, trainer: TrainingEngine) -> None:
        say_earlier_files(trainer, self.folder, self.filename)

    def _choose(self, trainer: TrainingEngine) -> None:
        """Before any file of the epoch is written, because each of them stores the list of files."""
        state, epoch = trainer.state, trainer.state.epoch
        is_at_limit = epoch == state.max_epochs or (state.max_iters is not None and state.iteration >= state.max_iters)
        is_last = is_at_limit or bool(trainer.should_terminate)
        self._is_due = epoch % self.every == 0 or is_last
        if self._is_due:
            self._note(epoch)

    def _note(self, epoch: int) -> None:
        if self.keep is not None:
            written = [*(other for other in self._written if other != epoch), epoch]
            self._old, self._written = [*self._old, *written[: -self.keep]], written[-self.keep :]

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if it is time to."""
        if self._is_due:
            self.save(trainer)

    def _save_end(self, trainer: TrainingEngine) -> None:
        """A run may end inside an epoch: by ``max_iters``, or ``terminate()``."""
        if trainer.progress.is_inside_epoch:
            trainer.updates.abandon()  # batches of an open window are not in the weights: they are trained again
            self.save(trainer)

    def save(self, trainer: TrainingEngine) -> Path:
        """Save now; the path of the file."""
        epoch = trainer.state.epoch
        self._note(epoch)
        state, path = run_state(trainer), self._path(epoch)
        return on_rank_zero(lambda: self._write(state, path))

    def _write(self, state: dict[str, Any], path: Path) -> Path:
        write_checkpoint(state, path)
        kept = {self._path(epoch) for epoch in self._written}
        for old in {self._path(epoch) for epoch in self._old} - kept:  # a name may repeat
            old.unlink(missing_ok=True)
        self._old = []
        return path

    def _path(self, epoch: int) -> Path:
        return self.folder / self.filename.format(epoch=epoch)

    def state_dict(self) -> dict[str, Any]:
        """The epochs whose files are to be removed later."""
        return {"written": list(self._written)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to remove what an earlier part of the run has written."""
        self._written = list(state["written"])


class SaveInside:
    """Call a function that saves every few iterations, where the run can be resumed exactly.

    That is after an optimizer step that is not the last one of its epoch: gradients of an ``Update``'s open window are
    in no checkpoint, and a completely trained epoch has still to be decided on.

    Runs:   trainer, RESUME_POINT inside epochs.
    Keeps:  nothing.

    Args:
        every: iterations.
        save: a function that gets the trainer.

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
    [2, 6]
    """

    def __init__(self, every: int, save: Callable[[TrainingEngine], Any]) -> None:
        every = whole_number(every, "every_iterations")
        if not callable(save):
            raise TypeError(f"save must be called with the trainer; got {shown(save)}")
        self.every, self.save = every, save

    def __repr__(self) -> str:
        return f"SaveInside(every={self.every} iterations)"

    def attach(self, trainer: Engine) -> "SaveInside":
        """Save the run of ``trainer`` inside its epochs; errors as for :meth:`Checkpointing.attach`."""
        require_ours(trainer, self)
        trainer.add_event_handler(TrainEvents.RESUME_POINT, self)
        return self

    def batches_until_needed(self, trainer: TrainingEngine) -> int:
        """Batches until it is time to save."""
        return self.every - trainer.progress.iteration % self.every

    @after_block
    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if it is time to."""
        progress = trainer.progress
        if progress.is_inside_epoch and progress.iteration // self.every > progress.previous_iteration // self.every:
            self.save(trainer)


def prepare_folder(folder: Path) -> None:
    """Make a folder, and refuse one that cannot be written to before anything is trained."""
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"checkpoints must be written to {str(folder)!r}, which is read-only here")


def require_ours(trainer: Engine, handler: object) -> None:
    """Refuse an Engine whose whole state is not known."""
    training_host_of(trainer, handler).require_trainer(
        handler, "; call make_resumable(engine, parts) first, or save_checkpoint(...) in a handler of EPOCH_COMPLETED"
    )

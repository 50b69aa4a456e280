"""Find the checkpoint of a folder from which to resume, or to fork."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint
from ignite_recipes.checkpoint.run import how_far, restore_run
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero

__all__ = ["BEST", "LATEST", "NoRunError", "best_weights", "newest_checkpoint", "restore_newest"]

logger = logging.getLogger(__name__)

LATEST = "latest_checkpoint.pt"
"""The file of the whole run that commands write at the end of every epoch, and recipes inside epochs."""

BEST = "best_model.pt"
"""The file of the best epoch."""


class NoRunError(CheckpointError):
    """The checkpoints of a folder are sound and hold weights, but no run that could be resumed."""


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The sound checkpoint of a whole run to resume from, or None if the folder holds no ``.pt`` file.

    Of several runs it is one of the run that has written last, with a warning in the log: what an earlier run has left
    in the folder is never taken for the newer one's. Files of older versions of this library, which do not say whose
    they are, count as one run.

    It is ``latest_checkpoint.pt``, which recipes write last, or without it the one of the run that got farthest.
    If ``best_model.pt`` is ahead of it, a kill has prevented the other files of that epoch, which is trained
    again. Other files are passed over with a warning in the log, which says why.

    Raises:
        CheckpointError: if there are files, and none is sound and of a whole run; NoRunError if some are sound.
    """
    found: list[_Found] = []
    passed_over, is_any_sound = [], False
    for path in _files(folder):
        try:
            contents = read_checkpoint(path)
            is_any_sound = True
            far, written = how_far(contents, path), path.stat().st_mtime_ns
            found.append(_Found(path.name == LATEST, far, written, path, contents.get("identity")))
        except FileNotFoundError:  # a run that is being trained has removed an older one
            continue
        except CheckpointError as error:
            logger.warning("passed over: %s", error)
            passed_over.append(error)
    if passed_over and not found:
        kind = NoRunError if is_any_sound else CheckpointError
        raise kind(
            f"none of the {len(passed_over)} checkpoints in {os.fspath(folder)!r} is of a whole run: start a new run. "
            f"The first: {passed_over[0]}"
        )
    return _newest_of_one_run(found) if found else None


@dataclass(order=True)
class _Found:
    """A sound checkpoint; the greater of one run is the newer."""

    is_latest: bool
    how_far: tuple[int, int, int]
    written: int
    path: Path
    run: str | None = field(compare=False)


def _newest_of_one_run(found: Sequence[_Found]) -> Path:
    """The newest file of the run that has written last."""
    last = max(found, key=lambda one: (one.written, one))
    newest = max(one for one in found if one.run == last.run)
    if others := sum(one.run != last.run for one in found):
        logger.warning(
            "%s holds checkpoints of several runs: %s is the newest of the run that was trained last; files of others, "
            "which are left alone: %d. Give each run a folder of its own; to resume another one name its file",
            newest.path.parent,
            newest.path.name,
            others,
        )
    return newest.path


def restore_newest(trainer: TrainingEngine, folder: str | os.PathLike[str]) -> Path | None:
    """Resume the run of a folder, if there is one: with this line before ``run`` a program is resumable.

    Args:
        trainer: with the handlers of that run, as for :func:`restore_run`.
        folder: where ``Checkpointing`` writes; it need not exist yet.

    Returns:
        The file: ``latest_checkpoint.pt``, or without it the newest undamaged one of the run; None if there is none and
        the run begins.

    Raises:
        CheckpointError: if there are files and none is sound and of a whole run; and as for :func:`restore_run`.
        ValueError: if ``folder`` is a file; and as for :func:`restore_run`.

    >>> import tempfile, torch
    >>> from ignite_recipes import Checkpointing, create_trainer
    >>> def train(folder, epochs):
    ...     model = torch.nn.Linear(2, 1)
    ...     optimizer = torch.optim.Adam(model.parameters())
    ...     loss_fn = lambda model, x, batch: {"loss": model(x).square().mean()}
    ...     trainer = create_trainer(model, optimizer, loss_fn, seed=0)
    ...     _ = Checkpointing(folder).attach(trainer)
    ...     resumed = restore_newest(trainer, folder)
    ...     _ = trainer.run([torch.ones(4, 2)], max_epochs=epochs)
    ...     return resumed and resumed.name
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [train(folder, epochs) for epochs in (2, 3)]
    [None, 'checkpoint_epoch_2.pt']
    """
    if os.path.isfile(folder):
        raise ValueError(f"folder must be a folder of checkpoints; got the file {os.fspath(folder)}: call restore_run")
    path = on_rank_zero(lambda: newest_checkpoint(folder))
    if path is not None:
        restore_run(trainer, path)
    return path


def best_weights(folder: str | os.PathLike[str]) -> Path | None:
    """The checkpoint to fork: ``best_model.pt`` if it is sound, else the sound one of the latest epoch.

    Raises:
        CheckpointError: if there are files, and none is sound.
    """
    files = sorted(_files(folder), key=lambda path: path.name != BEST)
    sound: list[tuple[int, float, Path]] = []
    for path, contents in _sound(files):
        if path.name == BEST:
            return path
        epoch = contents.get("epoch")
        sound.append((epoch if isinstance(epoch, int) else 0, path.stat().st_mtime, path))
    if files and not sound:
        raise CheckpointError(
            f"none of the {len(files)} checkpoints in {os.fspath(folder)!r} is sound: start a new run"
        )
    return max(sound)[2] if sound else None


def _files(folder: str | os.PathLike[str]) -> list[Path]:
    return sorted(path for path in Path(folder).expanduser().glob("*.pt") if path.is_file())


def _sound(files: list[Path]) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    for path in files:
        try:
            yield path, read_checkpoint(path)
        except (CheckpointError, FileNotFoundError) as error:  # a run may remove older files meanwhile
            logger.warning("passed over: %s", error)

"""Save a run through a :class:`CheckpointManager`, with its keys and its files."""

import math
from pathlib import Path
from typing import Any

from ignite_recipes.checkpoint.manager import CheckpointManager, classifier_entries
from ignite_recipes.checkpoint.newest import BEST, LATEST
from ignite_recipes.checkpoint.run import run_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.handlers import EarlyStopping, SaveInside, StopOnSignal
from ignite_recipes.recipes.earlier_files import set_aside
from ignite_recipes.recipes.options import Attachable

__all__ = ["savers_through", "set_aside_through"]


def savers_through(
    manager: CheckpointManager, every_iterations: int | None, judge: EarlyStopping | None = None
) -> list[Attachable]:
    """What saves a run through ``manager``: after its epochs, inside them where that is asked for, and at a signal.

    ``judge`` knows the best epoch; without one the manager does, by the accuracy.
    """
    saver = SaveThrough(manager, judge)
    inside = [] if every_iterations is None else [SaveInside(every_iterations, saver.save_latest)]
    return [saver, *inside, StopOnSignal(saver.save_latest)]


def set_aside_through(manager: CheckpointManager, epochs: int) -> None:
    """Move the files of an earlier run out of the way; the best accuracy is that of this run then."""
    names = [BEST, LATEST, *(f"epoch_{epoch}.pt" for epoch in range(1, epochs + 1))]
    if on_rank_zero(lambda: set_aside(manager.checkpoints_dir, names)) is not None:
        manager.best_accuracy = -math.inf


class SaveThrough:
    """Save every epoch, each file a whole run, with the documented manager and its keys.

    Runs: trainer, CHECKPOINT_READY. Keeps: nothing; the manager reads its best from its folder.
    """

    def __init__(self, manager: CheckpointManager, judge: EarlyStopping | None = None) -> None:
        self.manager, self.judge = manager, judge

    def __repr__(self) -> str:
        return "CheckpointManager"

    def attach(self, trainer: TrainingEngine) -> None:
        """Save the epochs of ``trainer``."""
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save the epoch that has just ended."""
        contents = _contents(trainer)
        is_best = None if self.judge is None else self.judge.best_epoch == trainer.state.epoch
        on_rank_zero(lambda: self.manager.write_epoch(contents, is_best=is_best))

    def save_latest(self, trainer: TrainingEngine) -> Path:
        """Save the run as it is, inside an epoch too; the path of the file."""
        contents = _contents(trainer)
        return on_rank_zero(lambda: self.manager.write_latest(contents))


def _contents(trainer: TrainingEngine) -> dict[str, Any]:
    """The run, and what the manager's files hold in addition; inside the first epoch there is no loss yet."""
    metrics = trainer.state.metrics
    loss, accuracy = metrics.get("val_loss", math.nan), metrics.get("val_accuracy", math.nan)
    return {**run_state(trainer), **classifier_entries(trainer.model, loss, accuracy)}

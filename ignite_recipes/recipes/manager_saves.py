"""Save a run through a :class:`CheckpointManager`, with its keys and its files."""

import math
from pathlib import Path
from typing import Any

from torch import nn

from ignite_recipes.checkpoint_manager import CheckpointManager
from ignite_recipes.distributed import is_sharded, on_first_process
from ignite_recipes.engine import TrainingEngine
from ignite_recipes.events import TrainEvents
from ignite_recipes.run_state import LATEST, run_state
from ignite_recipes.weights import unwrap

__all__ = ["SaveThrough"]


class SaveThrough:
    """Save every epoch, each file a whole run, with the documented manager and its keys.

    Runs: trainer, CHECKPOINT_READY, last. Keeps: nothing; the manager reads its best from its folder.
    """

    saves_last = True

    def __init__(self, manager: CheckpointManager) -> None:
        self.manager = manager

    def __repr__(self) -> str:
        return "CheckpointManager"

    def attach(self, trainer: TrainingEngine) -> None:
        """Save the epochs of ``trainer``."""
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save the epoch that has just ended."""
        args = self._documented(trainer)
        on_first_process(lambda: self._save(trainer, args))

    def _save(self, trainer: TrainingEngine, args: tuple[Any, ...]) -> None:
        self.manager.save_best_model(*args)
        if self.manager.should_save_epoch(trainer.state.epoch):
            self.manager.save_epoch_checkpoint(*args)
        self.manager.save_latest_checkpoint(*args)

    def save_latest(self, trainer: TrainingEngine) -> Path:
        """Save the run as it is, inside an epoch too; the path of the file."""
        args = self._documented(trainer)
        on_first_process(lambda: self.manager.save_latest_checkpoint(*args))
        return Path(self.manager.checkpoints_dir) / LATEST

    @staticmethod
    def _documented(trainer: TrainingEngine) -> tuple[Any, ...]:
        """The arguments of the manager's methods; inside the first epoch there is no loss yet."""
        metrics, state = trainer.state.metrics, run_state(trainer)
        documented = ("epoch", "model_state_dict", "optimizer_state_dict")
        info = {name: value for name, value in state.items() if name not in documented}
        loss, accuracy = metrics.get("val_loss", math.nan), metrics.get("val_accuracy", math.nan)
        model: Any = trainer.model
        optimizer: Any = trainer.optimizer
        if is_sharded(model):
            model, optimizer = _Saved(state["model_state_dict"], model), _Saved(state["optimizer_state_dict"], model)
        return model, optimizer, trainer.state.epoch, loss, accuracy, info


class _Saved:
    """A model, or its optimizer, whose state is already there: that of a sharded one all processes put together."""

    def __init__(self, state: Any, model: nn.Module) -> None:
        self._state, self.model_config = state, getattr(unwrap(model), "model_config", {})

    def state_dict(self) -> Any:
        return self._state

"""Keep the best of a run in a file."""

import math
import os
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.checkpoint.file import write_checkpoint
from ignite_recipes.checkpoint.run import run_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.handlers._earlier_files import say_earlier_files
from ignite_recipes.handlers._host import host_of
from ignite_recipes.handlers._host_metrics import Metric, say_other_direction
from ignite_recipes.handlers._numbers import is_better
from ignite_recipes.handlers.checkpointing import prepare_folder, require_ours
from ignite_recipes.handlers.early_stopping import EarlyStopping
from ignite_recipes.handlers.validation import LastMeasured

__all__ = ["BestCheckpoint"]


class BestCheckpoint:
    """Write the whole run to one file whenever its metric is the best so far.

    A new run replaces the file of an earlier one when its first epoch is judged: a warning says so when it begins.

    Runs:   trainer, STARTED to look for a file of an earlier run; METRICS_READY to decide and CHECKPOINT_READY to
            write; with ``every_validation`` inside epochs too, DECISION_POINT to decide and RESUME_POINT to write.
    Reads:  ``state.metrics[metric]``; what is not finite is never best, nor an epoch that did not measure it, nor one
            before the ``start_from_epoch`` of an ``EarlyStopping`` of the same trainer that watches the same metric.
    Writes: ``path``.
    Keeps:  the best value, its epoch and its iteration.

    Args:
        path: the path of the file.
        metric: a name in ``state.metrics``, or a function of the trainer.
        mode: ``"min"`` or ``"max"``: which way is better.
        min_delta: the least change that counts as better, in the metric's units; None is that of an ``EarlyStopping``
            of the same trainer that watches the same metric, so that both agree which epoch is best, and 0 without one.
        every_validation: judge what ``Validation(..., every_iterations=n)`` measures inside epochs too, and write the
            run there. With gradient accumulation a run can be saved only after an optimizer step: where a validation
            comes inside a window of batches, it is judged and written at the window's end, one step after the weights
            that were measured: choose an ``n`` at which windows end. Early stopping still judges epochs, each by its
            last validation, so the two may differ about the best one.

    Attributes:
        best, best_epoch, best_iteration: None before there is a finite value; iterations count from the run's first.

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
        min_delta: float | None = None,
        every_validation: bool = False,
    ) -> None:
        if mode not in ("min", "max"):
            raise ValueError(f"mode must be 'min' or 'max'; got {mode!r}")
        if min_delta is not None and not min_delta >= 0:
            raise ValueError(f"min_delta must not be negative, in the units of the metric; got {min_delta!r}")
        self.path, self.metric, self.mode, self.min_delta = Path(path).expanduser(), metric, mode, min_delta
        self.every_validation = every_validation
        self.best: float | None = None
        self.best_epoch: int | None = None
        self.best_iteration: int | None = None
        self._is_due = False  # this epoch is the best
        self._is_due_inside = False  # this place in it is
        self._times_seen = 0  # validations inside epochs that were judged

    def __repr__(self) -> str:
        return f"BestCheckpoint({self.path.name!r}, {self.metric!r})"

    def attach(self, trainer: Engine) -> "BestCheckpoint":
        """Save the best epochs of ``trainer``; errors as for :meth:`Checkpointing.attach`.

        With ``every_validation`` a run without a ``Validation`` inside epochs raises a RuntimeError when it starts.
        """
        require_ours(trainer, self)
        say_other_direction(self.metric, self.mode)
        prepare_folder(self.path.parent)
        host = host_of(trainer)
        host.keep("best_checkpoint", self)
        trainer.add_event_handler(Events.STARTED, self._say_earlier_files)
        host.to_decide(self._judge)
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)
        if self.every_validation:
            trainer.add_event_handler(Events.STARTED, self._require_validations)
            trainer.add_event_handler(TrainEvents.DECISION_POINT, self._judge_inside)
            trainer.add_event_handler(TrainEvents.RESUME_POINT, self._save_inside)
        return self

    def _say_earlier_files(self, trainer: TrainingEngine) -> None:
        if self.best is None:  # a trainer that starts again keeps what it has found
            say_earlier_files(trainer, self.path.parent, self.path.name.replace("{", "{{").replace("}", "}}"))

    def _judge(self, trainer: TrainingEngine) -> None:
        """Decide on an epoch; what was decided inside it already is not better than itself."""
        self._times_seen = _times_measured(trainer)
        self._is_due = self._is_best(trainer)

    def _judge_inside(self, trainer: TrainingEngine) -> None:
        """Decide on a validation since the last decision: a value that is not new would make the host wait for it."""
        times = _times_measured(trainer)
        if times != self._times_seen:
            self._times_seen = times
            self._is_due_inside = self._is_best(trainer)

    def _is_best(self, trainer: TrainingEngine) -> bool:
        """Whether what was measured last is the best so far; it is noted if it is."""
        value = host_of(trainer).metrics.read(self.metric, self, is_first=self.best is None)
        if value is None or not math.isfinite(value):
            return False
        stopping = self._stopping(trainer)
        if stopping is not None and trainer.state.epoch < stopping.start_from_epoch:
            return False
        least = self.min_delta
        if least is None:
            least = 0.0 if stopping is None else stopping.min_delta
        if self.best is not None and not is_better(value, self.best, self.mode, least):
            return False
        self.best, self.best_epoch, self.best_iteration = value, trainer.state.epoch, trainer.state.iteration
        return True

    def _save_inside(self, trainer: TrainingEngine) -> None:
        if self._is_due_inside:
            self._is_due_inside = False
            self._save(trainer)

    def _save(self, trainer: TrainingEngine) -> None:
        state = run_state(trainer)
        on_rank_zero(lambda: write_checkpoint(state, self.path))

    @staticmethod
    def _require_validations(trainer: TrainingEngine) -> None:
        if not any(isinstance(part, LastMeasured) for part in trainer.parts.values()):
            raise RuntimeError(
                "BestCheckpoint(every_validation=True) needs validations inside epochs; this trainer has none: attach "
                "Validation(evaluator, loader, every_iterations=n), or leave every_validation out"
            )

    def __call__(self, trainer: TrainingEngine) -> None:
        """Save, if this epoch is the best."""
        if self._is_due and self.best_epoch == trainer.state.epoch:
            self._save(trainer)

    def _stopping(self, trainer: TrainingEngine) -> EarlyStopping | None:
        """The early stopping that watches the same."""
        stops = [part for part in trainer.parts.values() if isinstance(part, EarlyStopping)]
        return next((stop for stop in stops if stop.watches(self.metric, self.mode)), None)

    def state_dict(self) -> dict[str, Any]:
        """The best value, its epoch and its iteration."""
        return {"best": self.best, "best_epoch": self.best_epoch, "best_iteration": self.best_iteration}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the best of an earlier part of the run."""
        self.best, self.best_epoch = state["best"], state["best_epoch"]
        self.best_iteration = state.get("best_iteration")  # older files have none
        self._is_due = True  # an epoch that was decided before may still have to be saved
        self._is_due_inside, self._times_seen = False, 0  # a place inside an epoch is judged before it is saved


def _times_measured(trainer: TrainingEngine) -> int:
    return sum(part.times for part in trainer.parts.values() if isinstance(part, LastMeasured))

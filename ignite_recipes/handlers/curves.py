"""Draw the curves of a run when it ends."""

import logging
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine

from ignite_recipes.exchange.ranks import rank
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.summary import best_epoch
from ignite_recipes.handlers._host import host_of
from ignite_recipes.plotting import plot_history

__all__ = ["Curves"]

logger = logging.getLogger(__name__)


class Curves:
    """Draw a run's log as a picture: losses, accuracy, learning rate and speed, epoch by epoch.

    Runs:   trainer; COMPLETED and EXCEPTION_RAISED: a run that was stopped has its picture too.
    Reads:  the file that :class:`TrainingLog` writes.
    Writes: the picture; a failure to draw it is logged, and the run unharmed.
    Keeps:  nothing.

    Args:
        path: the path of the picture; its ending says the format: ``.png``, ``.pdf`` or ``.svg``.
        log: the CSV file.
        unit: the unit of the losses.
        settings: gives those of the run when it ends, whose ``recipe``, ``monitor`` and ``mode`` say which epoch is
            the best, to be marked; without, none is.

    >>> from tempfile import TemporaryDirectory
    >>> from ignite_recipes import TrainingLog
    >>> trainer = Engine(lambda engine, batch: None)
    >>> trainer.state.metrics["train_loss"] = 0.5
    >>> with TemporaryDirectory() as folder:
    ...     log = TrainingLog(Path(folder, "training_log.csv")).attach(trainer)
    ...     curves = Curves(Path(folder, "training_curves.png"), log.path).attach(trainer)
    ...     _ = trainer.run([0], max_epochs=2)
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['training_curves.png', 'training_log.csv']
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        log: str | os.PathLike[str],
        unit: str = "",
        *,
        settings: Callable[[], Mapping[str, Any]] | None = None,
    ) -> None:
        self.path, self.log, self.unit, self._settings = Path(path), Path(log), unit, settings

    def __repr__(self) -> str:
        return f"Curves({self.path.name!r})"

    def attach(self, trainer: Engine) -> "Curves":
        """Draw when ``trainer`` ends."""
        if rank() == 0:
            host_of(trainer).at_end(self)
        return self

    def __call__(self, *_: object) -> None:
        """Draw now; nothing before the end of the first epoch."""
        try:
            history = read_training_log(self.log) if self.log.exists() else {}
            if history.get("epoch"):
                best = None if self._settings is None else best_epoch(history, self._settings())
                figure = plot_history(history, self.unit, best_epoch=None if best is None else best.epoch)
                figure.savefig(self.path)
        except Exception as error:
            logger.warning("%s was not drawn: %s", self.path, error)

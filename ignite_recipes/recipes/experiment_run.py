"""A run that is kept as an experiment: one piece for the commands and for ``experiment=`` in Python."""

import copy
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ignite.engine import Events
from torch import nn

from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import BEST, LATEST
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.provenance import note_start
from ignite_recipes.handlers import BestCheckpoint, Checkpointing, StopOnSignal
from ignite_recipes.models.file import Predictor
from ignite_recipes.recipes.assembly import attach_last, recorders
from ignite_recipes.recipes.checks import AUTO
from ignite_recipes.recipes.experiment_place import find_place
from ignite_recipes.recipes.experiment_start import keep_settings
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.model_files import write_model_file
from ignite_recipes.recipes.options import Attachable, RunOptions
from ignite_recipes.recipes.plain_settings import plain

__all__ = ["ExperimentRun", "experiment_run"]


class ExperimentRun:
    """What a run does so that it is an experiment: who opens it writes its settings and its model file.

    Without an experiment it does nothing of that.

    Args:
        experiment: an existing one.
        folder: the folder of a new one, which is made when it is needed: a mistake before that leaves nothing.
        resume_from: a checkpoint, if it is continued.
        save_every: epochs between two checkpoints that are kept; None keeps the best and the latest.
        is_new: whether the experiment was made for this run, and is removed if it leaves no result.
        draws: whether its curves are drawn when it ends.

    Attributes:
        experiment: None before it is made, and where the run is not kept.
        best: what saves the best epoch; None before a trainer has it.
    """

    def __init__(
        self,
        experiment: ExperimentManager | None = None,
        folder: str | None = None,
        resume_from: str | os.PathLike[str] | None = None,
        *,
        save_every: int | None = None,
        is_new: bool = False,
        draws: bool = True,
    ) -> None:
        self.draws = draws
        self.experiment, self.resume_from, self.save_every = experiment, resume_from, save_every
        self.best: BestCheckpoint | None = None
        self._folder, self._is_new, self._depth = folder, is_new, 0
        self._recipe, self._settings = "", dict[str, Any]()
        self._note: Callable[[], None] | None = None

    @property
    def is_kept(self) -> bool:
        """Whether the run is an experiment."""
        return self.experiment is not None or self._folder is not None

    @property
    def best_epoch(self) -> int | None:
        """The epoch whose weights were saved as the best."""
        return None if self.best is None else self.best.best_epoch

    def make(self) -> ExperimentManager:
        """The experiment; a new one is made now."""
        if self.experiment is None:
            assert self._folder is not None
            self.experiment = ExperimentManager(self._folder)
        return self.experiment

    @contextmanager
    def open(
        self,
        recipe: str,
        settings: Mapping[str, Any],
        *,
        command: Sequence[str] | None = None,
        data_file: str | os.PathLike[str] | None = None,
        earlier_log: Iterable[logging.LogRecord] = (),
    ) -> Iterator["ExperimentRun"]:
        """Hold the experiment's lock and its log in the block; a new one that is left without a result is removed.

        Inside another block of the same run, as where one recipe calls another, it does nothing.

        Args:
            recipe: that trains.
            settings: to be written when the training begins, and not before they have proved to be usable; what it
                was started with is noted then, too.
            command: the words of the command line; None says that it was Python.
            data_file: that is trained on.
            earlier_log: what was logged before, e.g. while the data were read.

        Raises:
            ExperimentBusyError: if somebody else is training the experiment.
        """
        self._depth += 1
        try:
            if self._depth > 1 or not self.is_kept:
                yield self
                return
            self._is_new = self._is_new or self.experiment is None
            experiment = self.make()
            self._recipe, self._settings = recipe, {name: plain(value) for name, value in settings.items()}
            words = _python_call(recipe) if command is None else command
            self._note = partial(note_start, experiment.experiment_dir, words, data_file)
            with self._removed_if_unused(experiment), experiment.lock(), experiment.log_to_file(earlier_log):
                yield self
        finally:
            self._depth -= 1

    @contextmanager
    def _removed_if_unused(self, experiment: ExperimentManager) -> Iterator[None]:
        try:
            yield
        except BaseException:
            if self._is_new:
                experiment.discard_unused()
            raise

    def attach(
        self,
        trainer: TrainingEngine,
        options: RunOptions,
        measuring: Measuring,
        unit: str,
        otherwise: Sequence[Attachable] = (),
    ) -> None:
        """Attach the user's handlers, and what records and saves the run.

        Args:
            trainer: with the recipe's own handlers.
            options: the options of the run.
            measuring: knows which epoch is the best.
            unit: the unit of the losses, for the curves.
            otherwise: what saves a run that is not an experiment.
        """
        if self.experiment is None:
            attach_last(trainer, options["handlers"], *otherwise)
            return
        handlers = options["handlers"]
        if isinstance(handlers, (list, tuple)):  # anything else is refused by attach_last
            weights = self.experiment.initial_weights
            first = [] if weights is None else [_InitialWeights(weights)]
            handlers = [*first, *self.recorders(unit, measuring), *handlers]
        attach_last(trainer, handlers, *self.savers(options, measuring))

    def recorders(self, unit: str, measuring: Measuring) -> list[Attachable]:
        """What writes the experiment's settings, log, TensorBoard events and curves; ``unit`` is of the losses.

        ``measuring`` is for kinds of runs that record what decides.
        """
        return [_KeepSettings(self), *recorders(self.make(), unit, draws=self.draws)]

    def savers(self, options: RunOptions, measuring: Measuring) -> list[Attachable]:
        """What saves the best epoch, those to be kept and the latest, also at a signal."""
        folder = Path(self.make().checkpoints_dir)
        self.best = BestCheckpoint(folder / BEST, measuring.monitor, mode=measuring.mode)
        kept = [] if self.save_every is None else [Checkpointing(folder, "epoch_{epoch}.pt", every=self.save_every)]
        latest = Checkpointing(folder, LATEST, every_iterations=options["save_every_iterations"])
        return [self.best, *kept, latest, StopOnSignal(latest.save)]

    def write_settings(self, trainer: TrainingEngine) -> None:
        """Write what the run was told, and that it starts now; with the seed and the precision that it has found."""
        if self._note is not None:  # not again where an error has put the run back
            note, self._note = self._note, None
            on_rank_zero(note)
        known = {**self._settings, "epochs": trainer.state.max_epochs}
        if known.get("seed") is None:
            known["seed"] = trainer.state.seed
        if known.get("precision") == AUTO:
            known["precision"] = trainer.metadata["precision"]
        keep_settings(self.make(), self._recipe, known)

    def write_model(self, predictor: Callable[[], Predictor], epoch: int | None) -> None:
        """Write the model file, if there was a best epoch and this is the block that has opened the experiment.

        Args:
            predictor: makes what predicts, with the weights of that epoch.
            epoch: from 1; None if there was none.
        """
        if self.experiment is not None and self._depth == 1 and epoch:
            write_model_file(self.experiment, self._recipe, predictor(), epoch)

    def best_model(self, model: nn.Module) -> nn.Module:
        """A copy of a model with the weights of the best epoch; the model itself if no file holds them."""
        path = None if self.best is None else self.best.path
        if path is None or not path.is_file():
            return model
        best = copy.deepcopy(unwrap(model))
        load_checkpoint(path, best, averaged=None)
        return best


def experiment_run(options: RunOptions, *, checkpoint_dir: Any = None, place: str = "checkpoint_dir") -> ExperimentRun:
    """The run of a recipe, by its options; ``resume_from`` among them is set for an experiment that is continued.

    Args:
        options: the options of the run.
        checkpoint_dir: of the recipe, if it was given; ``place`` is its name.

    Raises:
        ValueError: if both were given.
        TypeError, FileNotFoundError, ExperimentBusyError, CheckpointError: as :func:`find_place`.
    """
    given: Any = options["experiment"]
    if given is None:
        return ExperimentRun()
    if isinstance(given, ExperimentRun):  # of a command, or of a recipe that calls this one
        run = given
    elif checkpoint_dir is None:
        run = ExperimentRun(*find_place(given, options.get("resume_from")))
    else:
        raise ValueError(f"an experiment has its own folder of checkpoints; got {place} too: leave one of them out")
    if run.is_kept and "resume_from" in options:
        options["resume_from"] = run.resume_from
    return run


class _KeepSettings:
    """Write an experiment's settings when its run begins, and not before they have proved to be usable."""

    def __init__(self, run: ExperimentRun) -> None:
        self.run = run

    def __repr__(self) -> str:
        return "settings to config.yaml"

    def attach(self, trainer: TrainingEngine) -> None:
        trainer.add_event_handler(Events.STARTED, self)

    def __call__(self, trainer: TrainingEngine) -> None:
        self.run.write_settings(trainer)


class _InitialWeights:
    """Begin with the weights of the experiment that this one was forked from."""

    def __init__(self, path: str) -> None:
        self.path = path

    def attach(self, trainer: TrainingEngine) -> None:
        load_checkpoint(self.path, trainer.model, averaged=None)


def _python_call(recipe: str) -> list[str]:
    """How a run was started that was called from Python."""
    script = sys.argv[0] if sys.argv and not hasattr(sys, "ps1") and "ipykernel" not in sys.modules else ""
    called = [recipe, "called", "from", "Python"]
    return [*called, "by", *sys.argv] if script else called

"""What a command attaches to its recipe so that the run is an experiment: settings, log, curves and checkpoints."""

import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.cli.settings import own_settings
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import BestCheckpoint, Checkpointing, StopOnSignal
from ignite_recipes.recipes.assembly import recorders
from ignite_recipes.recipes.experiment_start import checkpoint_to_resume_from
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import default_options

__all__ = [
    "best_checkpoint",
    "checkpoint_to_resume",
    "experiment_handlers",
    "monitored",
    "reached",
    "require_best",
    "run_handlers",
]


class _KeepSettings:
    """Write an experiment's settings when its run begins, and not before they have proved to be usable."""

    def __init__(self, experiment: ExperimentManager, settings: dict[str, Any]) -> None:
        self.experiment, self.settings = experiment, settings

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.STARTED, self._write)

    def _write(self) -> None:
        self.experiment.write_settings(own_settings(self.settings))


class _StopAt:
    """Send the process SIGTERM in a certain iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, trainer: Engine) -> None:
        if trainer.state.iteration == self.iteration:
            signal.raise_signal(signal.SIGTERM)


class _InitialWeights:
    """Begin with the weights of the experiment that this one was forked from."""

    def __init__(self, path: str) -> None:
        self.path = path

    def attach(self, trainer: TrainingEngine) -> None:
        load_checkpoint(self.path, trainer.model, averaged=None)


def best_checkpoint(
    experiment: ExperimentManager, settings: dict[str, Any], losses: Mapping[str, str], **of_metrics: Any
) -> BestCheckpoint:
    """What saves the epoch that is best by the command's ``--monitor``, without one by the validation loss.

    Args:
        experiment: whose folder gets the file.
        settings: of the command.
        losses: what the recipe measures anyway, and which way it is better.
        of_metrics: how the recipe reads the names of metrics, as for ``Measuring``.
    """
    options = default_options(**{name: settings[name] for name in ("metrics", "monitor", "mode")})
    measuring = Measuring(options, losses, "val_loss", validates=True, **of_metrics)
    return BestCheckpoint(Path(experiment.checkpoints_dir) / "best_model.pt", measuring.monitor, mode=measuring.mode)


def monitored(settings: dict[str, Any], result: Mapping[str, Any]) -> str:
    """What the best epoch's monitored metric was, for the last line; empty if it is one that the line has anyway."""
    value = result.get(f"best_{settings['monitor']}")
    return "" if value is None else f" ({settings['monitor']} {value:.4g})"


def reached(result: Mapping[str, Any], epochs_trained: int) -> dict[str, Any]:
    """The best epoch of a recipe's result and what it measured, for scripts."""
    epoch = result["best_epoch"]
    history = result["history"]
    return {
        "best_epoch": epoch,
        "epochs_trained": epochs_trained,
        "stopped_early": result["stopped_early"],
        **{name: values[epoch - 1] for name, values in history.items() if len(values) >= epoch},
    }


def require_best(experiment: ExperimentManager, settings: dict[str, Any], epoch: int | None) -> None:
    """Raise ValueError if no epoch was the best, since what decides was never a finite number."""
    if not epoch:
        raise ValueError(
            f"no epoch of {experiment.experiment_dir} had a finite {settings['monitor'] or 'validation loss'}, so "
            "there is no best one: see its log; its last epoch is in checkpoints/latest_checkpoint.pt"
        )


def run_handlers(experiment: ExperimentManager, settings: dict[str, Any]) -> list[Any]:
    """What keeps an experiment's settings, and cuts its run where it was asked to."""
    iteration = settings["stop_at_iteration"]
    return [_KeepSettings(experiment, settings), *([] if iteration is None else [_StopAt(iteration)])]


def experiment_handlers(
    experiment: ExperimentManager, settings: dict[str, Any], best: BestCheckpoint, unit: str
) -> list[Any]:
    """All that makes a run an experiment: first weights, settings, signals, log, curves and checkpoints.

    Args:
        experiment: whose folder gets the files.
        settings: of the command.
        best: saves the best epoch.
        unit: of the losses, for the curves.
    """
    folder, every = experiment.checkpoints_dir, settings["save_every"]
    first = [] if experiment.initial_weights is None else [_InitialWeights(experiment.initial_weights)]
    kept = [] if every is None else [Checkpointing(folder, "epoch_{epoch}.pt", every=every)]
    latest = Checkpointing(folder, LATEST, every_iterations=settings["save_every_iterations"])
    return [
        *first,
        *run_handlers(experiment, settings),
        *recorders(experiment, unit),
        best,
        *kept,
        latest,
        StopOnSignal(latest.save),
    ]


def checkpoint_to_resume(experiment: ExperimentManager, settings: dict[str, Any]) -> Path | None:
    """The newest sound checkpoint of an experiment that is resumed; None starts at its first epoch."""
    return checkpoint_to_resume_from(experiment) if settings["resume"] is not None else None

"""What the commands of all recipes do with the run of their experiment."""

import signal
from collections.abc import Mapping
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["monitored", "reached", "require_best", "stop_at"]


class _StopAt:
    """Send the process SIGTERM in a certain iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, trainer: Engine) -> None:
        if trainer.state.iteration == self.iteration:
            signal.raise_signal(signal.SIGTERM)


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


def require_best(run: ExperimentRun, settings: dict[str, Any], epoch: int | None) -> None:
    """Raise ValueError if no epoch was the best, since what decides was never a finite number."""
    if not epoch:
        raise ValueError(
            f"no epoch of {run.make().experiment_dir} had a finite {settings['monitor'] or 'validation loss'}, so "
            "there is no best epoch: see its log; its last epoch is in checkpoints/latest_checkpoint.pt"
        )


def stop_at(settings: dict[str, Any]) -> list[Any]:
    """What cuts a run where it was asked to."""
    iteration = settings["stop_at_iteration"]
    return [] if iteration is None else [_StopAt(iteration)]

"""What decides about a run: one metric, read where all of an epoch's metrics are known."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.engine import TrainingEngine
from ignite_recipes.events import TrainEvents

__all__ = ["Metric", "decision_event", "read_metric"]

Metric = str | Callable[[Engine], float]
"""A name in ``state.metrics``, or a function of the trainer that gives the number."""


def decision_event(engine: Engine) -> Any:
    """Where a handler decides on an epoch: METRICS_READY of our trainer, EPOCH_COMPLETED of another Engine."""
    return TrainEvents.METRICS_READY if isinstance(engine, TrainingEngine) else Events.EPOCH_COMPLETED


def read_metric(engine: Engine, metric: Metric) -> float:
    """The metric's value now.

    Raises:
        RuntimeError: if the engine has no such metric at this moment, naming those it has.
    """
    if callable(metric):
        return float(metric(engine))
    if metric not in engine.state.metrics:
        known = ", ".join(sorted(engine.state.metrics)) or "none"
        raise RuntimeError(
            f"the metric {metric!r} must be in state.metrics when an epoch ends; there are: {known}. "
            "Attach what computes it (Validation, EpochAverages) to this trainer, or name another metric"
        )
    return float(engine.state.metrics[metric])

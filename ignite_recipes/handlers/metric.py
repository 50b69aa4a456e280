"""What decides about a run: one metric, read where all of an epoch's metrics are known."""

from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.distributed import on_first_process
from ignite_recipes.engine import TrainingEngine
from ignite_recipes.events import TrainEvents

__all__ = ["Metric", "decision_event", "read_metric"]

Metric = str | Callable[[Engine], float]
"""A name in ``state.metrics``, or a function of the trainer that gives the number."""


def decision_event(engine: Engine) -> Any:
    """Where a handler decides on an epoch: METRICS_READY of our trainer, EPOCH_COMPLETED of another Engine."""
    return TrainEvents.METRICS_READY if isinstance(engine, TrainingEngine) else Events.EPOCH_COMPLETED


def read_metric(engine: Engine, metric: Metric) -> float:
    """The metric's value now; of a trainer of ours that of the first process in all, so that they decide alike.

    Raises:
        RuntimeError: if the engine has no such metric at this moment, naming those it has.
    """
    if callable(metric):
        value = float(metric(engine))  # in all processes, for it may be computed by all together
        return on_first_process(lambda: value) if isinstance(engine, TrainingEngine) else value
    name = metric
    return (
        on_first_process(lambda: _named(engine, name)) if isinstance(engine, TrainingEngine) else _named(engine, name)
    )


def _named(engine: Engine, name: str) -> float:
    if name not in engine.state.metrics:
        known = ", ".join(sorted(engine.state.metrics)) or "none"
        raise RuntimeError(
            f"the metric {name!r} must be in state.metrics when an epoch ends; there are: {known}. "
            "Attach what computes it (Validation, EpochAverages) to this trainer, or name another metric"
        )
    return float(engine.state.metrics[name])

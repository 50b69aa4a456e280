"""Metrics of Ignite's, fed with what an evaluator of ours computes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ignite.distributed import utils
from ignite.distributed.comp_models.base import _SerialModel
from ignite.engine import Engine, Events
from ignite.metrics import Metric, MetricsLambda

from ignite_recipes.engine.predictions import Predictions
from ignite_recipes.exchange.ranks import all_gather, world_size

__all__ = ["OfIgnite"]

_NAME = "metric"


class OfIgnite:
    """A metric of Ignite's, attached to an engine of its own, so that composed ones work and none meets another."""

    fixes = ""

    def __init__(self, metric: Metric) -> None:
        if world_size() > 1 and any(map(_keeps_outputs, _parts_of(metric))):
            raise ValueError(
                "a metric that is composed of one that keeps all outputs, e.g. EpochMetric, is measured by one process "
                "only; got several ranks: compose it inside the function of the EpochMetric"
            )
        self.metric = metric
        self.mode: str | None = None
        self._engine = Engine(_nothing)
        metric.attach(self._engine, _NAME)

    def __getstate__(self) -> dict[str, Any]:
        return {"metric": self.metric}  # handlers know their engine: a copy has one of its own

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["metric"])  # type: ignore[misc]

    def start(self) -> None:
        """Empty it."""
        self._engine.state.metrics = {}
        self._engine.fire_event(Events.EPOCH_STARTED)

    def add(self, batch: Predictions) -> None:
        """Give it ``(outputs, targets)``, which its ``output_transform`` may change."""
        state: Any = self._engine.state
        state.output = (batch.outputs, batch.targets)
        self._engine.fire_event(Events.ITERATION_COMPLETED)
        state.output = None

    def value(self) -> Any:
        """What it computes, with the other ranks where it does so itself."""
        if world_size() > 1 and _keeps_outputs(self.metric):
            return _value_of_all(self.metric)
        self._engine.fire_event(Events.EPOCH_COMPLETED)
        return self._engine.state.metrics[_NAME]


def _nothing(engine: Engine, batch: Any) -> None:
    """The update function of an engine that never runs."""


def _parts_of(metric: Metric) -> Iterator[Metric]:
    """The metrics that one is composed of."""
    if isinstance(metric, MetricsLambda):
        for part in (*metric.args, *metric.kwargs.values()):
            if isinstance(part, Metric):
                yield part
                yield from _parts_of(part)


def _keeps_outputs(metric: Any) -> bool:
    """Whether it keeps the outputs of all batches, as ``EpochMetric`` and the curves do."""
    return isinstance(getattr(metric, "_predictions", None), list) and isinstance(metric._targets, list)


def _value_of_all(metric: Any) -> Any:
    """The value for the outputs of all ranks. Ignite gathers them as if all ranks had equally many, or breaks off."""
    kept = all_gather((metric._predictions, metric._targets))
    metric._predictions, metric._targets = ([part for own in side for part in own] for side in zip(*kept, strict=True))
    with _alone():
        return metric.compute()


@contextmanager
def _alone() -> Iterator[None]:
    """Inside the block Ignite takes this rank for the only one."""
    before = utils._model, utils._need_to_sync
    utils._model, utils._need_to_sync = _SerialModel(), False
    try:
        yield
    finally:
        utils._model, utils._need_to_sync = before

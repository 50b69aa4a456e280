"""What an engine has measured, as its handlers read it: the metrics of this epoch, with one value on all ranks."""

import logging
from collections.abc import Callable, Iterable
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.engine.describe import is_filtered
from ignite_recipes.engine.state import EpochMetrics
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.handlers._numbers import numbers_of
from ignite_recipes.handlers._run_end import MissingMetrics
from ignite_recipes.metrics import known_mode

__all__ = ["HostMetrics", "Metric", "say_other_direction"]

logger = logging.getLogger(__name__)

Metric = str | Callable[[Any], float | Tensor]
"""A name in ``state.metrics``, or a function of the trainer, of whichever class, that gives the number."""


class HostMetrics:
    """The metrics of an engine; a part of its :class:`~ignite_recipes.handlers._host.Host`.

    Args:
        engine: whose ``state.metrics`` to read.
        trainer: the same, if it is a trainer of ours.
    """

    def __init__(self, engine: Engine, trainer: TrainingEngine | None) -> None:
        self.engine, self.trainer = engine, trainer

    def watch(self, metric: Metric, mode: str, *, independent: bool = False) -> None:
        """Note that a handler decides on ``metric``, which is better when it is smaller or larger (``mode``).

        Args:
            metric: what it decides on.
            mode: ``"min"`` or ``"max"``.
            independent: the user means it to watch something else than the others: nothing is compared or noted.

        Raises:
            ValueError: if another handler watches something else: a plateau schedule and early stopping that
                disagree about what is better work against each other.
        """
        say_other_direction(metric, mode)
        if self.trainer is None or independent:
            return
        if self.trainer.watched not in (None, (metric, mode)):
            raise ValueError(
                f"every handler of a trainer must watch the same metric in the same direction; "
                f"{self.trainer.watched} is watched already, got {(metric, mode)}. If you mean this one to watch "
                "something else, say so: attach(trainer, metric, independent=True)"
            )
        self.trainer.watched = metric, mode

    def read(self, metric: Metric, handler: object, *, is_first: bool) -> float | None:
        """The metric's value of this epoch; None if the epoch did not measure what others do.

        If it never comes, a warning says so when the run ends.

        Of a trainer of ours it is that of rank 0 on all ranks, so that they decide alike. On another Engine all that is
        there counts as measured in this epoch.

        Args:
            metric: what to read.
            handler: who asks.
            is_first: whether it has had no value yet, nor in the part of the run that this one continues.

        Raises:
            RuntimeError: if the engine has no such metric, and measures in every epoch; it names those there are.
        """
        if callable(metric):
            value = float(metric(self.engine))  # on all ranks, for it may be computed by all together
            return value if self.trainer is None else on_rank_zero(lambda: value)
        name = metric
        found = self._named(name) if self.trainer is None else on_rank_zero(lambda: self._named(name))
        self.await_metrics(handler, [name] if found is None and is_first else [])
        return found

    def await_metrics(self, handler: object, names: Iterable[str]) -> None:
        """Let a warning say at the end of the run which metrics a handler has never had.

        Args:
            handler: who asks for them.
            names: the names of those that have not come yet; each call, one an epoch, replaces those of the one before.
        """
        missing = next(
            (e[0] for e in self.engine._event_handlers[Events.COMPLETED] if isinstance(e[0], MissingMetrics)), None
        )
        names = list(names)
        if missing is None and names:
            missing = MissingMetrics()
            self.engine.add_event_handler(Events.COMPLETED, missing)
        if missing is not None:
            missing.names[handler] = names

    def measure_now_and_then(self) -> None:
        """Tell metrics of this epoch from those of earlier ones, on another Engine too."""
        metrics = self.engine.state.metrics
        if not isinstance(metrics, EpochMetrics):
            self.engine.state.metrics = EpochMetrics(metrics)
            self.engine.add_event_handler(Events.EPOCH_STARTED, begin_epoch)

    def new(self) -> dict[str, Any]:
        """The metrics of this epoch, without those of an earlier one; all there are on another Engine."""
        metrics = self.engine.state.metrics
        return metrics.new() if isinstance(metrics, EpochMetrics) else dict(metrics)

    def numbers(self, names: Iterable[str] | None = None, *, of_earlier_epochs: bool = False) -> dict[str, float]:
        """Those of this epoch that are numbers, of ``names`` or all; of the others a warning says so, once in a run."""
        known = self.engine.state.metrics if of_earlier_epochs else self.new()
        said: set[str] = vars(self.engine).setdefault("no_numbers", set())
        return numbers_of(known if names is None else {name: known[name] for name in names if name in known}, said)

    @property
    def _measures_now_and_then(self) -> bool:
        """Whether something that may measure is attached to some epochs or iterations only, ``every=2``."""
        handlers = self.engine._event_handlers
        return any(
            is_filtered(entry[0])
            for event in (Events.EPOCH_COMPLETED, Events.ITERATION_COMPLETED)
            for entry in handlers[event]
        )

    def _named(self, name: str) -> float | None:
        metrics = self.new()
        if name not in metrics and (name in self.engine.state.metrics or self._measures_now_and_then):
            return None
        if name not in metrics:
            known = ", ".join(sorted(self.engine.state.metrics)) or "none"
            raise RuntimeError(
                f"the metric {name!r} must be in state.metrics when an epoch ends; there are: {known}. "
                "Attach what computes it (Validation, EpochAverages) to this trainer, or name another metric"
            )
        return float(metrics[name])


def say_other_direction(metric: Metric, mode: str) -> None:
    """Warn of a metric that is known to be better the other way: where ``mode`` is left out, it is ``"min"``."""
    name = metric.removeprefix("val_").removeprefix("train_") if isinstance(metric, str) else ""
    known = known_mode(name)
    if known not in (None, mode):
        logger.warning(
            "the metric %r should be watched with mode=%r, if it is what its name says; got %r", metric, known, mode
        )


def begin_epoch(engine: Engine) -> None:
    """What was measured so far is of an earlier epoch."""
    metrics = engine.state.metrics
    if isinstance(metrics, EpochMetrics):
        metrics.begin_epoch()

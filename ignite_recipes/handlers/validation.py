"""Evaluate the model while it is trained: at the ends of epochs, or inside them."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from operator import length_hint
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.metric_set import Metrics, MetricSet
from ignite_recipes.engine.modes import preserved_modes
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.handlers._numbers import as_number
from ignite_recipes.handlers.ema import ExponentialMovingAverage
from ignite_recipes.loading.given import as_loader

__all__ = ["LastMeasured", "Validation"]


class Validation:
    """Run an evaluator over the validation data and copy its metrics to the trainer's.

    Runs:   trainer, EPOCH_COMPLETED; with ``every_iterations`` ITERATION_COMPLETED.
    Reads:  the evaluator's ``state.metrics``.
    Writes: the trainer's ``state.metrics[prefix + name]``.
    Keeps:  nothing, except with ``every_iterations`` its last metrics. It cannot change the training: our evaluator
            leaves modes and generators as they were.

    In an epoch without a validation its metrics are those of an earlier one: early stopping, plateau schedules and
    ``BestCheckpoint`` decide on none of them twice, and the history has NaN. Inside epochs only
    ``BestCheckpoint(path, every_validation=True)`` decides; the others take the epoch's last validation at its end.

    Args:
        evaluator: an evaluator of :func:`ignite_recipes.create_evaluator`, or any Engine with metrics.
        loader: the validation data: a loader or a data set; with ``batch_size`` also an array or a tuple of arrays.
        prefix: the prefix of the names.
        every: epochs from one validation to the next; counted from the run's first, also on a resume.
        every_iterations: instead, the iterations from one to the next, inside epochs too; with averaged weights where
            ``ExponentialMovingAverage`` validates with them.
        metrics: the metrics of the evaluator's outputs and targets, in addition to its own: a
            :class:`~ignite_recipes.MetricSet`, or what makes one, e.g. ``["f1", "auroc"]``.
        batch_size: rows per batch, if a data set or arrays are given in place of a loader.

    >>> evaluator = Engine(lambda engine, batch: None)
    >>> evaluator.state.metrics = {"loss": 0.5}
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = Validation(evaluator, [0]).attach(trainer)
    >>> trainer.run([0]).metrics
    {'val_loss': 0.5}
    """

    def __init__(
        self,
        evaluator: Engine,
        loader: Any,
        prefix: str = "val_",
        *,
        every: int = 1,
        every_iterations: int | None = None,
        metrics: Metrics | MetricSet = None,
        batch_size: int | None = None,
    ) -> None:
        if not isinstance(evaluator, Engine):
            raise TypeError(f"evaluator must be an engine, e.g. of create_evaluator(...); got {evaluator!r}")
        loader = as_loader(loader, batch_size, shuffle=False, name="loader")
        if length_hint(loader, 1) == 0:
            raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")
        self.evaluator, self.loader, self.prefix = evaluator, loader, prefix
        self.every = whole_number(every, "every", "epochs")
        self.every_iterations = None if every_iterations is None else whole_number(every_iterations, "every_iterations")
        if self.every_iterations is not None and self.every != 1:
            raise ValueError("a validation is every N epochs or every N iterations; got both: pass one of them")
        own = metrics if isinstance(metrics, MetricSet) else MetricSet(metrics)
        if own:
            own.attach(evaluator)
        self._last = LastMeasured()

    def __repr__(self) -> str:
        rhythm = "" if self.every == 1 else f", every={self.every}"
        if self.every_iterations is not None:
            rhythm = f", every_iterations={self.every_iterations}"
        return f"Validation(prefix={self.prefix!r}{rhythm})"

    def attach(self, trainer: Engine) -> "Validation":
        """Evaluate at these times while ``trainer`` runs.

        Raises:
            RuntimeError: if it runs at the ends of epochs, and an engine of your own has a handler that decides on
                metrics or records them: attach that one afterwards.
        """
        host = training_host_of(trainer, self)
        if self.every_iterations is not None:
            host.metrics.measure_now_and_then()
            host.keep("validation", self._last)
            trainer.add_event_handler(Events.EPOCH_STARTED, self._last.give_back)
            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=self.every_iterations), self)
            return self
        host.check_measures_first(self)
        if self.every == 1:
            trainer.add_event_handler(Events.EPOCH_COMPLETED, self)
            return self
        host.metrics.measure_now_and_then()
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=self.every), self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Evaluate now."""
        if trainer.state.seed is not None:
            self.evaluator.state.seed = trainer.state.seed
        with _measured_weights(trainer, inside=self.every_iterations is not None):
            self.evaluator.run(self.loader)
        metrics = self.evaluator.state.metrics
        measured = {self.prefix + name: value for name, value in metrics.items()}
        trainer.state.metrics.update(measured)
        self._last.note(trainer.state.epoch, measured)


class LastMeasured:
    """What the last validation has measured, so that an epoch that is resumed inside knows it.

    Attributes:
        times: how often it was measured since the run began, or since a state was loaded.
    """

    def __init__(self) -> None:
        self._epoch, self._metrics = 0, dict[str, Any]()
        self.times = 0

    def note(self, epoch: int, metrics: dict[str, Any]) -> None:
        """Remember what a validation in ``epoch`` came to."""
        self._epoch, self._metrics = epoch, metrics
        self.times += 1

    def give_back(self, trainer: Engine) -> None:
        """Let the trainer know it again, in the epoch that it is of."""
        if self._epoch == trainer.state.epoch:
            trainer.state.metrics.update(self._metrics)

    def state_dict(self) -> dict[str, Any]:
        """The epoch, and what are numbers."""
        numbers = {name: value for name, value in self._metrics.items() if as_number(value) is not None}
        return {"epoch": self._epoch, "metrics": numbers}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Know what was measured before."""
        self._epoch, self._metrics = state["epoch"], dict(state["metrics"])
        self.times = 0


@contextmanager
def _measured_weights(trainer: Engine, *, inside: bool) -> Iterator[None]:
    """The weights that an epoch is measured with, also where this is not its end; afterwards the modes of now."""
    host = host_of(trainer)
    with ExitStack() as stack:
        if host.step is not None:
            stack.enter_context(preserved_modes(host.step.model))  # an evaluator of Ignite's leaves eval()
        if inside and host.trainer is not None:
            for part in host.trainer.parts.values():
                if isinstance(part, ExponentialMovingAverage) and part.validate:
                    part.end_batch()  # it may be attached after this handler
                    stack.enter_context(part.averaged())
        yield

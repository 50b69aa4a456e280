"""Named metrics of a model's outputs, over all samples of an evaluation and all ranks."""

import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import Tensor

from ignite_recipes.engine.measures import Measure, measure_of
from ignite_recipes.engine.predictions import Predictions
from ignite_recipes.exchange.ranks import all_reduce_max, on_rank_zero
from ignite_recipes.loading.batches import count_samples
from ignite_recipes.metrics import NamedMetric, canonical, named_metric

__all__ = ["MetricSet", "Metrics", "View"]

logger = logging.getLogger(__name__)

Metrics = Mapping[str, Any] | Sequence[str] | str | None
"""Metrics by name, or names of known ones in a list, or in a string with commas."""

View = Callable[[Any, Any], tuple[Any, Any]]
"""Gives a part of outputs and targets."""


class MetricSet:
    """Metrics of an evaluator's outputs and targets, measured over all samples, and not as means of batches' means.

    A metric is one of

    - a name: ``"accuracy"``, ``"balanced_accuracy"``, ``"f1"``, ``"auroc"``, ``"mae"``, ``"r2"``, see
      :func:`named_metric`;
    - an object of Ignite's or torchmetrics', or any other with ``reset()``, ``update(outputs, targets)`` and
      ``compute()``;
    - a function of ``(outputs, targets)`` that gives a number for the batch, which counts by its number of samples, or
      one for each sample, (N,): the metric is the mean over all samples.

    A metric that raises is NaN in that epoch, which a warning says; the run continues. If a metric gives a dict, each
    entry becomes a metric, ``{name}_{key}``. The host waits for nothing before the evaluation's end.

    Runs:   evaluator; EPOCH_STARTED, ITERATION_COMPLETED, EPOCH_COMPLETED.
    Reads:  ``state.predictions`` of an evaluator of ours, whose loss function gives ``"outputs"`` and ``"targets"``
            in addition to ``"loss"``; for another Engine ``state.output``, which must be ``(outputs, targets)``.
    Writes: ``state.metrics[name]``: floats, the same on all ranks; other values as they are.
    Keeps:  nothing: it starts again with each evaluation.

    Args:
        metrics: by name, or a list of names of known ones, or a string of them with commas; None is none.
        threshold, ignore_index: of those that are given by their names, as in :func:`named_metric`.
        views: by the beginning of a metric's name, ``"{view}_"``, what it is given instead: a function of outputs and
            targets that gives both. Where there are views, a known name is that of a view and of a metric,
            ``"classification_f1"``.
        prepare: changes outputs and targets, before anything else, for all metrics.
        taken: names that are not free, since the evaluator's losses have them.

    Raises:
        TypeError, ValueError: for an object that is not a metric, an unknown name, or a name that is taken.

    >>> from ignite.metrics import Accuracy
    >>> metrics = MetricSet({"f1": "f1", "right": Accuracy(), "error": lambda outputs, y: outputs.argmax(1) != y})
    >>> engine = Engine(lambda engine, batch: batch)
    >>> _ = metrics.attach(engine)
    >>> batches = [(torch.eye(2)[[0, 1, 1]], torch.tensor([0, 0, 1])), (torch.eye(2)[[0]], torch.tensor([0]))]
    >>> engine.run(batches).metrics
    {'f1': 0.66666666666667, 'right': 0.75, 'error': 0.25}
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        threshold: float = 0.0,
        ignore_index: int = -100,
        views: Mapping[str, View] | None = None,
        prepare: View | None = None,
        taken: Sequence[str] = (),
    ) -> None:
        views, self._prepare = views or {}, prepare
        self._measures: dict[str, Measure] = {}
        self._views: dict[str, View] = {}
        given: list[Any] = []
        for name, metric in _by_name(metrics).items():
            _check_name(name)
            view = _beginning(views, canonical(metric) if isinstance(metric, str) else name)
            if isinstance(metric, str):
                own = _own_name(metric, view, views)
                metric = named_metric(own, threshold=threshold, ignore_index=ignore_index)
            _check_free(name, metric, taken, given)
            given.append(metric)
            self._measures[name] = measure_of(metric)
            if view is not None:
                self._views[name] = views[view]
        self._failures: dict[str, str] = {}
        self._said: set[str] = set()

    def __repr__(self) -> str:
        return f"MetricSet({', '.join(self._measures)})"

    def __len__(self) -> int:
        return len(self._measures)

    def __iter__(self) -> Iterator[str]:
        return iter(self._measures)

    def mode(self, name: str) -> str | None:
        """Which way a metric is better, ``"min"`` or ``"max"``; None where only its user knows."""
        return self._measures[name].mode

    def attach(self, engine: Engine) -> "MetricSet":
        """Measure what ``engine``, an evaluator, computes."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._start)
        engine.add_event_handler(Events.ITERATION_COMPLETED, self)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._compute)
        return self

    def _start(self, engine: Engine) -> None:
        self._failures = {}
        for name, measure in self._measures.items():
            with _noting(self._failures, name):
                measure.start()

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Take note of a batch.

        Raises:
            TypeError: if the engine gives no outputs and targets.
        """
        batch = _predictions(engine)
        if not (batch.num_samples and batch.counts):
            return
        if self._prepare is not None:
            outputs, targets = self._prepare(batch.outputs, batch.targets)
            batch = batch._replace(outputs=outputs, targets=targets)
        for name, measure in self._measures.items():
            if name not in self._failures:
                with _noting(self._failures, name):
                    measure.add(self._seen(name, batch))

    def _compute(self, engine: Engine) -> None:
        for name, measure in self._measures.items():
            value: Any = math.nan
            if not all_reduce_max(name in self._failures):  # what one rank lacks, the others cannot wait for
                with _noting(self._failures, name):
                    value = _plain(measure.value())
            value, failure = on_rank_zero(lambda value=value, name=name: (value, self._failures.get(name)))  # type: ignore[misc]
            self._say(name, value, failure or self._failures.get(name), measure)
            engine.state.metrics.update(_flat(name, value))

    def _seen(self, name: str, batch: Predictions) -> Predictions:
        view = self._views.get(name)
        if view is None:
            return batch
        outputs, targets = view(batch.outputs, batch.targets)
        return batch._replace(outputs=outputs, targets=targets)

    def _say(self, name: str, value: Any, failure: str | None, measure: Measure) -> None:
        """Log why a metric has no value, once for each reason."""
        text = failure
        if text is None and isinstance(value, float) and math.isnan(value) and measure.fixes:
            text = f"it is not defined for these samples: {measure.fixes}"
        if text is not None and f"{name}: {text}" not in self._said:
            self._said.add(f"{name}: {text}")
            logger.warning("the metric %r is NaN here, and the run continues: %s", name, text)


@contextmanager
def _noting(failures: dict[str, str], name: str) -> Iterator[None]:
    """Inside the block an error of a metric is noted, and ends nothing."""
    try:
        yield
    except Exception as error:
        failures.setdefault(name, f"{type(error).__name__}: {' '.join(str(error).split())}")


def _by_name(metrics: Metrics) -> Mapping[str, Any]:
    if metrics is None:
        return {}
    if isinstance(metrics, Mapping):
        return metrics
    if isinstance(metrics, str):
        metrics = [name.strip() for name in metrics.split(",") if name.strip()]
    if not isinstance(metrics, (list, tuple)) or not all(isinstance(name, str) for name in metrics):
        raise TypeError(
            "metrics must be a dict, {'f1': ...}, or a list of names of known metrics, ['f1', 'accuracy']; got "
            f"{metrics!r}: give others names of their own, in a dict"
        )
    names = [canonical(name) for name in metrics]
    if len(set(names)) < len(names):
        raise ValueError(f"each metric must be named once; got {', '.join(metrics)}")
    return {name: name for name in names}


def _beginning(views: Mapping[str, View], name: str) -> str | None:
    """The view that a name begins with."""
    return next((view for view in views if name.startswith(f"{view}_")), None)


def _own_name(name: str, view: str | None, views: Mapping[str, View]) -> str:
    """The name of a known metric without that of its view, which it must have where there are views."""
    name = canonical(name)
    if views and view is None:
        choices = ", ".join(f"{view}_{name}" for view in views)
        raise ValueError(f"a metric that is given by its name is of one output: {choices}; got {name!r}")
    return name if view is None else name.removeprefix(f"{view}_")


def _check_free(name: str, metric: Any, taken: Sequence[str], given: Sequence[Any]) -> None:
    """Refuse a name that the losses have, and an object that has another name already: it would count twice."""
    is_the_same = isinstance(metric, NamedMetric) and metric.name == name == "accuracy"
    if name in taken and not is_the_same:
        raise ValueError(f"a metric must not be named {name!r}: the history has that already; name it otherwise")
    if hasattr(metric, "reset") and any(metric is other for other in given):
        raise ValueError(f"each metric must be an object of its own; got one for {name!r} and another name")


def _check_name(name: Any) -> None:
    if not isinstance(name, str) or not name or name != name.strip() or not name.isprintable():
        raise ValueError(f"the name of a metric must be a string without spaces around it; got {name!r}")
    if name.startswith(("val_", "train_")):
        short = name.partition("_")[2]
        raise ValueError(
            f"a metric's name must not begin with val_ or train_, which is put before it; got {name!r}: "
            f"name it {short!r}"
        )


def _predictions(engine: Engine) -> Predictions:
    state: Any = engine.state
    if (known := getattr(state, "predictions", None)) is not None:
        return known  # type: ignore[no-any-return]
    if isinstance(state.output, (list, tuple)) and len(state.output) == 2:
        outputs, targets = state.output
        return Predictions(outputs, targets, count_samples(state.output))
    raise TypeError(
        "metrics need outputs and targets: the loss function of an evaluator must give them too, {'loss': loss, "
        f"'outputs': outputs, 'targets': targets}}, another Engine's output be (outputs, targets); got "
        f"{type(state.output).__name__}"
    )


def _plain(value: Any) -> Any:
    """A number as a float, what has several on the CPU."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Tensor):
        return float(value) if value.numel() == 1 and not value.is_complex() else value.detach().cpu()
    if isinstance(value, str):
        return value
    try:
        return float(value)
    except (TypeError, ValueError):
        return value


def _flat(name: str, value: Any) -> dict[str, Any]:
    """A metric, or the entries of a dict as metrics of their own."""
    if not isinstance(value, dict):
        return {name: value}
    return {full: item for key, part in value.items() for full, item in _flat(f"{name}_{key}", part).items()}

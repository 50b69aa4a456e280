"""The kinds of metrics that a :class:`~ignite_recipes.MetricSet` takes, in one form: start, add batches, a value."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from ignite.metrics import Metric
from torch import Tensor, nn

from ignite_recipes.engine.ignite_measure import OfIgnite
from ignite_recipes.engine.predictions import Predictions
from ignite_recipes.exchange.ranks import all_gather, all_reduce_sum, world_size
from ignite_recipes.metrics import NamedMetric, SampleMeans
from ignite_recipes.metrics.statistics import Statistic, exact_dtype, fold

__all__ = ["Measure", "measure_of", "rounded"]


class Measure(Protocol):
    """A metric over the batches of an epoch.

    Attributes:
        mode: which way it is better, ``"min"`` or ``"max"``; None if that is not known.
        fixes: why it may be NaN, for a warning; empty if that is not known.
    """

    mode: str | None
    fixes: str

    def start(self) -> None:
        """Forget what was measured."""
        ...

    def add(self, batch: Predictions) -> None:
        """Take note of a batch; the host waits for nothing."""
        ...

    def value(self) -> Any:
        """What it has come to, over all ranks; all of them must ask."""
        ...


def measure_of(metric: Any) -> Measure:
    """The measure of a metric of any kind.

    Raises:
        TypeError: for what is none.
    """
    if isinstance(metric, type):
        raise TypeError(f"a metric must be an object or a function; got the class {metric.__name__}: call it")
    if isinstance(metric, NamedMetric):
        return WholeSet(metric)
    if isinstance(metric, Metric):
        return OfIgnite(metric)
    if all(callable(getattr(metric, name, None)) for name in ("reset", "update", "compute")):
        return OfObject(metric)
    if callable(metric):
        return PerSample(metric)
    raise TypeError(
        "a metric must be a name, a function of (outputs, targets), or an object of Ignite's or torchmetrics'; got "
        f"{metric!r}"
    )


class WholeSet:
    """A metric by its name: the statistics of batches add up to that of all samples."""

    def __init__(self, metric: NamedMetric) -> None:
        self.metric, self.fixes = metric, metric.when_undefined
        self.mode: str | None = metric.mode
        self._statistics: list[Statistic] = []

    def start(self) -> None:
        """Forget what was measured."""
        self._statistics = []

    def add(self, batch: Predictions) -> None:
        """Keep the statistic of a batch."""
        self._statistics.append(self.metric.statistic(batch.outputs, batch.targets))
        if self.metric.fold == "sum":
            self._statistics = [fold(self._statistics, "sum")]

    def value(self) -> float:
        """The value for the samples of all ranks; NaN without one."""
        own = [fold(self._statistics, self.metric.fold)] if self._statistics else []
        self._statistics = []
        found = [statistic for part in all_gather(own) for statistic in part]
        return rounded(self.metric.value(fold(found, self.metric.fold)).item()) if found else math.nan


class PerSample:
    """A function: the mean over samples of what it gives for each batch, or for each sample of it."""

    fixes = ""

    def __init__(self, function: Callable[[Any, Any], Any]) -> None:
        self.function = function
        self.mode: str | None = None
        self._means = SampleMeans()

    def start(self) -> None:
        """Forget what was measured."""
        self._means.clear()

    def add(self, batch: Predictions) -> None:
        """Keep the mean of a batch.

        Raises:
            TypeError: if the function gives something else than a number, or one for each sample.
        """
        value = self.function(batch.outputs, batch.targets)
        if not isinstance(value, (Tensor, int, float, np.ndarray, np.generic)):
            raise TypeError(f"a function must give a number or a tensor; got {type(value).__name__}: {_OTHERWISE}")
        value = torch.as_tensor(value).detach()
        if value.is_complex():
            raise TypeError(f"a function must give real numbers; got {value.dtype}")
        if value.dim() > 1 or value.numel() not in (1, batch.num_samples):
            raise TypeError(
                f"a function must give one number, or one for each of the {batch.num_samples} samples; got shape "
                f"{tuple(value.shape)}: {_OTHERWISE}"
            )
        exact = value.to(exact_dtype(value))
        self._means.add({"value": exact.mean()}, batch.num_samples)

    def value(self) -> float:
        """Over the samples of all ranks; NaN without one."""
        own = self._means.num_samples
        mean = self._means.read().get("value", math.nan)
        if world_size() == 1:
            return mean
        total = all_reduce_sum(mean * own if own else 0.0)
        count = all_reduce_sum(own)
        return rounded(total / count) if count else math.nan


class OfObject:
    """An object with ``reset()``, ``update(outputs, targets)`` and ``compute()``, such as torchmetrics'."""

    fixes = ""

    def __init__(self, metric: Any) -> None:
        self.metric = metric
        higher = getattr(metric, "higher_is_better", None)  # torchmetrics says it
        self.mode: str | None = None if higher is None else "max" if higher else "min"

    def start(self) -> None:
        """Empty it."""
        self.metric.reset()

    def add(self, batch: Predictions) -> None:
        """Update it, on the device of the outputs."""
        if isinstance(self.metric, nn.Module) and isinstance(batch.outputs, Tensor):
            self.metric.to(batch.outputs.device)
        self.metric.update(batch.outputs, batch.targets)

    def value(self) -> Any:
        """What it computes, with the other ranks where it does so itself."""
        return self.metric.compute()


_OTHERWISE = "for a value of all samples together, give an object, e.g. ignite.metrics.EpochMetric(function)"


def rounded(value: float) -> float:
    """To 14 digits, so that samples that are batched otherwise come to the same number."""
    return float(f"{value:.14g}")

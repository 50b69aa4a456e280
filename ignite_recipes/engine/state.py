"""What a run of ours adds to Ignite's State."""

from collections.abc import Mapping
from typing import Any

from ignite.engine import State
from torch import Tensor

__all__ = ["EpochMetrics", "TrainingState"]


class EpochMetrics(dict[str, Any]):
    """A dict that knows which of its entries were written in the current epoch.

    A metric that is not measured in an epoch keeps its earlier value, on which no handler should decide again.

    >>> metrics = EpochMetrics(val_loss=0.5)
    >>> metrics.begin_epoch()
    >>> metrics["train_loss"] = 0.25
    >>> metrics.new()
    {'train_loss': 0.25}
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written = set(self)

    def begin_epoch(self) -> None:
        """From now on everything is of an earlier epoch, until it is written again."""
        self._written = set()

    def new(self) -> dict[str, Any]:
        """What was written since the epoch began."""
        return {name: value for name, value in self.items() if name in self._written}

    def __reduce__(self) -> Any:
        return _metrics_of, (dict(self), set(self._written))

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        self._written.add(name)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """As of any dict."""
        for name, value in dict(*args, **kwargs).items():
            self[name] = value

    def setdefault(self, name: str, default: Any = None) -> Any:
        """As of any dict."""
        if name not in self:
            self[name] = default
        return self[name]

    def __ior__(self, other: Any) -> "EpochMetrics":  # type: ignore[override,misc]
        self.update(other)
        return self


def _metrics_of(values: dict[str, Any], written: set[str]) -> EpochMetrics:
    metrics = EpochMetrics(values)
    metrics._written = written
    return metrics


class TrainingState(State):
    """Ignite's State and what our step adds to it.

    Attributes:
        inputs: what the model is about to be fed with; handlers of INPUTS_READY rewrite it.
        losses: what ``loss_fn`` returned, attached to the graph, until the step ends.
        num_samples: the samples of the current batch, on all ranks together; None if your own update function does not
            give it.
        grad_norm: the total gradient norm before clipping, once a handler has measured it in this step.
        update: the one that is computed, of the step's updates.
        predictions: of an evaluator, what its metrics are given of the current batch: ``outputs``, ``targets``,
            ``num_samples``, and whether this rank counts it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs: Any = None
        self.losses: Mapping[str, Tensor] | None = None
        self.num_samples: int | None = 0
        self.grad_norm: Tensor | None = None
        self.update: Any = None
        self.predictions: Any = None

    @property
    def metrics(self) -> dict[str, Any]:
        """What was measured, by name."""
        return self._metrics

    @metrics.setter
    def metrics(self, metrics: Mapping[str, Any]) -> None:
        self._metrics = metrics if isinstance(metrics, EpochMetrics) else EpochMetrics(metrics)

    def begin_epoch(self) -> None:
        """What was measured so far is of an earlier epoch."""
        self._metrics.begin_epoch()

    def own_values(self) -> dict[str, Any]:
        """What a user has put into it, as far as a checkpoint can hold it: numbers, strings, tensors, lists of them."""
        known = vars(TrainingState())
        return {name: value for name, value in vars(self).items() if name not in known and _is_plain(value)}

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "dataloader": None, "batch": None, "inputs": None, "losses": None, "predictions": None}


def _is_plain(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return all(map(_is_plain, value))
    if isinstance(value, dict):
        return all(isinstance(key, (str, int)) and _is_plain(item) for key, item in value.items())
    return value is None or type(value) in (bool, int, float, str, Tensor)

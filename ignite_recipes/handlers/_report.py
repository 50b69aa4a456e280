"""Metrics that are not numbers, kept for the result of a run and for its checkpoints."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine
from torch import Tensor

from ignite_recipes.handlers._host import host_of
from ignite_recipes.handlers._numbers import as_number
from ignite_recipes.handlers.early_stopping import EarlyStopping

__all__ = ["Report"]


class Report:
    """Keep an epoch's metrics that are not numbers, e.g. a confusion matrix: those of the weights that a run ends with.

    Runs:   trainer, METRICS_READY, after ``stopping``.
    Reads:  ``state.metrics``.
    Keeps:  them, of the best and of the last epoch; a checkpoint has the last ones as ``report``.

    Args:
        stopping: says which epoch is the best; None: the last is what counts.
    """

    def __init__(self, stopping: EarlyStopping | None = None) -> None:
        self.stopping = stopping
        self._last: dict[str, Any] = {}
        self._best: dict[str, Any] = {}

    def __repr__(self) -> str:
        return "Report()"

    @property
    def result(self) -> dict[str, Any]:
        """What a recipe's result has of it: as ``report`` their values by name, and ``epoch``, if there were some."""
        contents = self._last if self.stopping is None else self._best
        return {"report": contents} if contents else {}

    def attach(self, trainer: Engine) -> "Report":
        """Keep those of ``trainer``."""
        host = host_of(trainer)
        host.keep("report", self)
        host.to_decide(self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Take note of the epoch that has just ended."""
        others = {name: value for name, value in host_of(trainer).metrics.new().items() if as_number(value) is None}
        if others:
            self._last = {"epoch": trainer.state.epoch, **{name: _plain(value) for name, value in others.items()}}
            if self.stopping is not None and self.stopping.best_epoch == trainer.state.epoch:
                self._best = self._last

    def state_dict(self) -> dict[str, Any]:
        """Both."""
        return {"last": self._last, "best": self._best}

    def checkpoint_entries(self) -> dict[str, Any]:
        """What a checkpoint holds of it under a key of its own: ``report``, where there is one."""
        return {"report": self._last} if self._last else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue with them."""
        self._last, self._best = dict(state["last"]), dict(state["best"])


def _plain(value: Any) -> Any:
    """The value as a file can hold it: tensors, plain values, lists and dicts of them; of others what they print."""
    if isinstance(value, Tensor):
        return value.detach().cpu().clone()
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return torch.as_tensor(value.copy())
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value if value is None or type(value) in (bool, int, float, str) else str(value)

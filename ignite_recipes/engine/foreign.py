"""Stateful objects of Ignite, torch and torchmetrics as parts of a run."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from ignite.metrics import Metric
from torch import Tensor, nn

__all__ = ["as_part", "load_late", "original"]


def as_part(engine: Engine, part: Any) -> Any:
    """The object itself, or what saves and loads its state where its own methods do not do it exactly.

    - A metric that is measured over an epoch is emptied when the epoch starts, also when it is resumed: the state is
      loaded after that.
    - Metrics of torchmetrics leave what they have accumulated out of their ``state_dict``.
    - Functions in a state, e.g. of ``LambdaStateScheduler``, are those of the new process.

    >>> part = as_part(Engine(lambda engine, batch: None), torch.optim.SGD([torch.zeros(1)], lr=0.1))
    >>> type(part).__name__
    'OtherPart'
    """
    if type(part).__module__.partition(".")[0] == "ignite_recipes" or not _is_of_a_library(part):
        return part
    if isinstance(part, nn.Module) and _accumulators(part):
        return MetricPart(engine, part, _accumulated, _load_accumulated)
    if isinstance(part, Metric):
        return MetricPart(engine, part, type(part).state_dict, type(part).load_state_dict)
    return OtherPart(part)


def load_late(parts: Iterable[Any]) -> None:
    """Where the first epoch of a run begins: let metrics have what a checkpoint has kept of them."""
    for part in parts:
        if isinstance(part, MetricPart):
            part.load_after_start()


def original(part: Any) -> Any:
    """The object that :func:`as_part` was given."""
    return part.part if isinstance(part, (OtherPart, MetricPart)) else part


def _is_of_a_library(part: Any) -> bool:
    return type(part).__module__.partition(".")[0] in ("ignite", "torch", "torchmetrics")


class OtherPart:
    """An object whose state may hold functions, which no file can hold."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def __repr__(self) -> str:
        return repr(self.part)

    def state_dict(self) -> dict[str, Any]:
        """The state without functions."""
        state: dict[str, Any] = _without_functions(self.part.state_dict())
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Load it, with the functions that the object has."""
        self.part.load_state_dict(_with_functions(state, self.part.state_dict()))


class MetricPart:
    """A metric, whose state is loaded once more where a run begins: STARTED or EPOCH_STARTED empties it.

    Args:
        engine: whose run it measures.
        metric: a metric of Ignite or torchmetrics.
        save: gives the state of the metric.
        load: is given the metric and a state.
    """

    def __init__(
        self, engine: Engine, metric: Any, save: Callable[[Any], Mapping[str, Any]], load: Callable[[Any, Any], object]
    ) -> None:
        self.part, self._save, self._load = metric, save, load
        self._late: Mapping[str, Any] | None = None  # the state, until the first batch of the run
        engine.add_event_handler(Events.ITERATION_STARTED, self._load_in_epoch)

    def __repr__(self) -> str:
        return repr(self.part)

    def state_dict(self) -> dict[str, Any]:
        """What it has accumulated."""
        return dict(self._save(self.part))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue with it, also inside an epoch."""
        self._load(self.part, state)
        self._late = state

    def load_after_start(self) -> None:
        """Load it after STARTED, before the handlers of EPOCH_STARTED."""
        if self._late is not None:
            self._load(self.part, self._late)

    def _load_in_epoch(self, engine: Engine) -> None:
        """Load it in front of the first batch, if the run continues inside an epoch."""
        state, self._late = self._late, None
        progress = getattr(engine, "progress", None)
        if state is not None and progress is not None and progress.position > 1:
            self._load(self.part, state)


def _accumulated(metric: nn.Module) -> dict[str, Any]:
    """What each metric of torchmetrics in a module has accumulated, and over how many updates."""
    return {
        str(number): {**part.metric_state, "_update_count": part._update_count}
        for number, part in enumerate(_accumulators(metric))
    }


def _load_accumulated(metric: nn.Module, state: Mapping[str, Any]) -> None:
    for number, part in enumerate(_accumulators(metric)):
        for name, value in state[str(number)].items():
            setattr(part, name, _copied(value, part.device))
        part._computed = None


def _accumulators(module: nn.Module) -> list[Any]:
    """The metrics of torchmetrics in a module."""
    return [part for part in module.modules() if hasattr(part, "metric_state") and hasattr(part, "_update_count")]


def _copied(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to(device, copy=True)
    return [_copied(item, device) for item in value] if isinstance(value, list) else value


def _without_functions(state: Any) -> Any:
    if isinstance(state, Mapping):
        return {name: _without_functions(value) for name, value in state.items() if not callable(value)}
    if isinstance(state, list):
        return [_without_functions(value) for value in state]
    return state


def _with_functions(state: Any, own: Any) -> Any:
    """A state, with what is missing in it as it is in ``own``."""
    if isinstance(state, Mapping) and isinstance(own, Mapping):
        whole = {name: _with_functions(value, own.get(name)) for name, value in state.items()}
        return {**whole, **{name: value for name, value in own.items() if name not in state and callable(value)}}
    if isinstance(state, list) and isinstance(own, list) and len(state) == len(own):
        return [_with_functions(*pair) for pair in zip(state, own, strict=True)]
    return state

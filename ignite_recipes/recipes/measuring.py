"""The metrics of a recipe in addition to its losses, and the number that decides on best weights, end and schedule."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.engine.metric_set import MetricSet
from ignite_recipes.handlers import History, Validation
from ignite_recipes.metrics import metric_names
from ignite_recipes.recipes.checks import check_choice
from ignite_recipes.recipes.options import RunOptions

__all__ = ["Measuring"]


class Measuring:
    """The metrics of a recipe's validation, and the number that decides, checked before anything is trained.

    Args:
        options: the options of the run.
        losses: the names of what the recipe measures anyway, as its history has them, and which way each is better.
        default: what decides where ``monitor`` is None.
        validates: whether there is validation data.
        settings: the settings of the metrics that are given by their names, as for :class:`~ignite_recipes.MetricSet`.

    Attributes:
        metrics: the metrics of the evaluator.
        monitor, mode: the name of what decides, and which way it is better.
        names: the names of the metrics in the history; ``shown``, those that the recipe does not measure anyway.
        prefixes: the prefixes of the names that the entries of a metric with several numbers have.

    Raises:
        ValueError: for metrics without validation data, a name that is taken or unknown, a monitor that is not
            measured, or whose direction is not known.
    """

    def __init__(
        self, options: RunOptions, losses: Mapping[str, str], default: str, *, validates: bool, **settings: Any
    ) -> None:
        taken = [name.removeprefix("val_") for name in losses if name.startswith("val_")]
        given = options["metrics"]
        self.metrics = given if isinstance(given, MetricSet) else MetricSet(given, taken=taken, **settings)
        if self.metrics and not validates:
            raise ValueError("metrics are measured on validation data; got none: pass a val_loader, or no metrics")
        self.names = [f"val_{name}" for name in self.metrics]
        self.shown = [name for name in self.names if name not in losses]
        self.prefixes = [f"{name}_" for name in self.names]
        known = {**losses, **{f"val_{name}": self.metrics.mode(name) for name in self.metrics}}
        self.monitor = default if options["monitor"] is None else options["monitor"]
        is_given = options["monitor"] is not None
        if is_given:
            handlers = options["handlers"] if isinstance(options["handlers"], (list, tuple)) else ()
            others = [handler.prefix for handler in handlers if isinstance(handler, Validation)]
            self._check_measured(known, validates, (*others, *self.prefixes))
        self.mode = _mode(self.monitor, options["mode"], known.get(self.monitor), is_given=is_given)

    def loss_of_evaluator(self, loss_fn: Callable[..., Any]) -> LossFunction:
        """A recipe's loss function, such that it gives what metrics need, if there are any."""
        return partial(loss_fn, give_outputs=True) if self.metrics else loss_fn

    def best(self, history: History, epoch: int | None, *names: str) -> dict[str, float]:
        """What the best epoch has measured of ``names`` and of all metrics, as ``best_{name}``; NaN without one."""
        own = [name for name in history.epochs if name in self.names or name.startswith(tuple(self.prefixes))]
        lists = {name: history.epochs[name] for name in dict.fromkeys([*names, *own])}
        return {
            f"best_{name}": values[epoch - 1] if epoch is not None and epoch <= len(values) else float("nan")
            for name, values in lists.items()
        }

    def _check_measured(self, known: Mapping[str, Any], validates: bool, prefixes: tuple[str, ...]) -> None:
        name = self.monitor
        if not isinstance(name, str):
            raise TypeError(f"monitor must be the name of a metric, e.g. 'val_loss'; got {name!r}")
        if name in known and not (name.startswith("val_") and not validates):
            return
        if validates and name.startswith(prefixes):
            return
        names = [other for other in known if validates or not other.startswith("val_")]
        if name.startswith("val_") and not validates:
            raise ValueError(
                f"monitor={name!r} is measured on validation data; got none: pass a val_loader, or monitor one of "
                f"{', '.join(names)}"
            )
        raise ValueError(f"monitor must be one of {', '.join(names)}; got {name!r}{_hint(name, names)}")


def _hint(name: str, names: list[str]) -> str:
    if f"val_{name}" in names:
        return f"; did you mean 'val_{name}'?"
    if (known := name.removeprefix("val_")) in metric_names():
        return f": measure it too, metrics=[{known!r}]"
    near = get_close_matches(name, names, n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _mode(monitor: str, mode: str | None, known: str | None, *, is_given: bool) -> str:
    if mode is None:
        if known is None:
            raise ValueError(f"monitor={monitor!r} must come with its direction: mode='min' or mode='max'")
        return known
    check_choice(mode=(mode, ("min", "max")))
    if known not in (None, mode):
        what = f"monitor={monitor!r}" if is_given else f"{monitor!r}, which decides without a monitor,"
        raise ValueError(f"{what} is better when it is {_LARGER[known or '']}; got mode={mode!r}: leave mode out")
    return mode


_LARGER = {"min": "smaller", "max": "larger"}

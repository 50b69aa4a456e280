"""Remember an epoch's metrics, epoch after epoch."""

import math
from collections.abc import Iterable
from typing import Any

from ignite.engine import Engine

from ignite_recipes.arguments import shown
from ignite_recipes.handlers._host import host_of

__all__ = ["History"]


class History:
    """Collect ``state.metrics`` in lists, one entry an epoch; NaN where an epoch did not measure it.

    Runs:   trainer, METRICS_READY (another Engine: EPOCH_COMPLETED, after what computes the metrics).
    Reads:  ``state.metrics``; only numbers are kept, and one warning names the others. Another says at the end of
            the run which of ``names`` never came.
    Keeps:  ``epochs``, all of it.

    Args:
        names: the names of the metrics; each gets a list, which stays empty if there is no such metric.
        optional: the names of metrics that get a list only if they are measured.
        unmeasured: those of ``names`` that this run is known not to measure: their lists stay empty without a warning.
        prefixes: every metric whose name begins with one of these gets a list, too, when there is one.

    >>> trainer = Engine(lambda engine, batch: None)
    >>> history = History(["loss"]).attach(trainer)
    >>> trainer.state.metrics["loss"] = 0.5
    >>> _ = trainer.run([0], max_epochs=2)
    >>> history.epochs
    {'loss': [0.5, 0.5]}
    """

    def __init__(
        self,
        names: Iterable[str],
        optional: Iterable[str] = (),
        *,
        unmeasured: Iterable[str] = (),
        prefixes: Iterable[str] = (),
    ) -> None:
        given_names = {"names": names, "optional": optional, "unmeasured": unmeasured, "prefixes": prefixes}
        for what, given in given_names.items():
            if isinstance(given, str):
                raise TypeError(f"{what} must be a list of names of metrics; got {shown(given)}")
        self.epochs: dict[str, list[float]] = {name: [] for name in names}
        self._optional = tuple(optional)
        self._count = 0  # epochs so far
        self._required = set(self.epochs) - set(unmeasured)
        self._prefixes = tuple(prefixes)

    def __repr__(self) -> str:
        return f"History({', '.join(self.epochs)})"

    def attach(self, trainer: Engine) -> "History":
        """Collect from ``trainer``."""
        host = host_of(trainer)
        host.keep("history", self)
        host.to_decide(self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Take note of the epoch that has just ended."""
        host = host_of(trainer)
        new = host.metrics.new()
        others = [*self._optional, *(name for name in new if name.startswith(self._prefixes))]
        wanted = dict.fromkeys([*self.epochs, *others])
        earlier = {name: math.nan for name, values in self.epochs.items() if values and name not in new}
        numbers = host.metrics.numbers(wanted)
        before, self._count = self._count, self._count + 1
        for name, number in {**earlier, **numbers}.items():
            values = self.epochs.setdefault(name, [])
            values += [math.nan] * (before - len(values))  # of epochs before the first that measured it
            values.append(number)
        came = {name for name, values in self.epochs.items() if values} | set(new)
        host.metrics.await_metrics(self, sorted(self._required - came))

    def state_dict(self) -> dict[str, Any]:
        """The lists."""
        return {"epochs": {name: list(values) for name, values in self.epochs.items()}, "count": self._count}

    def checkpoint_entries(self) -> dict[str, Any]:
        """What a checkpoint holds of it under a key of its own: ``history``, the lists."""
        return {"history": self.state_dict()["epochs"]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue after the epochs that were saved."""
        self.epochs.update({name: list(values) for name, values in state["epochs"].items()})
        longest = max(map(len, state["epochs"].values()), default=0)
        self._count = state.get("count", longest)  # a log that is read has lists only

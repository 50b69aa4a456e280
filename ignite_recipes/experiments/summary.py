"""An experiment in short: what it is called, how far it is, and what its best epoch reached."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ignite_recipes.experiments.labels import name_of, tags_of
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.manager import ExperimentManager

__all__ = ["MODES", "Best", "Summary", "best_epoch", "mode_of", "summarize"]

MODES = {"val_accuracy": "max", "val_loss": "min", "train_accuracy": "max", "train_loss": "min"}
"""What the recipes measure and which end of it is best, the most telling first."""

_BY_LOSS = (
    *("supervised", "traffic", "vae"),
    *("train_model_advanced", "train_on_table", "trainModel", "train_variational_autoencoder"),
)
"""The recipes, of the command and in Python, whose best weights are those of the lowest validation loss, if nobody says
otherwise; else accuracy decides."""


class Best(NamedTuple):
    """The best epoch by a metric, from 1, and what it measured."""

    metric: str
    mode: str
    value: float
    epoch: int

    def __str__(self) -> str:
        unit = "%" if self.metric in ("val_accuracy", "train_accuracy") else ""
        return f"{self.metric} {self.value:.5g}{unit} at epoch {self.epoch}"


class Summary(NamedTuple):
    """What is known of an experiment.

    Attributes:
        experiment: the name of its folder.
        path: its path.
        settings: the settings of its config.yaml; empty if that cannot be read.
        log: the columns of its log; None if that cannot be read.
        notes: what cannot be read, and why.
    """

    experiment: str
    path: str
    settings: dict[str, Any]
    log: dict[str, list[float]] | None
    notes: list[str]

    @property
    def name(self) -> str | None:
        """What its owner calls it."""
        return name_of(self.settings)

    @property
    def tags(self) -> list[str]:
        """That its owner has given it."""
        return tags_of(self.settings)

    @property
    def epochs_trained(self) -> int | None:
        """0 before the first has ended; None if the log cannot be read."""
        if self.log is None:
            return None
        return int(self.log["epoch"][-1]) if self.log.get("epoch") else 0

    @property
    def best(self) -> Best | None:
        """By the metric that it monitors or, without one, the most telling that it has; None if it has none."""
        return best_epoch(self.log or {}, self.settings)

    def at(self, epoch: int) -> dict[str, float]:
        """What was measured in an epoch, by the names of the log's columns."""
        log = self.log or {}
        place = [int(number) for number in log.get("epoch", [])].index(epoch)
        return {name: values[place] for name, values in log.items() if name != "epoch"}

    def facts(self) -> dict[str, Any]:
        """The same, for scripts."""
        best = self.best
        return {
            "experiment": self.experiment,
            "path": self.path,
            "name": self.name,
            "tags": self.tags,
            "recipe": self.settings.get("recipe"),
            "forked_from": self.settings.get("forked_from"),
            "epochs_trained": self.epochs_trained,
            "epochs": self.settings.get("epochs"),
            "best": None if best is None else best._asdict(),
            "notes": self.notes,
        }


def summarize(experiment: ExperimentManager) -> Summary:
    """What is known of an experiment; what is damaged is among the notes, and ends nothing."""
    settings: dict[str, Any] = {}
    log: dict[str, list[float]] | None = None
    notes = []
    try:
        settings = experiment.settings()
    except (ValueError, OSError) as error:
        notes.append(str(error))
    try:
        log = read_training_log(experiment.log_file) if Path(experiment.log_file).exists() else {}
    except (ValueError, OSError) as error:
        notes.append(str(error))
    folder = experiment.experiment_dir
    return Summary(Path(folder).name, folder, settings, log, [" ".join(note.split()) for note in notes])


def best_epoch(log: Mapping[str, list[float]], settings: Mapping[str, Any]) -> Best | None:
    """The best epoch of a log, that of the best weights: by ``monitor`` and ``mode``, else by what the recipe goes by.

    >>> best_epoch({"epoch": [1, 2], "val_loss": [0.5, 0.25]}, {})
    Best(metric='val_loss', mode='min', value=0.25, epoch=2)
    """
    monitor = settings.get("monitor")
    decides = [monitor] if isinstance(monitor, str) else []
    if settings.get("recipe") in _BY_LOSS:
        decides += ["val_loss", "train_loss"]
    for metric in dict.fromkeys([*decides, *MODES]):
        mode = (settings.get("mode") if metric == monitor else None) or mode_of(metric)
        pairs = zip(log.get(metric, []), log.get("epoch", []), strict=False)
        known = [(value, int(epoch)) for value, epoch in pairs if math.isfinite(value)]
        if mode in ("min", "max") and known:
            sign = -1 if mode == "max" else 1
            value, epoch = min(known, key=lambda pair: sign * pair[0])
            return Best(metric, mode, value, epoch)
    return None


def mode_of(metric: str) -> str | None:
    """Which end of a metric is best, where that is known; the metrics are imported when one is asked for."""
    if metric in MODES:
        return MODES[metric]
    from ignite_recipes.metrics.named import known_mode

    return known_mode(metric.removeprefix("val_"))

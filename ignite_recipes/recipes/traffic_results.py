"""What the traffic recipe measures, prints and returns."""

from collections.abc import Mapping
from datetime import datetime
from functools import partial
from typing import Any

from torch import Tensor

from ignite_recipes.handlers import EarlyStopping, History
from ignite_recipes.handlers._report import Report
from ignite_recipes.models.traffic import TrafficPrediction
from ignite_recipes.recipes.assembly import COUNTS
from ignite_recipes.recipes.measuring import Measuring

__all__ = ["COMPONENTS", "MODES", "VIEWS", "histories_of", "info_of", "line_of", "truth"]

COMPONENTS = ("traffic", "classification", "transmission", "context")
"""The components of the loss, by their names in histories."""

MODES = dict.fromkeys([f"{part}_{name}" for part in ("train", "val") for name in ("loss", *COMPONENTS)], "min")
"""What is measured anyway, and which way it is better."""


def truth(batch: tuple[Tensor, ...]) -> TrafficPrediction:
    """What the model's outputs should have been."""
    _, targets, _, _, traffic, traffic_class, transmissions, _ = batch
    return TrafficPrediction(targets, traffic, traffic_class.long().flatten(), transmissions)


def _output(number: int, outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    return outputs[number], targets[number]


VIEWS = {
    name: partial(_output, TrafficPrediction._fields.index(field))
    for name, field in zip(COMPONENTS, ("traffic", "class_logits", "transmission_logits", "path"), strict=True)
}
"""What a metric is given whose name begins so."""


def line_of(stopping: EarlyStopping, metrics: Mapping[str, float]) -> str:
    """What is printed of an epoch."""
    best = " ⭐" if stopping.wait == 0 else ""
    patience = "" if stopping.patience is None else f" | patience {stopping.wait}/{stopping.patience}"
    return (
        f"{datetime.now():%Y-%m-%d %H:%M:%S} | train {metrics['train_loss']:.4f} | val {metrics['val_loss']:.4f}{best}"
        f"{patience} | learning rate {metrics['learning_rate']:.3g}"
    )


def histories_of(history: History, measuring: Measuring) -> dict[str, Any]:
    """The recipe's second result."""
    epochs = history.epochs
    known = {*measuring.names, *(name for name in epochs if name.startswith(tuple(measuring.prefixes)))}
    named = {name: epochs[name] for name in ("train_loss", "val_loss", "learning_rate")}
    others = {name: epochs[name] for name in epochs if name in known or name in COUNTS}
    return {**named, **others, "loss_components": {name: epochs[f"val_{name}"] for name in COMPONENTS}}


def info_of(stopping: EarlyStopping, history: History, measuring: Measuring, report: Report) -> dict[str, Any]:
    """The recipe's third result."""
    best = measuring.best(history, stopping.best_epoch, "val_loss")
    if measuring.monitor == "val_loss":
        best["best_val_loss"] = stopping.best_loss
    return {
        "best_epoch": stopping.best_epoch,
        **best,
        "total_epochs_trained": len(history.epochs["train_loss"]),
        "stopped_early": stopping.stopped_epoch is not None,
        **report.result,
    }

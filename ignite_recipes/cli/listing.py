"""``ignite-recipes list``: what there is: recipes, models, data sets, and experiments with their best results."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.data import DatasetRegistry
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.models import ModelRegistry

__all__ = ["HELP", "RECIPES", "main", "parser"]

HELP = "show recipes, models, data sets, and the experiments with their best results"
RECIPES = ("classify", "supervised", "traffic", "vae")


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser(
        "list", "Show what there is: recipes, models, data sets, and the experiments with their best results."
    )
    options.add_argument("--runs-dir", type=str, default="runs", help="where experiments are kept")
    return options


def main(argv: Sequence[str]) -> str:
    """The lists, as one text."""
    folder = parse_settings(parser(), argv)["runs_dir"]
    lines = [
        f"recipes      {', '.join(RECIPES)}",
        f"models       {', '.join(ModelRegistry.names())}",
        f"data sets    {', '.join(DatasetRegistry.names())}",
    ]
    experiments = [*list_experiments(folder), *_without_settings(folder)]
    if not experiments:
        return "\n".join([*lines, f"experiments  none in {folder!r} yet"])
    rows = [("experiment", "recipe", "epochs", "best", "")]
    rows += [_row(name, ExperimentManager(folder, resume_exp=name)) for name in experiments]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    table = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *table])


def _row(name: str, experiment: ExperimentManager) -> tuple[str, str, str, str, str]:
    settings, notes = {}, []
    log: dict[str, list[float]] | None = None
    try:
        settings = experiment.settings()
    except (ValueError, OSError) as error:
        notes.append(str(error))
    try:
        log = _log(experiment)
    except (ValueError, OSError) as error:
        notes.append(str(error))
    if source := settings.get("forked_from"):
        notes.insert(0, f"forked from {source}")
    trained = "?" if log is None else int(log["epoch"][-1]) if log.get("epoch") else 0
    return (
        name,
        str(settings.get("recipe", "?")),
        f"{trained}/{settings.get('epochs', '?')}",
        "?" if log is None else _best(log),
        " ".join("; ".join(notes).split()),
    )


def _without_settings(folder: str) -> list[str]:
    """Experiments whose config.yaml is missing: there is a log, or a folder of checkpoints."""
    known = set(list_experiments(folder))
    found = {
        path.parent.name for name in ("training_log.csv", "checkpoints") for path in Path(folder).glob(f"[!.]*/{name}")
    }
    return sorted(found - known)


def _log(experiment: ExperimentManager) -> dict[str, list[float]]:
    try:
        return read_training_log(experiment.log_file)
    except FileNotFoundError:
        return {}


def _best(log: dict[str, Any]) -> str:
    """The best accuracy where there is one, else the lowest loss, of validation data where there are."""
    for metric, sign, unit in (("val_accuracy", -1, "%"), ("val_loss", 1, ""), ("train_loss", 1, "")):
        pairs = zip(log.get(metric, []), log.get("epoch", []), strict=False)
        known = [(sign * value, epoch) for value, epoch in pairs if math.isfinite(value)]
        if known:
            value, epoch = min(known)
            return f"{metric} {abs(value):.5g}{unit} at epoch {epoch}"
    return "-"

"""What a report says of the run itself: what was trained on what, with which settings, and its curves."""

import logging
from collections.abc import Mapping
from typing import Any

from ignite_recipes.answers.report_page import Picture, Section, Table
from ignite_recipes.answers.trained import RECIPES, Trained
from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.provenance import read_provenance
from ignite_recipes.models.architecture import architecture_of
from ignite_recipes.models.summary import count_parameters
from ignite_recipes.plotting import plot_history

__all__ = ["curves_section", "run_section", "settings_section"]

logger = logging.getLogger(__name__)


def run_section(trained: Trained) -> Section:
    """The model, the data, the versions, the commit and the command of each start."""
    folder = trained.experiment.experiment_dir
    starts = read_provenance(folder)
    architecture = architecture_of(trained.predictor.model)
    name = type(trained.predictor.model).__name__ if architecture is None else architecture["name"]
    rows: list[list[Any]] = [
        ["recipe", trained.recipe],
        ["model", f"{name}, {count_parameters(trained.predictor.model)[0]:,} parameters"],
        ["weights", f"{trained.path}, of epoch {trained.epoch}"],
        *_training_rows(trained),
        *_data_rows(trained, starts),
    ]
    if forked := trained.settings.get("forked_from"):
        rows.append(["forked from", forked])
    for entry in starts[-1:]:
        rows += [["versions", ", ".join(f"{key} {value}" for key, value in (entry.get("versions") or {}).items())]]
        rows += [["git commit", _commit(entry.get("git"))], ["working directory", entry.get("working_directory")]]
    commands = [[entry.get("started_at"), " ".join(map(str, entry.get("command") or []))] for entry in starts]
    parts: list[Any] = [Table(["", ""], rows)]
    if commands:
        parts.append(Table(["started", "command"], commands, "Each start of it"))
    else:
        parts.append("What it was started with, and versions, were not kept.")
    return Section("What was trained on what", parts)


def curves_section(trained: Trained) -> Section | None:
    """The curves with the best epoch; None where there are none."""
    try:
        figure = plot_history(trained.experiment, best_epoch=trained.epoch)
    except (ValueError, CheckpointError, FileNotFoundError) as error:
        logger.warning("no curves: %s", error)
        return None
    figure.suptitle("")
    text = "A value an epoch; the best epoch, whose weights are kept, is marked."
    return Section("Curves", [Picture.of(figure, "Curves of the training, a panel for each quantity.", text)])


def settings_section(trained: Trained) -> Section:
    """All that the run was told."""
    rows = [[name, "none" if value is None else str(value)] for name, value in trained.settings.items()]
    return Section("Settings", [Table(["setting", "value"], rows)])


def _training_rows(trained: Trained) -> list[list[Any]]:
    try:
        log = read_training_log(trained.experiment.log_file)
    except (FileNotFoundError, ValueError):
        return []
    epochs = log.get("epoch", [])
    rows: list[list[Any]] = [["epochs trained", int(epochs[-1])]] if epochs else []
    if seconds := log.get("seconds"):
        rows.append(["time for them", f"{sum(seconds):.1f} s"])
    return rows


def _data_rows(trained: Trained, starts: list[dict[str, Any]]) -> list[list[Any]]:
    file = trained.settings.get("file")
    if file is None:
        given = "those that ship with a dependency" if trained.recipe in RECIPES else "given in Python"
        return [["data", str(trained.settings.get("dataset", given))]]
    known = (starts[0].get("data") if starts else None) or {}
    rows = [["data", file]]
    if known:
        size = known.get("size")
        rows += [["size", f"{size:,} bytes" if isinstance(size, int) else None], ["SHA-256", known.get("sha256")]]
    if target := trained.settings.get("target"):
        rows.append(["target", target])
    return rows


def _commit(git: Mapping[str, Any] | None) -> str:
    if not git:
        return "none: the working directory was in no repository"
    return f"{git.get('commit')}{', with changes that were not committed' if git.get('changed') else ''}"

"""The numbers that the curves show: what a recipe returned, or what an experiment has written."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from ignite_recipes.checkpoint.file import read_checkpoint
from ignite_recipes.checkpoint.newest import newest_checkpoint
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.plotting.quantities import part_of

__all__ = ["Columns", "Experiment", "columns_of", "epochs_of", "find_experiment", "read_columns"]

Experiment: TypeAlias = ExperimentManager | str | os.PathLike[str]
Columns: TypeAlias = dict[str, list[float]]


def find_experiment(experiment: Experiment, runs_dir: str | os.PathLike[str]) -> ExperimentManager:
    """The experiment of a manager, of a folder's path, or of a name, which is looked for in ``runs_dir`` first.

    Raises:
        TypeError: for anything else.
        FileNotFoundError: if there is none, naming those there are.
    """
    if isinstance(experiment, ExperimentManager):
        return experiment
    if not isinstance(experiment, (str, os.PathLike)):
        raise TypeError(
            "an experiment must be an ExperimentManager, the path of its folder, or its name in runs_dir; got "
            f"{type(experiment).__name__}"
        )
    path = Path(experiment)
    is_name = isinstance(experiment, str) and path.name == experiment
    if is_name and (Path(runs_dir, path).is_dir() or not path.is_dir()):
        return ExperimentManager(os.fspath(runs_dir), resume_exp=path.name)
    path = Path(os.path.abspath(path))
    return ExperimentManager(str(path.parent), resume_exp=path.name)


def read_columns(experiment: ExperimentManager) -> Columns:
    """What an experiment has measured, epoch by epoch, also while it is being trained.

    Its log holds all of it, is never older than a checkpoint, and is quick to read; the history in the newest sound
    checkpoint is read where there is no log. Neither runs code.

    Raises:
        ValueError: if there is no epoch in either, or the log is damaged.
        CheckpointError: if there is no log, and none of the checkpoints is sound.
    """
    # The handlers draw with this package: what is of theirs is imported when it is used.
    from ignite_recipes.experiments.log_file import read_training_log

    log = Path(experiment.log_file)
    found = columns_of(read_training_log(log)) if log.is_file() else {}
    if not found.get("epoch"):
        path = newest_checkpoint(experiment.checkpoints_dir)
        found = columns_of((read_checkpoint(path).get("history") if path else None) or {})
    if not any(found.values()):
        inside = list_experiments(experiment.experiment_dir)
        step = f"it is a folder of experiments, choose one: {', '.join(inside)}" if inside else "train it first"
        raise ValueError(
            f"{experiment.experiment_dir!r} must hold a log, or a checkpoint with a history, of at least one epoch; "
            f"got none: {step}"
        )
    return found


def columns_of(history: Mapping[str, Any]) -> Columns:
    """The lists of numbers in a history, or in the result that holds one under ``history``.

    ``loss_components``, as of the traffic recipe, are of the validation data: they become ``val_<name>``.

    Raises:
        TypeError: if it is not a mapping, or ``train_`` or ``val_`` entries are not lists of numbers.

    >>> columns_of({"train_loss": [2, 1], "loss_components": {"traffic": [0.5, 0.4]}})
    {'train_loss': [2.0, 1.0], 'val_traffic': [0.5, 0.4]}
    """
    if not isinstance(history, Mapping):
        raise TypeError(
            f"history must map names to lists of numbers, or be an experiment; got {type(history).__name__}"
        )
    if isinstance(history.get("history"), Mapping):
        history = history["history"]
    parts = history.get("loss_components")
    named = {f"val_{name}": values for name, values in parts.items()} if isinstance(parts, Mapping) else {}
    columns = {}
    for name, values in {**history, **named}.items():
        try:
            columns[name] = [float(value) for value in values]
        except (TypeError, ValueError):
            if part_of(name):
                raise TypeError(f"{name} must be a list of numbers, one an epoch; got {values!r}") from None
    return columns


def epochs_of(columns: Columns) -> list[int]:
    """The number of each epoch: the column ``epoch``, or from 1 to the end of the longest list."""
    return [int(epoch) for epoch in columns.get("epoch", [])] or [
        *range(1, max(len(values) for values in columns.values()) + 1)
    ]

"""What the commands that ask an experiment share: its name, where it is, and how it is found."""

import os
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.answers.trained import Trained, find_trained
from ignite_recipes.cli.classify import import_file
from ignite_recipes.cli.options import add_module, add_runs_dir, new_parser
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments

__all__ = ["answer_parser", "named_experiment", "named_parser", "trained_experiment"]


def named_parser(command: str, description: str) -> ArgumentParser:
    """A parser of a command on one experiment, as :func:`named_experiment` finds it."""
    options = new_parser(command, description)
    options.add_argument("experiment", type=str, help="e.g. exp1, runs/exp1, or its name")
    add_runs_dir(options)
    return options


def answer_parser(command: str, description: str) -> ArgumentParser:
    """A parser with the options that every command has which asks a trained model."""
    options = named_parser(command, description)
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto chooses the best")
    add_module(options)
    return options


def named_experiment(settings: dict[str, Any]) -> ExperimentManager:
    """The experiment of exp1, or of runs/exp1.

    Raises:
        FileNotFoundError: if there is none.
    """
    given = Path(settings["experiment"]).expanduser()
    if given.is_file():
        there = ", ".join(list_experiments(settings["runs_dir"])) or "none"
        raise FileNotFoundError(
            f"name the experiment first, as exp1 {settings['experiment']}; got the file alone, and the experiments in "
            f"{settings['runs_dir']!r} are: {there}"
        )
    base, name = os.path.split(os.path.normpath(os.path.expanduser(settings["experiment"])))
    return ExperimentManager(base or settings["runs_dir"], resume_exp=name)


def trained_experiment(settings: dict[str, Any]) -> Trained:
    """What the experiment predicts with.

    Raises:
        FileNotFoundError, ValueError, CheckpointError: as :func:`find_trained`.
    """
    if settings["module"] is not None:
        import_file(Path(settings["module"]))
    return find_trained(named_experiment(settings), device=settings["device"])

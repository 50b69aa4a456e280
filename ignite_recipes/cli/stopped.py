"""The message of a command that a signal has stopped: how to resume."""

import os
import shlex
import signal
from pathlib import Path

from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import Stopped

__all__ = ["stopped"]


def stopped(command: str, experiment: ExperimentManager, interrupt: BaseException) -> Stopped:
    """The end of a command, with the words that resume the experiment, if something was trained.

    Args:
        command: the recipe's name.
        experiment: that was trained.
        interrupt: of the signal.
    """
    signum = getattr(interrupt, "signum", signal.SIGINT)
    if not Path(experiment.experiment_dir).exists():
        return Stopped("stopped before anything was trained", signum)
    folder, name = os.path.split(experiment.experiment_dir)
    where = "" if folder == "runs" else f" --runs-dir {shlex.quote(folder)}"
    return Stopped(f"stopped; resume with: ignite-recipes {command} --resume {name}{where}", signum)

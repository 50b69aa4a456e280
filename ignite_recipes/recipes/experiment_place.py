"""Which experiment a run belongs to: what ``experiment=`` names, and what ``resume_from=`` continues."""

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.recipes.experiment_start import checkpoint_to_resume_from, refuse_results

__all__ = ["Place", "existing_experiment", "find_place"]

RUNS = "runs"


class Place(NamedTuple):
    """Where a run is kept, and from where it continues.

    Either ``experiment`` is there already, or a new one is to be made in ``folder``.
    """

    experiment: ExperimentManager | None
    folder: str | None
    resume_from: str | os.PathLike[str] | None


def find_place(given: Any, resume_from: str | os.PathLike[str] | None) -> Place:
    """The place of a run.

    Args:
        given: an ExperimentManager; a folder of experiments, where a new one is made; the path of an experiment, or
            its name in ``runs``, which is continued by a checkpoint of its own.
        resume_from: a checkpoint. One of an experiment in the folder continues that experiment.

    Raises:
        TypeError: for anything else.
        FileNotFoundError: if it names an experiment, like exp5, that is not there.
        ExperimentBusyError: if the experiment holds the results of a run that is not continued.
        CheckpointError: if it is to be continued and its checkpoints are damaged.
    """
    if isinstance(given, ExperimentManager):
        experiment = given
    elif isinstance(given, (str, os.PathLike)) and os.fspath(given) != "":
        found = existing_experiment(Path(given).expanduser(), resume_from)
        if found is None:
            return Place(None, os.fspath(given), resume_from)
        experiment = ExperimentManager(found.parent, resume_exp=found.name)
    else:
        raise TypeError(
            f"experiment must be an ExperimentManager, or a folder of experiments such as 'runs'; got {given!r:.80}"
        )
    if resume_from is None and isinstance(given, ExperimentManager) and experiment.resume_exp:
        return Place(experiment, None, on_rank_zero(lambda: checkpoint_to_resume_from(experiment)))
    if resume_from is None or _experiment_of(resume_from) != Path(experiment.experiment_dir).resolve():
        refuse_results(experiment)
    return Place(experiment, None, resume_from)


def existing_experiment(path: Path, resume_from: str | os.PathLike[str] | None) -> Path | None:
    """The folder of the experiment that a path or a name means; None if a new one is to be made there."""
    in_runs = Path(RUNS, path)
    if len(path.parts) == 1 and not path.exists() and _is_experiment(in_runs):
        return in_runs
    if _is_experiment(path):
        return path
    if re.fullmatch(r"exp[1-9]\d*", path.name) and not path.exists():
        base = Path(RUNS) if len(path.parts) == 1 else path.parent
        known = ", ".join(list_experiments(base)) or "none"
        raise FileNotFoundError(
            f"no experiment {path.name!r} in {str(base)!r}; there are: {known}. A new one gets the next number by "
            f"itself: experiment={str(base)!r}"
        )
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"experiment must be a folder of experiments; got the file {path}")
    continued = None if resume_from is None else _experiment_of(resume_from)
    return path / continued.name if continued is not None and continued.parent == path.resolve() else None


def _is_experiment(path: Path) -> bool:
    return (path / "config.yaml").is_file()


def _experiment_of(checkpoint: str | os.PathLike[str]) -> Path | None:
    """The folder of the experiment that a checkpoint belongs to; None if it is of none."""
    folder = Path(checkpoint).expanduser().resolve().parent
    is_kept = folder.name == "checkpoints" and _is_experiment(folder.parent)
    return folder.parent if is_kept else None

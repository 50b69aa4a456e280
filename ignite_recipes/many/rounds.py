"""Train the trials of a search in rounds: each is a member of one experiment, and those of a round train together."""

import logging
import os
import sys
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ignite_recipes.arguments import kind_of, whole_number
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import Member, is_group, read_plan, write_plan
from ignite_recipes.experiments.provenance import note_start
from ignite_recipes.many.given import check_given
from ignite_recipes.many.group import Task, member_call, removed_if_unused, said, tried
from ignite_recipes.many.outcome import Outcome
from ignite_recipes.many.planning import plan_trial
from ignite_recipes.many.pruning import TrialRun
from ignite_recipes.many.results import Runs
from ignite_recipes.many.running import run_members
from ignite_recipes.many.search_space import Range
from ignite_recipes.many.study import Search, quiet_optuna
from ignite_recipes.many.writing import write_results

__all__ = ["AT_ONCE", "STORAGE", "Wanted", "run_search"]

logger = logging.getLogger(__name__)

AT_ONCE = 8
"""Trials of a round."""

STORAGE = "search.log"
"""The file of a search, in the folder of its experiment, by default."""


class Wanted:
    """What a search is to do.

    Args:
        space: where each setting is looked for.
        trials: how many this experiment is to have.
        seed: the seed of the sampler and of every trial's run.
        at_once: trials that are asked for, and trained, at the same time.
        storage: the file of the search, which others may share; None is one of the experiment's own.
        direction: ``"minimize"`` or ``"maximize"``, for a recipe that cannot be asked; None asks it.
        pruner: of Optuna; None is its ``MedianPruner``.

    Raises:
        ValueError, FileNotFoundError: for a number that cannot be, or a file in a folder that is not there.
    """

    def __init__(
        self,
        space: Mapping[str, Range],
        *,
        trials: int,
        seed: int = 0,
        at_once: int = AT_ONCE,
        storage: str | os.PathLike[str] | None = None,
        direction: str | None = None,
        pruner: Any = None,
    ) -> None:
        self.space = space
        self.trials, self.at_once = whole_number(trials, "trials"), whole_number(at_once, "at_once")
        self.seed, self.pruner = whole_number(seed, "seed", at_least=0), pruner
        if direction not in (None, "minimize", "maximize"):
            raise ValueError(f"direction must be 'minimize' or 'maximize'; got {direction!r}")
        self.direction = direction
        if not isinstance(storage, (str, os.PathLike, type(None))):
            raise TypeError(f"storage must be the path of a file; got {kind_of(storage)}")
        self.storage = None if storage is None else Path(storage).expanduser()
        if self.storage is not None and not self.storage.absolute().parent.is_dir():
            raise FileNotFoundError(f"storage must be a file in a folder that exists; got {str(storage)!r}: make it")
        if self.storage is not None and self.storage.is_dir():
            raise ValueError(f"storage must be a file; {str(storage)!r} is a folder")

    def corners(self) -> list[Member]:
        """Members with the least and with the largest values, and with each choice."""
        longest = max(len(found.values) for found in self.space.values())
        rows = [
            {name: found.values[min(k, len(found.values) - 1)] for name, found in self.space.items()}
            for k in range(longest)
        ]
        return [plan_trial(k, self.seed, row) for k, row in enumerate(rows)]


def run_search(
    experiment: ExperimentManager,
    task: Task,
    wanted: Wanted,
    *,
    is_new: bool,
    together: bool | None = None,
    command: Sequence[str] | None = None,
    data_file: str | None = None,
) -> Runs:
    """Train trials until there are as many as wanted; what each has reached stays.

    What a round's trials have reached is told when all of them have ended, in the order of their numbers: so neither
    the next values nor what is pruned depends on which of them ended first, or on when the search was killed.

    Args:
        experiment: that holds the trials.
        task: how one is trained.
        wanted: what is searched.
        is_new, together, command, data_file: as of :func:`run_group`.

    Raises:
        Exception: that of the first trial of a round in which all have failed; or a mistake that is found before any
            is trained.
        ExperimentBusyError: if somebody else is training the experiment.
        ValueError: if the experiment or the storage holds another search.
    """
    folder = Path(experiment.experiment_dir)
    with removed_if_unused(experiment, is_new=is_new), experiment.lock(), experiment.log_to_file(), quiet_optuna():
        plan = _plan(folder, task, wanted)
        search = _open(folder, task, wanted, plan)
        write_plan(folder, plan)
        note_start(folder, [task.recipe, *sys.argv] if command is None else command, data_file)
        warned = set[str]()
        while members := _next_round(folder, search, wanted, plan):
            calls = [_call(folder, search, one, task, plan, warned) for one in members]
            found = run_members(calls, together=together)
            _tell(folder, search, plan, members, found)
        runs = Runs(experiment)
        write_results(runs, model=task.model)
    return runs


def _plan(folder: Path, task: Task, wanted: Wanted) -> dict[str, Any]:
    """What the experiment is to hold, and holds already."""
    space = {name: str(found) for name, found in wanted.space.items()}
    seed, epochs = wanted.seed, None if "epochs" in space or "num_epochs" in space else task.epochs(wanted.corners()[0])
    plan: dict[str, Any] = {"recipe": task.recipe, "search": space, "seed": seed, "epochs": epochs}
    plan |= {"sweep": {}, "folds": None, "fold_seed": None, "by_time": False}  # as of other experiments of many
    begun: dict[str, Any] = {"owner": uuid.uuid4().hex, "storage": None, "members": [], "errors": {}}
    if is_group(folder):
        begun = read_plan(folder)
        check_given(folder, begun.get("given"), task.given)
        for name, value in plan.items():
            if begun.get(name) != value:
                raise ValueError(
                    f"{folder} must be continued as it was started; its {name} is {begun.get(name)!r}, and not "
                    f"{value!r}: give it the same, or start another experiment"
                )
    storage = begun["storage"] if wanted.storage is None else str(wanted.storage.absolute())
    trials = max(wanted.trials, len(begun["members"]))
    return {**begun, **plan, "given": task.given, "storage": storage, "trials": trials}


def _open(folder: Path, task: Task, wanted: Wanted, plan: Mapping[str, Any]) -> Search:
    """The search, once the recipe has put its trainer together with what lies at the ends of each range."""
    asked = {name: plan[name] for name in ("recipe", "epochs")}
    mode = {None: None, "minimize": "min", "maximize": "max"}[wanted.direction]
    for member in wanted.corners():
        measuring = tried(member, task)
        if measuring is None:
            continue
        if mode not in (None, measuring.mode):
            raise ValueError(
                f"{measuring.monitor} is better by {measuring.mode!r}, so the search cannot {wanted.direction} it: "
                "leave direction out"
            )
        mode = measuring.mode
        asked["metric"] = measuring.monitor
    path = folder / STORAGE if plan["storage"] is None else plan["storage"]
    is_shared, owner = plan["storage"] is not None, plan["owner"]
    search = Search(
        path,
        owner,
        wanted.space,
        asked,
        mode=mode or "min",
        seed=wanted.seed,
        is_shared=is_shared,
        pruner=wanted.pruner,
    )
    if lost := {one.trial for one in plan["members"]} - search.numbers():
        raise ValueError(f"{path} must hold the trials of {folder}; trial {min(lost)} is not there: put it back")
    return search


def _next_round(folder: Path, search: Search, wanted: Wanted, plan: dict[str, Any]) -> list[Member]:
    """The trials that have not ended; if there are none, new ones, as many as a round has."""
    members: list[Member] = plan["members"]
    known = {one.trial for one in members}
    waiting = search.open_trials()
    members += [plan_trial(number, wanted.seed, values) for number, values in waiting if number not in known]
    # A round that was cut while it was asked for is filled up.
    is_cut = bool(waiting) and len(waiting) == len(members) % wanted.at_once
    if not waiting or is_cut:
        room = wanted.at_once - len(members) % wanted.at_once
        for _ in range(min(room, wanted.trials - len(members))):
            members.append(plan_trial(*_asked(search, wanted.seed)))
    write_plan(folder, plan)
    numbers = {number for number, _ in search.open_trials()}
    return [one for one in members if one.trial in numbers]


def _asked(search: Search, seed: int) -> tuple[int, int, dict[str, Any]]:
    number, values = search.ask()
    return number, seed, values


def _number(member: Member) -> int:
    """The number of its trial."""
    assert member.trial is not None
    return member.trial


def _call(
    folder: Path, search: Search, member: Member, task: Task, plan: Mapping[str, Any], warned: set[str]
) -> Callable[[], Outcome]:
    number = f"{plan['members'].index(member) + 1}/{plan['trials']}"
    return member_call(folder, member, task, number, warned, partial(TrialRun, search.judge(_number(member))))


def _tell(
    folder: Path, search: Search, plan: dict[str, Any], members: Sequence[Member], found: Sequence[Outcome | Exception]
) -> None:
    """Say what a round has come to."""
    errors = {one.name: got for one, got in zip(members, found, strict=True) if isinstance(got, Exception)}
    plan["errors"] |= {name: said(error) for name, error in errors.items()}
    write_plan(folder, plan)
    for member, got in zip(members, found, strict=True):
        if isinstance(got, Exception):
            search.tell(_number(member), None)
        else:
            value = None if got.metric is None else got.measured.get(got.metric)
            search.tell(_number(member), value, pruned=got.pruned)
    if len(errors) == len(members):
        raise next(iter(errors.values()))
    for name, error in errors.items():
        logger.warning("%s failed, the others are complete: %s", name, said(error))

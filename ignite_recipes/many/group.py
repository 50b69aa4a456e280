"""Train the members of one experiment: begin what is missing, continue what was cut, read back what has ended."""

import logging
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.experiments.members import Member, is_group, members_folder, read_plan, write_plan
from ignite_recipes.experiments.provenance import note_start
from ignite_recipes.handlers.progress import print_line, silence
from ignite_recipes.many.given import check_given
from ignite_recipes.many.outcome import Outcome, note_outcome, read_outcome
from ignite_recipes.many.pruning import Pruned
from ignite_recipes.many.results import Runs
from ignite_recipes.many.running import run_members
from ignite_recipes.many.writing import write_results
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.experiment_run import ExperimentRun
from ignite_recipes.recipes.experiment_start import checkpoint_to_resume_from
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.started import DryRun, taken_from
from ignite_recipes.said_once import said_once

__all__ = [
    "Task",
    "check_continues",
    "member_call",
    "removed_if_unused",
    "run_group",
    "said",
    "tried",
]

logger = logging.getLogger(__name__)

REFIT = "refit"
"""The folder of the run on all rows, in that of the whole."""


class Task(NamedTuple):
    """How a member is trained.

    Attributes:
        recipe: its name, as ``config.yaml`` has it.
        train: called with a member and its run; trains, and gives the predictions of the rows that it was validated
            on, or what was measured of them, if there is such.
        settings: the settings of a member, for its ``config.yaml`` before it is trained.
        epochs: to which a member is trained.
        can_be_tried: whether what trains can be called without training, to find mistakes.
        save_every: epochs between checkpoints that are kept.
        model: makes the architecture, if it is one of the user's own.
        refit: called with a member of the best setting, the number of epochs and a run: trains on all rows; None
            where that cannot be, or is not asked for.
        given: settings and data of all members, which are the same when they are continued; None of a command, which
            reads them from the experiment.
    """

    recipe: str
    train: "Callable[[Member, ExperimentRun], pl.DataFrame | dict[str, float] | None]"
    settings: Callable[[Member], Mapping[str, Any]]
    epochs: Callable[[Member], int]
    can_be_tried: bool = True
    save_every: int | None = None
    model: Callable[[], Any] | None = None
    refit: Callable[[Member, int, ExperimentRun], Any] | None = None
    given: Mapping[str, Any] | None = None


def check_continues(folder: str | os.PathLike[str], members: Sequence[Member], plan: Mapping[str, Any]) -> None:
    """Refuse to continue an experiment of many without some of its members; more of them are welcome.

    Raises:
        ValueError: that names one that would be left out, or what is not as it was.
    """
    before = read_plan(folder)
    for name in ("recipe", "folds", "fold_seed", "by_time"):
        if before.get(name) != plan.get(name):
            raise ValueError(
                f"{folder} must be continued as it was started; its {name} is {before.get(name)!r}, and not "
                f"{plan.get(name)!r}: give it the same, or start another experiment"
            )
    wanted = {member.name for member in members}
    if missing := [member.name for member in before["members"] if member.name not in wanted]:
        raise ValueError(
            f"{folder} must be continued with all its seeds, settings and folds, to which others may be added; "
            f"{missing[0]!r} would be left out: take them in, or start another experiment"
        )
    check_given(folder, before.get("given"), plan.get("given"))


def run_group(
    experiment: ExperimentManager,
    members: Sequence[Member],
    task: Task,
    plan: Mapping[str, Any],
    *,
    is_new: bool,
    together: bool | None = None,
    command: Sequence[str] | None = None,
    data_file: str | None = None,
) -> Runs:
    """Train all members that have not ended; what each has reached stays, whatever becomes of the others.

    Args:
        experiment: that holds them.
        members: the members of the plan.
        task: how a member is trained.
        plan: what else the plan says: ``recipe``, ``sweep``, ``folds``, ``fold_seed``, ``by_time``.
        is_new: whether the experiment was made for this, and is removed if no member leaves a result.
        together: whether members that are alike compute their steps as one program; None is yes.
        command, data_file: of the start, as for :meth:`ExperimentRun.open`.

    Raises:
        Exception: that of the first member, if all have failed; or a mistake that a member would make, before any is
            trained.
        ExperimentBusyError: if somebody else is training the experiment.
    """
    folder = Path(experiment.experiment_dir)
    with removed_if_unused(experiment, is_new=is_new), experiment.lock(), experiment.log_to_file():
        if not is_new and is_group(folder):
            check_continues(folder, members, plan)
        _try_settings(folder, members, task)
        write_plan(folder, {**plan, "members": members})
        note_start(folder, [task.recipe, *sys.argv] if command is None else command, data_file)
        warned = set[str]()
        numbered = [(f"{k}/{len(members)}", member) for k, member in enumerate(members, start=1)]
        calls = [member_call(folder, member, task, number, warned) for number, member in numbered]
        found = run_members(calls, together=together)
        errors = {one.name: got for one, got in zip(members, found, strict=True) if isinstance(got, Exception)}
        write_plan(folder, {**plan, "members": members, "errors": {name: said(e) for name, e in errors.items()}})
        if len(errors) == len(members):
            raise next(iter(errors.values()))
        for name, error in errors.items():
            logger.warning("%s failed, the others are complete: %s", name, said(error))
        runs = Runs(experiment)
        if task.refit is not None:
            with said_once(warned):
                _refit(runs, task)
        write_results(runs, model=task.model)
    return runs


def member_call(
    folder: Path,
    member: Member,
    task: Task,
    number: str,
    warned: set[str],
    make_run: Callable[..., ExperimentRun] = ExperimentRun,
) -> Callable[[], Outcome]:
    """What trains a member that has not ended, and says what it has reached.

    Args:
        folder: the folder of the whole.
        member, task: of it.
        number: the number of the member and of all, for the line that says what it has reached.
        warned: what members have warned of, which the others do not say again.
        make_run: the kind of its run.
    """

    def train() -> Outcome:
        inside, epochs = members_folder(folder), task.epochs(member)
        outcome = read_outcome(inside / member.name)
        if outcome is not None and outcome.epochs == epochs:
            return outcome
        pruned, settings = False, task.settings(member)
        made = member_run(inside, member.name, settings, task.save_every, make_run)
        with said_once(warned), silence(), made as run:
            try:
                predictions = task.train(member, run)
            except Pruned:
                predictions, pruned = None, True
            if not Path(run.make().log_file).is_file():
                raise ValueError(
                    f"{task.recipe} has trained nothing in the experiment that it was handed: hand it to the recipe "
                    "that it calls, experiment=experiment"
                )
        outcome = note_outcome(run.make(), epochs, predictions, pruned=pruned)
        print_line(f"{number} {member.name}: {_reached(outcome)}")
        return outcome

    return train


@contextmanager
def member_run(
    folder: Path,
    name: str,
    settings: Mapping[str, Any],
    save_every: int | None = None,
    make_run: Callable[..., ExperimentRun] = ExperimentRun,
) -> Iterator[ExperimentRun]:
    """The run of a member: a new experiment in ``folder``, or one that is continued from its newest checkpoint."""
    is_new = not (folder / name).exists()
    if is_new:
        manager = ExperimentManager(folder, new_exp=name, settings=settings)
    else:
        manager = ExperimentManager(folder, resume_exp=name)
    path = None if is_new else checkpoint_to_resume_from(manager)
    try:
        yield make_run(manager, None, path, save_every=save_every, is_new=is_new, draws=False)
    except BaseException:
        if is_new and (folder / name).exists():  # an opened run has removed itself
            manager.discard_unused()
        raise


def _try_settings(folder: Path, members: Sequence[Member], task: Task) -> None:
    """Put the trainer of each setting together, without training, if it has no member yet: a mistake is found now."""
    first = {tuple(map(str, member.settings.values())): member for member in reversed(members)}
    for member in reversed(first.values()):
        if not (members_folder(folder) / member.name).exists():
            tried(member, task)


def tried(member: Member, task: Task) -> Measuring | None:
    """Put a member's trainer together, without training; gives what it measures, None where it cannot be tried."""
    if not task.can_be_tried:
        return None
    runs: list[DryRun] = []

    def train(run: DryRun) -> None:
        runs.append(run)
        task.train(member, run)

    with silence(), _quiet_log():
        taken_from(train)
    return runs[0].measuring


@contextmanager
def _quiet_log() -> Iterator[None]:
    """What is logged while trying is logged again when it is trained."""
    package = logging.getLogger("ignite_recipes")
    before = package.handlers, package.propagate
    package.handlers, package.propagate = [logging.NullHandler()], False
    try:
        yield
    finally:
        package.handlers, package.propagate = before


def _refit(runs: Runs, task: Task) -> None:
    """Train once on all rows, with the best setting, for as many epochs as its folds were best after, on average."""
    assert task.refit is not None
    best = runs.of()
    epochs = [one.outcome.best_epoch for one in best if one.outcome is not None and one.outcome.best_epoch]
    mean = max(1, round(sum(epochs) / len(epochs)))
    member = best[0].plan
    outcome = read_outcome(runs.folder / REFIT)
    if outcome is not None and outcome.epochs == mean:
        return
    if (runs.folder / REFIT).exists():
        shutil.rmtree(runs.folder / REFIT)
    settings = {**task.settings(member), "fold": None}
    with silence(), member_run(runs.folder, REFIT, settings) as run:
        task.refit(member, mean, run)
    outcome = note_outcome(run.make(), mean, None)
    print_line(f"{REFIT}: {best[0].label} on all rows, {mean} epochs")


@contextmanager
def removed_if_unused(experiment: ExperimentManager, *, is_new: bool) -> Iterator[None]:
    """Remove a new experiment that an error ends before a member has left a result."""
    folder = Path(experiment.experiment_dir)
    try:
        yield
    except BaseException:
        if is_new and not list_experiments(members_folder(folder)):
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _reached(outcome: Outcome) -> str:
    early = ", pruned" if outcome.pruned else ", stopped early" if outcome.stopped_early else ""
    if outcome.best_epoch is None or outcome.metric is None:
        return f"nothing finite in {outcome.epochs_trained} epochs"
    value = outcome.measured.get(outcome.metric, float("nan"))
    return f"{outcome.metric} {value:.5g} at epoch {outcome.best_epoch} of {outcome.epochs_trained}{early}"


def said(error: Exception) -> str:
    """An error in one line."""
    return " ".join((str(error) or type(error).__name__).split())

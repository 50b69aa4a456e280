"""Train a recipe many times: seeds, settings and folds, as one experiment."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ignite_recipes.arguments import whole_number
from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group
from ignite_recipes.handlers import Stopped
from ignite_recipes.many.asking import Request
from ignite_recipes.many.group import check_continues, run_group
from ignite_recipes.many.planning import plan_members, seeds_of
from ignite_recipes.many.results import Runs
from ignite_recipes.many.tasks import make_task
from ignite_recipes.optional import check_installed
from ignite_recipes.recipes import trainModel
from ignite_recipes.recipes.experiment_place import existing_experiment
from ignite_recipes.recipes.experiment_start import refuse_results
from ignite_recipes.recipes.plain_settings import plain

__all__ = ["place_of_many", "said_how_to_continue", "train_many"]


def train_many(
    recipe: Callable[..., Any],
    *args: Any,
    seeds: int | Sequence[int] = 1,
    sweep: Mapping[str, Sequence[Any]] | None = None,
    folds: int | None = None,
    fold_seed: int = 0,
    group: Any = None,
    time: Any = None,
    refit: bool = False,
    together: bool | None = None,
    experiment: ExperimentManager | str | os.PathLike[str] = "runs",
    **settings: Any,
) -> Runs:
    """Train a recipe with several seeds, settings and folds; each run is an experiment in a common folder.

    A member is what ``recipe`` trains by itself, by ``set_seed(seed); recipe(make_model(), ..., seed=seed)``: the same
    bits if they train one after another, the same but for rounding if they train together. A member that fails is
    reported, and the others are kept. Members that were stopped are continued to the same bits by the same call with
    ``experiment=`` the common folder; seeds and values may be added then, and members that have ended are not trained
    again.

    Args:
        recipe: ``train_model_advanced``, ``train_variational_autoencoder``, ``train_on_table``, ``trainModel`` or
            ``Trainer``; or a function of your own that takes ``seed`` and ``experiment``, and hands ``experiment`` to
            the recipe that it calls.
        *args, **settings: those of the recipe, with a function that makes the model in place of the model: it is called
            for each member, after torch was seeded. The optimizer of a ``Trainer`` is a function of the model, its
            scheduler one of the optimizer, and ``epochs`` are those of its ``train``. Each member has copies of
            ``handlers``, ``metrics`` and ``criterion``; loggers are made by ``handlers=lambda member: [...]``.
        seeds: a number of seeds, from 0 upwards, or a list of them.
        sweep: lists of values by the names of settings: of the recipe or, where it has none of that name, of the
            function that makes the model, the optimizer or the scheduler. All combinations are trained.
        folds: cut the data into this number of parts and validate on each in turn; everything that is learnt from the
            data, like the scales of a table's columns, is learnt inside each fold. The folds are the same for all seeds
            and settings, and each fold gets its share of each class. ``trainModel`` has folds by time.
        fold_seed: the seed of the folds.
        group: (N,) values, for a table also a column: rows of one group are in one fold.
        time: (N,) values, for a table also a column: each fold is validated on rows after its training rows.
        refit: with folds, train the best setting on all rows at the end, for as many epochs as its folds were best
            after, on average; its experiment is ``refit`` in the folder of the whole.
        together: whether members whose models, losses and batches differ only in numbers compute their steps as one
            program, over stacked weights (docs: Many runs); a log line says why if they cannot. The program is compiled
            in some tens of seconds, once for each kind of model, and kept. None is yes; False trains one after another.
        experiment: a folder, in which a new experiment is made; or the folder of an experiment to continue.

    Returns:
        A :class:`Runs`. Its tables are in the folder too, as CSV and JSON, and the best setting's
        ensemble as ``model.safetensors``.

    Raises:
        ValueError, TypeError: for a model in place of a function, an unknown setting, impossible folds, and any mistake
            that the recipe finds before it trains: nothing is written then.
        ExperimentBusyError: if the experiment holds results of another kind, or is being trained.
        Exception: that of the first member, if all of them fail.

    >>> import tempfile, torch
    >>> from ignite_recipes import train_model_advanced
    >>> x = torch.linspace(-1, 1, 60)[:, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = train_many(
    ...         train_model_advanced,
    ...         lambda: torch.nn.Linear(1, 1),
    ...         (x, 3 * x),
    ...         seeds=2,
    ...         folds=3,
    ...         epochs=2,
    ...         device="cpu",
    ...         together=False,  # quicker where there are few epochs
    ...         experiment=folder,
    ...     )
    ...     predictions = runs.predictions
    1/6 seed=0_fold=1: val_loss ... at epoch 2 of 2
    ...
    >>> len(runs.members), len(predictions)
    (6, 120)
    """
    if world_size() > 1:
        raise ValueError("members are trained by one process; got several ranks: start train_many without torchrun")
    check_installed("tables")
    sweep = {name: values.tolist() if hasattr(values, "tolist") else values for name, values in (sweep or {}).items()}
    members = plan_members(seeds_of(seeds), sweep, folds)
    request = Request(sweep, folds, whole_number(fold_seed, "fold_seed", at_least=0), group, time, refit)
    task = make_task(recipe, args, dict(settings), request)
    manager, is_new = place_of_many(experiment)
    by_time = folds is not None and (time is not None or recipe is trainModel)
    plan: dict[str, Any] = {"recipe": task.recipe, "sweep": _plain_sweep(sweep), "folds": folds, "by_time": by_time}
    plan["fold_seed"] = None if folds is None else fold_seed
    plan["given"] = task.given
    if not is_new:
        check_continues(manager.experiment_dir, members, plan)
    manager.write_settings({**manager.settings(), "recipe": task.recipe, **_told(plan, members)})
    with said_how_to_continue(manager):
        return run_group(manager, members, task, plan, is_new=is_new, together=together)


def place_of_many(given: Any) -> tuple[ExperimentManager, bool]:
    """The experiment of the whole, and whether it is new."""
    if isinstance(given, ExperimentManager):
        manager = given
    elif isinstance(given, (str, os.PathLike)) and os.fspath(given) != "":
        found = existing_experiment(Path(given).expanduser(), None)
        if found is None:
            return ExperimentManager(given), True
        manager = ExperimentManager(found.parent, resume_exp=found.name)
    else:
        raise TypeError(f"experiment must be an ExperimentManager, or a folder such as 'runs'; got {given!r:.80}")
    if is_group(manager.experiment_dir):
        return manager, False
    refuse_results(manager)
    return manager, True


@contextmanager
def said_how_to_continue(experiment: ExperimentManager) -> Iterator[None]:
    """Let the message of a signal name the whole, and not the member that it came to first."""
    try:
        yield
    except Stopped as stopped:
        folder = experiment.experiment_dir
        line = f"stopped; continue all members with the same call and experiment={os.fspath(folder)!r}"
        raise Stopped(line, stopped.signum) from None


def _plain_sweep(sweep: Mapping[str, Sequence[Any]] | None) -> dict[str, list[Any]]:
    return {name: [plain(value) for value in values] for name, values in (sweep or {}).items()}


def _told(plan: Mapping[str, Any], members: Sequence[Any]) -> dict[str, Any]:
    """What ``config.yaml`` says of the whole."""
    return {
        "seeds": list(dict.fromkeys(member.seed for member in members)),
        "sweep": plan["sweep"],
        "folds": plan["folds"],
        "members": len(members),
    }

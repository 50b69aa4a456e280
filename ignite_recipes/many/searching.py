"""Search the settings of a recipe with Optuna: trials are members, train together, and are left when hopeless."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.many.asking import Request
from ignite_recipes.many.results import Runs
from ignite_recipes.many.rounds import AT_ONCE, Wanted, run_search
from ignite_recipes.many.search_space import read_search
from ignite_recipes.many.tasks import make_task
from ignite_recipes.many.training import place_of_many, said_how_to_continue
from ignite_recipes.optional import check_installed

__all__ = ["search_many"]

_NOT_SEARCHED = {
    "seeds": "every trial has the same seed, seed=",
    "sweep": "search= names what is varied",
    "folds": "a trial is one run",
    "refit": "a trial is one run",
}


def search_many(
    recipe: Callable[..., Any],
    *args: Any,
    search: Mapping[str, str],
    trials: int = 40,
    seed: int = 0,
    at_once: int = AT_ONCE,
    storage: str | os.PathLike[str] | None = None,
    pruner: Any = None,
    direction: str | None = None,
    together: bool | None = None,
    experiment: ExperimentManager | str | os.PathLike[str] = "runs",
    **settings: Any,
) -> Runs:
    """Search the settings of a recipe with Optuna; each trial is a member, an experiment in the folder of the whole.

    Trials are asked for in rounds, and those of a round train together, as those of :func:`train_many` do. After each
    epoch a trial reports its monitor. If Optuna's pruner gives it up, it is saved and stopped, and can be continued
    later as an experiment: ``recipe(..., experiment=runs.take_out(name))`` ends with the bits of a run that was never
    stopped. With the same seed a single process gives the same trials again. A search that was killed is continued by
    the same call with ``experiment=`` its folder; it makes the same trials, and more if ``trials`` is larger.

    Args:
        recipe, *args, **settings: as in :func:`train_many`.
        search: ranges by the names of settings, as in its ``sweep``: ``"uniform:0,0.5"``,
            ``"loguniform:1e-5,1e-2"`` and ``"int:1,4"``, with both ends, ``"choice:relu,gelu"``.
        trials: the number of trials of this experiment.
        seed: the seed of the sampler, and of the run of every trial.
        at_once: trials of a round. They do not use each other's results, so with fewer the search learns more from each
            trial, and with more it uses the machine better.
        storage: a file of Optuna's journal, which several processes and machines may share, each with its own
            experiment: the trials of all of them are those of one search. None is ``search.log`` in the experiment's
            folder. Optuna's own tools read it.
        pruner: one of ``optuna.pruners``; None is ``MedianPruner()``, which stops a trial whose best number so far is
            worse than the median of the ended trials at the same epoch. ``NopPruner()`` stops none.
        direction: ``"minimize"`` or ``"maximize"`` the monitor. None takes that of the recipe; for your own function,
            where it is not known, it is ``"minimize"``.
        together, experiment: as in :func:`train_many`.

    Returns:
        A :class:`Runs`, whose table has a row for each trial of this experiment, the best first, and
        whose ``best_trial`` is the best of those that were not pruned.

    Raises:
        ModuleNotFoundError: if Optuna is not installed: ``pip install 'ignite-recipes[search]'``.
        ValueError, TypeError: as in :func:`train_many`; and for an unknown range, or a storage that holds another
            search.
        ExperimentBusyError: if the experiment holds results of another kind, or is being trained.
        Exception: that of the first trial, if all trials of a round fail.

    >>> import tempfile, torch
    >>> from ignite_recipes import train_model_advanced
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     runs = search_many(
    ...         train_model_advanced,
    ...         lambda: torch.nn.Linear(1, 1),
    ...         (x, 3 * x),
    ...         (x, 3 * x),
    ...         search={"learning_rate": "loguniform:1e-4,1"},
    ...         trials=3,
    ...         epochs=2,
    ...         device="cpu",
    ...         together=False,
    ...         experiment=folder,
    ...     )
    1/3 trial=0_learning_rate=...: val_loss ... at epoch 2 of 2
    ...
    >>> len(runs.table("val_loss")), runs.best_trial.label == runs.table("val_loss")["setting"][0]
    (3, True)
    """
    if world_size() > 1:
        raise ValueError("trials are trained by one process; got several ranks: start search_many without torchrun")
    check_installed("search")
    for name, why in _NOT_SEARCHED.items():
        if settings.get(name) is not None:
            raise ValueError(f"{name} is not for search_many: {why}; leave it out")
    space = read_search(search)
    wanted = Wanted(
        space, trials=trials, seed=seed, at_once=at_once, storage=storage, direction=direction, pruner=pruner
    )
    ends = {name: list(found.values) for name, found in space.items()}
    task = make_task(recipe, args, dict(settings), Request(ends, None, 0, None, None, False))
    manager, is_new = place_of_many(experiment)
    words = {name: str(found) for name, found in space.items()}
    told = {"recipe": task.recipe, "search": words, "trials": wanted.trials, "seed": wanted.seed}
    if is_new:
        manager.write_settings({**manager.settings(), **told})
    with said_how_to_continue(manager):
        return run_search(manager, task, wanted, is_new=is_new, together=together)

"""How each recipe in Python trains a member: what is made new for it, and what its fold is of."""

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

from torch import nn

from ignite_recipes.arguments import kind_of
from ignite_recipes.experiments.members import Member
from ignite_recipes.many.asking import (
    OF_THE_MEMBER,
    Arguments,
    Request,
    Sweep,
    bound,
    default_of,
    described,
    maker,
    own_parts,
    refuse_refit,
    seeded,
)
from ignite_recipes.many.classifier_task import task_of_classifier
from ignite_recipes.many.given import arguments_of, given_settings
from ignite_recipes.many.group import Task
from ignite_recipes.many.pair_rows import folded_rows, sides_of, val_rows, validated
from ignite_recipes.many.traffic_task import task_of_traffic
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes import (
    Trainer,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["make_task"]


def make_task(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """How members of this call are trained.

    Raises:
        ValueError, TypeError: for a model in place of a function that makes one, an option that members have by
            themselves, an unknown swept setting, folds of what has no rows.
    """
    if not callable(recipe):
        raise TypeError(f"recipe must be a function that trains, e.g. train_model_advanced; got {kind_of(recipe)}")
    for name, why in OF_THE_MEMBER.items():
        if settings.get(name) is not None:
            raise ValueError(f"{name} is not for train_many: {why}; leave it out")
    given = given_settings(arguments_of(recipe, args, settings))
    return _task_of(recipe, args, settings, request)._replace(given=given)


def _task_of(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    if recipe is train_on_table:
        return _of_table(args, settings, request)
    if recipe is trainModel:
        return task_of_traffic(args, settings, request)
    if recipe is Trainer:
        return task_of_classifier(args, settings, request)
    if recipe in (train_model_advanced, train_variational_autoencoder):
        return _of_model(recipe, args, settings, request)
    return _of_function(recipe, args, settings, request)


def _of_model(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """The task of ``train_model_advanced`` and ``train_variational_autoencoder``."""
    arguments = bound(recipe, args, settings)
    is_pairs = recipe is train_model_advanced
    epochs_name = "epochs" if is_pairs else "num_epochs"
    make = maker(arguments.pop("model", None), recipe.__name__)
    sweep = Sweep(request, recipe.__name__, inspect.signature(recipe).parameters, {"model": make}, arguments)
    folded = folded_rows(arguments, "pairs" if is_pairs else "vectors", request)

    def model_of(member: Member) -> nn.Module:
        made = seeded(member, partial(make, **sweep.of("model", member)))
        if not isinstance(made, nn.Module):
            raise TypeError(f"the function that makes the model must give a torch.nn.Module; got {kind_of(made)}")
        return made

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own = {**own_parts(arguments, member), **sweep.of_recipe(member), **sides_of(folded, member)}
        own.setdefault("val_loader", None)
        recipe(model_of(member), seed=member.seed, experiment=run, **own)
        return validated(run, partial(model_of, member), own, val_rows(folded, member)) if is_pairs else None

    def refit(member: Member, epochs: int, run: ExperimentRun) -> None:
        patience = "early_stop_patience" if is_pairs else "patience"
        own = {**own_parts(arguments, member), **sweep.of_recipe(member), epochs_name: epochs}
        own |= {patience: None, "val_loader": None}
        own |= {"monitor": None, "mode": None}
        recipe(model_of(member), seed=member.seed, experiment=run, **own)

    def epochs(member: Member) -> int:
        return int({**arguments, **member.settings}.get(epochs_name, default_of(recipe, epochs_name)))

    first = Member("", 0)
    return Task(
        recipe.__name__,
        train,
        described(recipe.__name__, request),
        epochs,
        model=partial(model_of, first) if not sweep.taken["model"] or not request.sweep else None,
        refit=refit if request.refit else None,
    )


def _of_table(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    arguments = bound(train_on_table, args, settings)
    make = arguments.get("model")
    if make is not None:
        make = maker(make, "train_on_table")
    parameters = inspect.signature(train_on_table).parameters
    sweep = Sweep(request, "train_on_table", parameters, {"model": make}, arguments)
    if request.folds is not None:
        for name in ("fold", "val_data", "split_seed"):
            if arguments.get(name) is not None:
                raise ValueError(f"{name} is one split, and folds are others; got both: leave one of them out")
        arguments |= {"split_seed": request.fold_seed}
    by = {"group": request.group, "time": request.time}
    arguments |= {name: value for name, value in by.items() if value is not None}

    def arguments_of(member: Member) -> Arguments:
        own = {**own_parts(arguments, member), **sweep.of_recipe(member)}
        if member.fold is not None:
            own["fold"] = (member.fold, request.folds)
        if make is not None:
            own["model"] = partial(make, **sweep.of("model", member))
        return own

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own: Any = {**arguments_of(member), "seed": member.seed, "experiment": run}
        result = train_on_table(**own)
        return result["val_predictions"] if len(result["val_predictions"]) else None

    def refit(member: Member, epochs: int, run: ExperimentRun) -> None:
        own = {**arguments_of(member), "fold": None, "val_size": None, "early_stop_patience": None, "epochs": epochs}
        own |= {"monitor": None, "mode": None, "seed": member.seed, "experiment": run}
        train_on_table(**own)

    def epochs(member: Member) -> int:
        return int({**arguments, **member.settings}.get("epochs", default_of(train_on_table, "epochs")))

    return Task(
        "train_on_table",
        train,
        described("train_on_table", request),
        epochs,
        refit=refit if request.refit else None,
    )


def _of_function(recipe: Callable[..., Any], args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """The task of a user's function, which calls a recipe of this library with ``seed`` and ``experiment``."""
    name = getattr(recipe, "__name__", type(recipe).__name__)
    parameters = inspect.signature(recipe).parameters
    takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    wanted = ["seed", "experiment", *(["fold"] if request.folds is not None else [])]
    for word in wanted:
        if word not in parameters and not takes_all:
            raise TypeError(
                f"{name} must take {', '.join(wanted)} as keywords, and hand experiment to the recipe that it calls; "
                f"it takes no {word}"
            )
    refuse_refit(request, name)
    if not takes_all:
        Sweep(request, name, parameters, {}, settings)

    def train(member: Member, run: ExperimentRun) -> None:
        fold = {} if member.fold is None else {"fold": (member.fold, request.folds)}
        recipe(*args, **settings, **member.settings, **fold, seed=member.seed, experiment=run)

    def told(member: Member) -> dict[str, Any]:  # the recipe that it calls says which one it is
        return {key: value for key, value in described(name, request)(member).items() if key != "recipe"}

    return Task(name, train, told, lambda member: 0, can_be_tried=False)

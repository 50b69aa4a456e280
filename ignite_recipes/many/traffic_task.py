"""How a member of ``trainModel`` is trained, and its folds by time."""

import inspect
from typing import Any

import numpy as np

from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.traffic import TrafficArrays, TrafficDataset
from ignite_recipes.experiments.members import Member
from ignite_recipes.many.asking import (
    OF_THE_MEMBER,
    Arguments,
    Request,
    Sweep,
    bound,
    described,
    own_parts,
    refuse_refit,
)
from ignite_recipes.many.group import Task
from ignite_recipes.recipes import TrafficParameters, trainModel
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["task_of_traffic"]


def task_of_traffic(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """How its members are trained: the seed and what is swept are among the recipe's parameters."""
    arguments = bound(trainModel, args, settings)
    parameters = dict(arguments.pop("parameters", {}))
    refuse_refit(request, "trainModel")
    if parameters.pop("seed", None) is not None and "seed" in request.sweep:
        raise ValueError(f"seed cannot be swept: {OF_THE_MEMBER['seed']}")
    known = [*TrafficParameters.__annotations__, *inspect.signature(trainModel).parameters]
    sweep = Sweep(request, "trainModel", known, {}, {})
    sides = None if request.folds is None else _traffic_folds(arguments, request)

    def train(member: Member, run: ExperimentRun) -> None:
        own = {**own_parts(arguments, member), **({} if sides is None else sides[(member.fold or 1) - 1])}
        swept = sweep.of_recipe(member)
        of_model = {name: value for name, value in swept.items() if name in TrafficParameters.__annotations__}
        own |= {name: value for name, value in swept.items() if name not in of_model}
        told = {**parameters, **of_model, "seed": member.seed, "save_checkpoints": False}
        own["experiment"] = run
        trainModel(told, **own)

    def epochs(member: Member) -> int:
        return int({"num_epochs": 50, **parameters, **member.settings}["num_epochs"])

    return Task("trainModel", train, described("trainModel", request), epochs)


def _traffic_folds(arguments: Arguments, request: Request) -> list[Arguments]:
    """Windows in the order of time; those that share samples with the windows to validate on are left out."""
    if arguments.get("testData") is not None or request.group is not None or request.time is not None:
        raise ValueError("folds of trainModel are made from trainData, by time: leave out testData, group and time")
    data = arguments["trainData"]
    dataset = data if isinstance(data, TrafficDataset) else TrafficDataset(data)
    windows, length = dataset.arrays, dataset.len_source + dataset.len_target
    found = []
    for train, val in fold_rows(len(dataset), int(request.folds or 2), times=np.arange(len(dataset))):
        train = train[: 1 - length]
        if not len(train):
            raise ValueError(
                f"the series is too short for {request.folds} folds of windows of {length} samples: use fewer"
            )
        parts = [TrafficArrays(*(array[rows[0] : rows[-1] + 1] for array in windows)) for rows in (train, val)]
        found.append({"trainData": parts[0], "testData": parts[1]})
    return found

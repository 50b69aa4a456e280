"""How a member of the classification ``Trainer`` is trained."""

import inspect
from functools import partial
from typing import Any

from torch import nn

from ignite_recipes.arguments import kind_of
from ignite_recipes.experiments.members import Member
from ignite_recipes.many.asking import (
    Arguments,
    Request,
    Sweep,
    bound,
    described,
    maker,
    own_parts,
    refuse_refit,
    seeded,
)
from ignite_recipes.many.group import Task
from ignite_recipes.many.pair_rows import folded_rows, sides_of, val_rows, validated
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes import Trainer
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["task_of_classifier"]


def task_of_classifier(args: tuple[Any, ...], settings: Arguments, request: Request) -> Task:
    """The task of a :class:`Trainer`: the optimizer is a function of the model, the scheduler one of the optimizer."""
    epochs_given = settings.pop("epochs", None)
    if epochs_given is None and "epochs" not in request.sweep:
        raise TypeError("train_many(Trainer, ...) needs the number of epochs: add epochs=20")
    arguments = bound(Trainer, args, settings)
    refuse_refit(request, "Trainer")
    makers = {name: arguments.pop(name, None) for name in ("model", "optimizer", "scheduler")}
    make = maker(makers["model"], "Trainer")
    for name in ("optimizer", "scheduler"):
        of = {"optimizer": "lambda model: torch.optim.AdamW(model.parameters())", "scheduler": "lambda optimizer: ..."}
        if makers[name] is not None and (not callable(makers[name]) or hasattr(makers[name], "step")):
            raise TypeError(
                f"{name} must be a function that makes one, for each member; got {kind_of(makers[name])}: pass "
                f"{of[name]}"
            )
    if makers["optimizer"] is None:
        raise TypeError("Trainer must be given a function that makes the optimizer: lambda model: ...")
    known = [*inspect.signature(Trainer).parameters, "epochs"]
    sweep = Sweep(request, "Trainer", known, makers, arguments)
    folded = folded_rows(arguments, "pairs", request)

    def model_of(member: Member) -> nn.Module:
        return seeded(member, partial(make, **sweep.of("model", member)))  # type: ignore[no-any-return]

    def epochs(member: Member) -> int:
        return int(member.settings.get("epochs", epochs_given))

    def train(member: Member, run: ExperimentRun) -> "pl.DataFrame | None":
        own = {**own_parts(arguments, member), **sweep.of_recipe(member), **sides_of(folded, member)}
        own.pop("epochs", None)
        model = model_of(member)
        own["optimizer"] = makers["optimizer"](model, **sweep.of("optimizer", member))
        if makers["scheduler"] is not None:
            own["scheduler"] = makers["scheduler"](own["optimizer"], **sweep.of("scheduler", member))
        own.setdefault("device", None)
        own |= {"seed": member.seed, "experiment": run}
        Trainer(model, **own).train(epochs(member))
        return validated(run, partial(model_of, member), own, val_rows(folded, member))

    first = Member("", 0)
    return Task(
        "Trainer",
        train,
        described("Trainer", request),
        epochs,
        model=None if sweep.taken["model"] and request.sweep else partial(model_of, first),
    )

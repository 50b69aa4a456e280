"""The rows of a recipe that takes data in a loader's place: those of a member's fold, and the messages about them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from ignite_recipes.experiments.members import Member
from ignite_recipes.loading.given import as_loaders
from ignite_recipes.many.asking import Arguments, Request
from ignite_recipes.many.given_rows import Folded, labelled_batches
from ignite_recipes.many.predictions import predict_batches
from ignite_recipes.models import ArrayPredictor
from ignite_recipes.models.file import MODEL_FILE, load_model
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["folded_rows", "sides_of", "val_rows", "validated"]


def folded_rows(arguments: Arguments, of: str, request: Request) -> Folded | None:
    """All rows and their folds; None without folds. ``of`` is ``"pairs"`` or ``"vectors"``."""
    if request.folds is None:
        return None
    if arguments.get("val_loader") is not None:
        raise ValueError(
            "folds are made from train_loader, and validate on its rows; got a val_loader too: leave it out"
        )
    data = arguments.get("train_loader")
    return Folded(data, of, request.folds, request.fold_seed, request.group, request.time)


def sides_of(folded: Folded | None, member: Member) -> Arguments:
    """The data of a member's fold, as the recipe's arguments; nothing without folds."""
    if folded is None or member.fold is None:
        return {}
    return {"train_loader": folded.side(member.fold, 0), "val_loader": folded.side(member.fold, 1)}


def val_rows(folded: Folded | None, member: Member) -> Any:
    """The numbers of the rows that a member is validated on; None of data that are validated on as they are."""
    return None if folded is None or member.fold is None else folded.sides[member.fold - 1][1]


def validated(
    run: ExperimentRun, make: Callable[[], nn.Module], arguments: Arguments, rows: Any
) -> "pl.DataFrame | None":
    """What the best weights say of the rows that were validated on; None where there are none, or none is known."""
    path = Path(run.make().experiment_dir) / MODEL_FILE
    val_loader = arguments.get("val_loader")
    if val_loader is None or not path.is_file():
        return None
    predictor = load_model(path, make())
    if not isinstance(predictor, ArrayPredictor):
        return None
    _, loader = as_loaders(arguments["train_loader"], val_loader, arguments.get("batch_size"), of="pairs")
    return predict_batches(predictor, labelled_batches(loader), rows)

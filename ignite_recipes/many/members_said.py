"""What several members say of rows: side by side, averaged, judged, and as one model."""

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from ignite_recipes.many.member_run import MemberRun
from ignite_recipes.many.predictions import average_rows, judge, read_predictions
from ignite_recipes.models.ensemble import mean_of_predictors
from ignite_recipes.models.file import MODEL_FILE, Predictor, load_model
from ignite_recipes.optional import polars as pl

__all__ = ["averaged_of", "ensemble_of", "measures_of", "predictions_of"]


def predictions_of(members: Iterable[MemberRun]) -> "pl.DataFrame | None":
    """The predictions of each, with its setting, seed and fold; None if none says anything of rows."""
    frames = []
    for one in members:
        found = read_predictions(one.folder)
        if found is not None:
            own = {"setting": one.label, "seed": one.plan.seed}
            own |= {} if one.plan.fold is None else {"fold": one.plan.fold}
            frames.append(found.select(*(pl.lit(value).alias(name) for name, value in own.items()), pl.all()))
    return pl.concat(frames, how="diagonal_relaxed") if frames else None


def averaged_of(members: Iterable[MemberRun]) -> "pl.DataFrame | None":
    """For each row the mean of the members' predictions; None if they predict no rows.

    Raises:
        ValueError: if they were validated on different data.
    """
    frames = [read_predictions(one.folder) for one in members]
    found = [frame for frame in frames if frame is not None]
    return average_rows(found) if found else None


def measures_of(averaged: "pl.DataFrame | None") -> dict[str, float]:
    """How good the means of :func:`averaged_of` are, of how many ``rows`` and ``members``; empty if there are none."""
    if averaged is None:
        return {}
    members = averaged["members"].to_numpy()
    return {**judge(averaged), "rows": float(len(averaged)), "members": float(members.mean())}


def ensemble_of(members: Sequence[MemberRun], model: Any, device: Any) -> Predictor:
    """Their models as one; arguments and errors as of :meth:`Runs.ensemble`."""
    if isinstance(model, nn.Module):
        raise TypeError(f"model must be a function that makes one, for each member; got a {type(model).__name__}")
    own = [None if model is None else model() for _ in members]
    pairs = zip(members, own, strict=True)
    return mean_of_predictors([load_model(one.folder / MODEL_FILE, net, device=device) for one, net in pairs])  # type: ignore[no-any-return]

"""The results of many runs as files: tables as CSV, all of it as JSON, and the ensemble as a model."""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.files import replace_file
from ignite_recipes.json_values import json_value
from ignite_recipes.models.file import MODEL_FILE, save_model
from ignite_recipes.optional import polars as pl

if TYPE_CHECKING:
    from ignite_recipes.many.results import Runs

__all__ = ["SUMMARY", "facts_of", "members_frame", "predictions_file", "write_results"]

logger = logging.getLogger(__name__)

SUMMARY = "summary.json"


def facts_of(runs: "Runs") -> dict[str, Any]:
    """Members, tables, comparisons and the ensembles, in JSON's types but for NaN."""
    facts: dict[str, Any] = {
        "experiment": runs.folder.name,
        "path": str(runs.folder),
        "recipe": runs.recipe,
        "seeds": runs.seeds,
        "sweep": runs.sweep,
        "folds": runs.folds,
        "members": members_frame(runs).to_dicts(),
    }
    if runs.search:
        facts["search"] = runs.search
    if not runs.finished:
        return facts
    ensembles = {}
    for label in runs.settings:
        try:
            measures = runs.ensemble_measures(label)
        except ValueError as error:  # of members that were validated on different data
            logger.info("no ensemble of %s is judged: %s", label, error)
            measures = {}
        if measures:
            ensembles[label] = measures
    return {
        **facts,
        "metric": runs.metric,
        "mode": runs.mode(runs.metric),
        "best_setting": _or_none(lambda: runs.best_setting),
        "table": runs.table().to_dicts(),
        "comparisons": _or_none(lambda: runs.compare().to_dicts()) or [],
        "ensembles": ensembles,
    }


def members_frame(runs: "Runs") -> "pl.DataFrame":
    """A row for each member: what it is, how far it came, and what it measured."""
    rows = []
    for one in runs.members:
        row = {"member": one.name, "setting": one.label, "seed": one.plan.seed}
        if runs.folds is not None:
            row["fold"] = one.plan.fold
        row |= {"state": one.state, "error": one.error}
        if one.outcome is not None:
            row |= {"best_epoch": one.outcome.best_epoch, "epochs_trained": one.outcome.epochs_trained}
            row |= {"seconds": one.outcome.seconds, **one.outcome.measured}
        rows.append(row)
    return pl.DataFrame(rows, infer_schema_length=None, strict=False)


def predictions_file(runs: "Runs") -> str:
    """What the predictions of the rows that were validated on are called."""
    return "out_of_fold.csv" if runs.folds is not None else "predictions.csv"


def write_results(runs: "Runs", *, model: Any = None) -> None:
    """Write the results into the folder of the whole.

    ``members.csv``, ``table.csv``, ``comparisons.csv`` and ``summary.json``; where members say something of rows
    ``out_of_fold.csv``, or without folds ``predictions.csv``, and ``averaged.csv``, the mean over the members of the
    best setting; and that one's ensemble as ``model.safetensors``.

    Args:
        runs: of which one member has ended at least.
        model: a function that makes the architecture, if it is one of the user's own.
    """
    folder = runs.folder
    _write(folder / "members.csv", members_frame(runs))
    _write(folder / "table.csv", runs.table())
    facts = facts_of(runs)
    text = json.dumps(json_value(facts), indent=1)
    replace_file(folder / SUMMARY, lambda file: file.write(text.encode()))
    if facts["best_setting"] is None:
        return
    _write(folder / "comparisons.csv", runs.compare())
    predictions = runs.predictions
    if predictions is not None:
        _write(folder / predictions_file(runs), predictions)
    if facts["ensembles"].get(facts["best_setting"]):
        averaged = runs.averaged()
        assert averaged is not None
        _write(folder / "averaged.csv", averaged)
    _write_model(runs, facts, model)


def _write_model(runs: "Runs", facts: Mapping[str, Any], model: Any) -> None:
    path = runs.folder / MODEL_FILE
    trained = {"recipe": runs.recipe, "experiment": runs.folder.name, "setting": facts["best_setting"]}
    try:
        members = [one.name for one in runs.of() if one.outcome is not None]
        save_model(path, runs.ensemble(model=model), trained={**trained, "members": members})
    except (ValueError, TypeError, CheckpointError, OSError) as error:  # the members are there all the same
        logger.info("%s is not written: %s", path, error)


def _write(path: Path, frame: "pl.DataFrame") -> None:
    replace_file(path, frame.write_csv)


def _or_none(find: Any) -> Any:
    """What is found; None where the members' numbers do not allow it."""
    try:
        return find()
    except ValueError:
        return None

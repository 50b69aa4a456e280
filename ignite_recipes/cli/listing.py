"""``ignite-recipes list``: the recipes, models, data sets, and experiments with their best results."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.answers.trained import RECIPES
from ignite_recipes.cli.options import add_runs_dir, new_parser, parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.data import DatasetRegistry
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.experiments.members import is_group
from ignite_recipes.experiments.summary import Best, Summary, summarize
from ignite_recipes.many import Runs
from ignite_recipes.models import ModelRegistry

__all__ = ["HELP", "columns", "main", "parser"]

HELP = "show recipes, models, data sets, and the experiments with their best results"


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser("list", "Show the recipes, models, data sets, and the experiments with their best results.")
    add_runs_dir(options)
    options.add_argument("--tag", type=str | None, help="only the experiments with this tag")
    return options


def main(argv: Sequence[str]) -> Result:
    """The lists, as one text."""
    settings = parse_settings(parser(), argv)
    folder, tag = settings["runs_dir"], settings["tag"]
    names = [*list_experiments(folder), *_without_settings(folder)]
    found = [summarize(ExperimentManager(folder, resume_exp=name)) for name in names]
    if tag is not None:
        found = [summary for summary in found if tag in summary.tags]
    facts = {"recipes": RECIPES, "models": ModelRegistry.names(), "data_sets": DatasetRegistry.names()}
    lines = [f"{name.replace('_', ' '):<12} {', '.join(values)}" for name, values in facts.items()]
    many = {}
    for one in found:
        if is_group(one.path):
            try:
                many[one.experiment] = Runs(one.path)
            except ValueError as error:  # its plan is damaged, and the others are to be listed all the same
                one.notes.append(" ".join(str(error).split()))
    rows = [_row(one) if one.experiment not in many else _row_of_many(one, many[one.experiment]) for one in found]
    table = columns([("experiment", "recipe", "epochs", "best", ""), *rows]) if found else []
    nothing = f"none in {folder!r} yet" if tag is None else f"none in {folder!r} has the tag {tag!r}"
    shown = ["", *table] if table else [f"experiments  {nothing}"]
    experiments = [_facts(one, many.get(one.experiment)) for one in found]
    return Result("\n".join([*lines, *shown]), {**facts, "experiments": experiments})


def _facts(summary: Summary, runs: Runs | None) -> dict[str, Any]:
    members = {} if runs is None else {"members": len(runs.members), "members_ended": len(runs.finished)}
    return {**summary.facts(), **members}


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """The lines of a table whose columns are as wide as their cells ask for.

    >>> columns([("", "exp1"), ("seed", "3")])
    ['      exp1', 'seed  3']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _row_of_many(summary: Summary, runs: Runs) -> tuple[str, str, str, str, str]:
    best = "-"
    with suppress(ValueError):  # nothing has ended, or nothing is finite
        label, metric = runs.best_setting, runs.metric
        row = next(row for row in runs.table(metric).iter_rows(named=True) if row["setting"] == label)
        best = f"{metric} {row['mean']:.5g}{f' by {label}' if runs.sweep or runs.search else ''}"
    return (
        summary.experiment,
        str(summary.settings.get("recipe", runs.recipe)),
        f"{len(runs.finished)}/{len(runs.members)} runs",
        best,
        _notes(summary, []),
    )


def _row(summary: Summary) -> tuple[str, str, str, str, str]:
    settings, best, trained = summary.settings, summary.best, summary.epochs_trained
    notes = [f"forked from {source}"] if (source := settings.get("forked_from")) else []
    return (
        summary.experiment,
        str(settings.get("recipe", "?")),
        f"{'?' if trained is None else trained}/{settings.get('epochs', '?')}",
        "?" if summary.log is None else "-" if best is None else f"{best}{_accuracy(summary, best)}",
        _notes(summary, notes),
    )


def _notes(summary: Summary, others: Sequence[str]) -> str:
    names = [] if summary.name is None else [summary.name]
    tags = [f"[{', '.join(summary.tags)}]"] if summary.tags else []
    return "; ".join([*names, *others, *tags, *summary.notes])


def _accuracy(summary: Summary, best: Best) -> str:
    """What a loss says to few."""
    accuracy = summary.at(best.epoch).get("val_accuracy")
    return "" if accuracy is None or best.metric == "val_accuracy" else f" (val_accuracy {accuracy:.5g}%)"


def _without_settings(folder: str) -> list[str]:
    """Experiments whose config.yaml is missing: there is a log, or a folder of checkpoints."""
    known = set(list_experiments(folder))
    found = {
        path.parent.name for name in ("training_log.csv", "checkpoints") for path in Path(folder).glob(f"[!.]*/{name}")
    }
    return sorted(found - known)

"""``ignite-recipes show EXPERIMENT``: what it is, what it was started with, and what it reached."""

import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.answering import named_experiment, named_parser
from ignite_recipes.cli.listing import columns
from ignite_recipes.cli.many_lines import member_lines, table_lines
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.labels import name_of, tags_of
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group
from ignite_recipes.experiments.provenance import read_provenance
from ignite_recipes.experiments.summary import Summary, summarize
from ignite_recipes.many import Runs

__all__ = ["HELP", "main", "parser"]

HELP = "show an experiment: its settings, how it was started, its results: show exp1"


def parser() -> ArgumentParser:
    """The command's options."""
    return named_parser("show", "Show an experiment: its results, its settings, how it was started, and its files.")


def main(argv: Sequence[str]) -> Result:
    """What is known of it, a line each."""
    experiment = named_experiment(parse_settings(parser(), argv))
    if is_group(experiment.experiment_dir):
        return _many(experiment)
    summary = summarize(experiment)
    best = summary.best
    measured = {} if best is None else summary.at(best.epoch)
    starts, files = read_provenance(experiment.experiment_dir), _files(Path(experiment.experiment_dir))
    facts = {
        **summary.facts(),
        "measured_at_best": measured,
        "settings": summary.settings,
        "starts": starts,
        "files": files,
    }
    parts = [
        _part("", _reached(summary)),
        _part(f"measured at epoch {best.epoch}" if best else "", {name: f"{v:.5g}" for name, v in measured.items()}),
        _part("settings", summary.settings),
        *[_part("started" if number == 0 else "resumed", _start(start)) for number, start in enumerate(starts)],
        _part("files", {name: _size(size) for name, size in files.items()}),
    ]
    return Result("\n\n".join(part for part in parts if part), facts)


def _many(experiment: ExperimentManager) -> Result:
    """An experiment of many runs."""
    runs, settings = Runs(experiment), experiment.settings()
    starts, files = read_provenance(experiment.experiment_dir), _files(Path(experiment.experiment_dir), deep=False)
    known = {
        "experiment": experiment.experiment_dir,
        "name": name_of(settings),
        "tags": ", ".join(tags_of(settings)) or None,
        "recipe": runs.recipe,
        "members": f"{len(runs.finished)} of {len(runs.members)} ended",
    }
    parts = [
        _part("", {name: value for name, value in known.items() if value is not None}),
        *(["\n".join(table_lines(runs))] if runs.finished else []),
        "\n".join(member_lines(runs)),
        _part("settings", settings),
        *[_part("started" if number == 0 else "resumed", _start(start)) for number, start in enumerate(starts)],
        _part("files", {name: _size(size) for name, size in files.items()}),
    ]
    facts = {"name": name_of(settings), "tags": tags_of(settings), **runs.facts()}
    return Result("\n\n".join(parts), {**facts, "settings": settings, "starts": starts, "files": files})


def _reached(summary: Summary) -> dict[str, Any]:
    trained = "?" if summary.epochs_trained is None else summary.epochs_trained
    known = {
        "experiment": summary.path,
        "name": summary.name,
        "tags": ", ".join(summary.tags) or None,
        "recipe": summary.settings.get("recipe", "?"),
        "forked from": summary.settings.get("forked_from"),
        "epochs": f"{trained}/{summary.settings.get('epochs', '?')}",
        "best": summary.best,
        "note": "; ".join(summary.notes) or None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _start(start: Mapping[str, Any]) -> dict[str, Any]:
    """A start, as far as its file tells."""
    git, data, versions, command = (start.get(name) for name in ("git", "data", "versions", "command"))
    known = {
        "at": start.get("started_at"),
        "in": start.get("working_directory"),
        "command": shlex.join(map(str, command)) if command else None,
        "commit": f"{git.get('commit')}{', with changes' if git.get('changed') else ''}" if git else None,
        "data": f"{data.get('path')}, sha256 {str(data.get('sha256'))[:12]}" if data else None,
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) if versions else None,
    }
    return {name: value for name, value in known.items() if value is not None}


def _part(title: str, values: Mapping[str, Any]) -> str:
    indent = "  " if title else ""
    rows = [(indent + name, "none" if value is None else str(value)) for name, value in values.items()]
    return "\n".join([*([title] if title else []), *columns(rows)]) if rows else ""


def _files(folder: Path, *, deep: bool = True) -> dict[str, int]:
    """The sizes of an experiment's files, in bytes."""
    paths = folder.rglob("*") if deep else folder.glob("*")
    found = sorted(path for path in paths if path.is_file() and not path.name.startswith("."))
    return {os.fspath(path.relative_to(folder)): path.stat().st_size for path in found}


def _size(size: int) -> str:
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB" if size >= 1000 else f"{size} bytes"

"""What every recipe's command does when it is asked for many runs: by seeds, sweeps, folds or a search."""

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.many_lines import verdict_of
from ignite_recipes.cli.options import speak_of_options
from ignite_recipes.cli.result import Result
from ignite_recipes.cli.settings import data_file, own_settings, reopen
from ignite_recipes.cli.stopped import stopped
from ignite_recipes.cli.varied import check_of_search, named_setting, value_of, wanted_of
from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.experiments.earlier_log import kept_log
from ignite_recipes.experiments.labels import tags_of
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import Member, is_group
from ignite_recipes.many import Runs
from ignite_recipes.many.group import Task, check_continues, run_group
from ignite_recipes.many.planning import plan_members, seeds_of
from ignite_recipes.many.rounds import run_search
from ignite_recipes.optional import polars as pl
from ignite_recipes.recipes.experiment_run import ExperimentRun

__all__ = ["asks_for_many", "train_many_runs"]

Load = Callable[[dict[str, Any]], Any]
Train = Callable[[ExperimentRun, dict[str, Any], Any], Result]


def asks_for_many(settings: Mapping[str, Any], parser: ArgumentParser) -> bool:
    """Whether these settings are of many runs: they say so, or are of an experiment that holds many."""
    given = settings["seeds"] is not None or settings["sweep"] or settings["folds"] is not None or settings["search"]
    if settings["resume"] is not None:
        folder = (
            Path(settings["resume"]) if os.sep in settings["resume"] else Path(settings["runs_dir"], settings["resume"])
        )
        if is_group(folder.expanduser()):
            return True
        if given:
            raise ValueError(
                f"--seeds, --sweep, --folds and --search start many runs, and {settings['resume']} is one: leave out "
                "--resume"
            )
        return False
    if settings["refit"] and settings["folds"] is None:
        raise ValueError("--refit needs --folds; got no folds: add --folds 5")
    if given and settings["fork"] is not None:
        raise ValueError(
            "--fork starts one run with the weights of another; leave out --seeds, --sweep, --folds and --search"
        )
    check_of_search(settings)
    return bool(given)


def train_many_runs(
    command: str,
    parser: ArgumentParser,
    argv: Sequence[str],
    settings: dict[str, Any],
    load: Load,
    train: Train,
) -> Result:
    """In place of one training: plan the members, begin or continue them, and say what came of it.

    Args:
        command, parser, argv, load, train: as for ``run_experiment``.
        settings: as parsed.
    """
    if world_size() > 1:
        raise ValueError("many runs are trained by one process; got several ranks: start the command without torchrun")
    is_new = settings["resume"] is None
    experiment = None
    if is_new:
        settings = {**settings, "forked_from": None}
    else:
        experiment, settings = reopen(command, parser, argv, settings)
    words = ["ignite-recipes", command, *argv]
    task = _task(command, parser, argv, settings, load, train)
    check_of_search(settings)
    if settings["search"]:
        begin: Callable[..., Runs] = partial(run_search, task=task, wanted=wanted_of(settings, parser))
    else:
        sweep = _sweep(settings["sweep"], parser, settings)
        members = plan_members(_seeds(settings), sweep, settings["folds"])
        by_time = settings["folds"] is not None and (settings.get("time") is not None or command == "traffic")
        plan = {"recipe": command, "sweep": sweep, "folds": settings["folds"], "by_time": by_time}
        plan["fold_seed"] = None if settings["folds"] is None else _split_seed(settings)
        if experiment is not None:
            check_continues(experiment.experiment_dir, members, plan)
        begin = partial(run_group, members=members, task=task, plan=plan)
    if experiment is None:
        experiment = ExperimentManager(settings["runs_dir"], settings=own_settings(settings))
    else:
        experiment.write_settings({**experiment.settings(), **own_settings(settings)})
    together, file = settings["together"], data_file(settings)
    try:
        runs = begin(experiment, is_new=is_new, together=together, command=words, data_file=file)
    except KeyboardInterrupt as interrupt:
        raise stopped(command, experiment, interrupt) from None
    except ValueError as error:
        raise ValueError(speak_of_options(str(error))) if type(error) is ValueError else error from error
    facts = {"name": settings["name"], "tags": tags_of(settings), **runs.facts()}
    return Result(verdict_of(runs), facts)


def _seeds(settings: Mapping[str, Any]) -> list[int]:
    given = settings["seeds"]
    if given is None:
        return [settings["seed"]]
    if isinstance(given, int):
        return seeds_of(given, settings["seed"])
    text = given[1:-1] if given[:1] + given[-1:] == "[]" else given
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not words or not all(word.isdecimal() for word in words):
        raise ValueError(f"--seeds must be a number of seeds, 8, or seeds with commas, 1,2,5; got {given!r}")
    return [int(word) for word in words]


def _sweep(given: Sequence[str], parser: ArgumentParser, settings: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The values of each swept setting, of the types that its option has."""
    found: dict[str, list[Any]] = {}
    for text in given:
        dest, values = named_setting(text, "--sweep", "learning_rate=1e-4,1e-3", parser)
        words = [word.strip() for word in values.strip().removeprefix("[").removesuffix("]").split(",") if word.strip()]
        if not words:
            raise ValueError(f"--sweep must be a setting and its values, learning_rate=1e-4,1e-3; got {text!r}")
        for word in words:
            value = value_of(parser, dest, settings, word)
            if value not in found.setdefault(dest, []):
                found[dest].append(value)
    return found


def _task(
    command: str, parser: ArgumentParser, argv: Sequence[str], settings: dict[str, Any], load: Load, train: Train
) -> Task:
    shared = _Shared(load)
    words = ["ignite-recipes", command, *argv]
    split_seed = _split_seed(settings)
    alone: dict[str, Any] = {
        **dict.fromkeys(("seeds", "name", "fold", "resume", "fork", "together", "trials", "storage")),
        "sweep": [],
        "search": [],
        "refit": False,
    }

    def settings_of(member: Member) -> dict[str, Any]:
        own = {"seed": member.seed, "fold": member.fold, "split_seed": split_seed}
        return {**settings, **alone, **own, **member.settings}

    def train_member(member: Member, run: ExperimentRun) -> "pl.DataFrame | dict[str, float] | None":
        own = settings_of(member)
        data, earlier = shared(own)
        file = data_file(own)
        with run.open(command, own_settings(own), command=words, data_file=file, earlier_log=earlier):
            result = train(run, own, data)
        if result.predictions is not None:
            found: pl.DataFrame = result.predictions()
            return found
        return None if result.measures is None else result.measures()

    def refit(member: Member, epochs: int, run: ExperimentRun) -> None:
        own = {**settings_of(member), "fold": None, "folds": None, "val_size": None, "epochs": epochs}
        own |= {"patience": None, "monitor": None, "mode": None}
        with run.open(command, own_settings(own), command=words, data_file=data_file(own)):
            train(run, own, shared(own)[0])

    if settings["refit"] and (command != "supervised" or settings["file"] is None):
        raise ValueError("--refit is for tables, supervised FILE --target COLUMN: leave it out")
    return Task(
        command,
        train_member,
        lambda member: own_settings(settings_of(member)),
        lambda member: int(settings_of(member)["epochs"]),
        save_every=settings["save_every"],
        refit=refit if settings["refit"] else None,
    )


def _split_seed(settings: Mapping[str, Any]) -> int | None:
    """The seed of the members' splits; None is their own. Folds are the same for all seeds."""
    given: int | None = settings["split_seed"]
    return settings["seed"] if given is None and settings["folds"] is not None else given


class _Shared:
    """Load the data of members once where it depends on nothing in which they differ.

    What depends on the seed is loaded for each member: such data may draw from it during the training.
    """

    def __init__(self, load: Load) -> None:
        self._load = load
        self._known: list[tuple[dict[str, Any], Any]] = []

    def __call__(self, settings: dict[str, Any]) -> tuple[Any, list[logging.LogRecord]]:
        """The data, and what was said while they were read."""
        for read, (data, log) in self._known:
            if all(settings.get(name) == value for name, value in read.items()):
                return data, log
        noted = _Noted(settings)
        with kept_log() as log:
            data = self._load(noted)
        changed = {name: value for name, value in noted.items() if settings.get(name) != value}
        settings.update(changed)
        if "seed" not in noted.read and not changed:
            self._known.append(({name: settings.get(name) for name in noted.read}, (data, log)))
        return data, log


class _Noted(dict[str, Any]):
    """Settings that know which of them were read."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        super().__init__(settings)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.read.add(name)
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """As of a dict."""
        self.read.add(name)
        return super().get(name, default)

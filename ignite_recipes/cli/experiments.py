"""What every recipe's command does around its training: it parses, opens the experiment, and says how the run ended."""

import os
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from jsonargparse import ArgumentParser

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.cli.attachments import stop_at
from ignite_recipes.cli.config_files import check_config_files
from ignite_recipes.cli.many import asks_for_many, train_many_runs
from ignite_recipes.cli.options import add_options, add_runs_dir, new_parser, parse_settings, speak_of_options
from ignite_recipes.cli.result import Result
from ignite_recipes.cli.settings import as_config, data_file, open_new, own_settings, reopen
from ignite_recipes.cli.stopped import stopped
from ignite_recipes.cli.varied import add_many_options
from ignite_recipes.devices import as_device
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.experiments.earlier_log import kept_log
from ignite_recipes.experiments.labels import check_name, tags_of
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.recipes.experiment_run import ExperimentRun
from ignite_recipes.recipes.experiment_start import checkpoint_to_resume_from
from ignite_recipes.recipes.options import command_options

__all__ = ["Run", "experiment_parser", "run_experiment", "run_options"]

Run: TypeAlias = Callable[[str, ArgumentParser, Sequence[str], Callable[..., Any], Callable[..., Result]], Result]
"""The type of :func:`run_experiment`, and of a function that a command calls in its place."""


def experiment_parser(command: str, description: str, recipe: Callable[..., Any]) -> ArgumentParser:
    """A parser with the options that every recipe's command has, those of the run as ``recipe`` takes them."""
    options = new_parser(
        command,
        f"{description} Every run is an experiment with its settings, log, curves and checkpoints in its own folder.",
    )
    # In every config.yaml, so that one experiment's settings can be the --config of another.
    options.add_argument("--recipe", type=str, default=command, help=SUPPRESS)
    options.add_argument("--forked-from", type=str | None, help=SUPPRESS)
    options.add_argument("--stop-at-iteration", type=int | None, help=SUPPRESS)  # what resume-check cuts a run with
    add_runs_dir(options)
    options.add_argument("--resume", type=str | None, help="continue this experiment, e.g. exp5, to its last epoch")
    options.add_argument(
        "--fork",
        type=str | None,
        help="start a new experiment with the best weights and the settings of this one, changed as you like",
    )
    options.add_argument(
        "--name", type=str | None, help="a name of the experiment, in addition to expN; a fork does not inherit it"
    )
    options.add_argument(
        "--tag", type=str | None, help="words to find the experiment by, with commas: --tag small,first"
    )
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto chooses the best")
    options.add_argument(
        "--seed", type=int, default=0, help="the seed of the split, the initial weights and the training"
    )
    options.add_argument("--split-seed", type=int | None, help="the seed of the split only; by default --seed")
    add_many_options(options)
    options.add_argument("--save-every", type=int | None, help="epochs between two checkpoints that are kept")
    add_options(options, recipe, ["save_every_iterations", *command_options(recipe)])
    options.add_argument(
        "--print-config", action="store_true", help="print the settings of this run as a file for --config, and exit"
    )
    return options


def run_options(run: ExperimentRun, settings: dict[str, Any], recipe: Callable[..., Any]) -> dict[str, Any]:
    """The run of the experiment and its options among the command's settings, as ``recipe`` takes them."""
    names = ["save_every_iterations", *command_options(recipe)]
    chosen = {name: settings[name] for name in names}
    return {"experiment": run, "handlers": stop_at(settings), "progress": True, **chosen}


def run_experiment(
    command: str,
    parser: ArgumentParser,
    argv: Sequence[str],
    load: Callable[[dict[str, Any]], Any],
    train: Callable[[ExperimentRun, dict[str, Any], Any], Result],
) -> Result:
    """Parse, load the data, make or reopen the experiment, and train.

    Args:
        command: the recipe's name.
        parser: the parser of :func:`experiment_parser`.
        argv: the command's arguments.
        load: makes the data from the settings; a mistake there leaves no experiment.
        train: from the experiment's run, the settings and the data; says in one line what was reached.

    Returns:
        What ``train`` says, with where the experiment is; with ``--print-config`` the settings, as a YAML text.
    """
    check_config_files(command, argv)
    settings = parse_settings(parser, argv)
    if not settings["runs_dir"]:
        raise ValueError("--runs-dir must name a folder; got an empty name")
    if settings["name"] is not None:
        check_name(settings["name"])
    if settings["print_config"]:
        return as_config(command, parser, argv, settings)
    join_ranks(as_device(settings["device"]))
    is_new = settings["resume"] is None
    if asks_for_many(settings, parser):
        return train_many_runs(command, parser, argv, settings, load, train)
    with kept_log() as earlier:  # an experiment is made when its data have proved to be usable
        if is_new:
            experiment, settings, data = open_new(command, parser, argv, settings, load)
        else:
            experiment, settings = reopen(command, parser, argv, settings)
            data = load(settings)
    words = ["ignite-recipes", command, *argv]
    try:
        path = None if is_new else checkpoint_to_resume_from(experiment)
        run = ExperimentRun(experiment, None, path, save_every=settings["save_every"], is_new=is_new)
        own, file = own_settings(settings), data_file(settings)
        with run.open(command, own, command=words, data_file=file, earlier_log=earlier):
            result = train(run, settings, data)
            result = result if result.finish is None else result.finish()
        return Result(result.text, {**_place(experiment, settings), **result.facts})
    except Exception as error:
        if isinstance(error, CheckpointError) and settings["forked_from"] is not None:
            weights = f"the best checkpoint of {settings['forked_from']}"
            raise CheckpointError(str(error).replace(repr(experiment.initial_weights), weights)) from error
        if type(error) is ValueError:
            raise ValueError(speak_of_options(str(error))) from error
        raise
    except KeyboardInterrupt as interrupt:
        raise stopped(command, experiment, interrupt) from None


def _place(experiment: ExperimentManager, settings: dict[str, Any]) -> dict[str, Any]:
    """Which experiment it is, for scripts."""
    return {
        "experiment": os.path.basename(experiment.experiment_dir),
        "path": experiment.experiment_dir,
        "name": settings.get("name"),
        "tags": tags_of(settings),
        "recipe": settings["recipe"],
    }

"""What every recipe's command does around its training: an experiment of its own, or one that is resumed."""

import os
import shlex
import signal
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from jsonargparse import ArgumentError, ArgumentParser

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.cli.listing import RECIPES
from ignite_recipes.cli.options import add_options, new_parser, parse_settings, speak_of_options
from ignite_recipes.devices import as_device
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import join_ranks
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import BestCheckpoint, Checkpointing, StopOnSignal, Stopped
from ignite_recipes.recipes.assembly import recorders
from ignite_recipes.recipes.experiment_start import checkpoint_to_resume_from
from ignite_recipes.recipes.options import command_options

__all__ = [
    "checkpoint_to_resume",
    "experiment_handlers",
    "experiment_parser",
    "run_experiment",
    "run_handlers",
    "run_options",
]

# Where the experiment is, and what to do with it; no settings of it.
_OF_THE_COMMAND = ("runs_dir", "resume", "fork", "stop_at_iteration", "print_config")
_FREE_ON_RESUME = ("epochs", "device", "module", "data_root", "stretch_schedule")


def experiment_parser(command: str, description: str, recipe: Callable[..., Any]) -> ArgumentParser:
    """A parser with the options that every recipe's command has, those of the run as ``recipe`` takes them."""
    options = new_parser(
        command,
        f"{description} Every run is an experiment with its settings, log, curves and checkpoints in a folder "
        "of its own.",
    )
    # In every config.yaml, so that one experiment's settings can be the --config of another.
    options.add_argument("--recipe", type=str, default=command, help=SUPPRESS)
    options.add_argument("--forked-from", type=str | None, help=SUPPRESS)
    options.add_argument("--stop-at-iteration", type=int | None, help=SUPPRESS)  # what resume-check cuts a run with
    options.add_argument("--runs-dir", type=str, default="runs", help="where experiments are kept")
    options.add_argument("--resume", type=str | None, help="continue this experiment, e.g. exp5, to its epochs")
    options.add_argument(
        "--fork",
        type=str | None,
        help="begin a new experiment with the best weights of this one and its settings, changed as you like",
    )
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto is the best one")
    options.add_argument("--seed", type=int, default=0, help="of the split, the initial weights and the training")
    options.add_argument("--save-every", type=int | None, help="epochs between two checkpoints that are kept")
    add_options(options, recipe, ["save_every_iterations", *command_options(recipe)])
    options.add_argument(
        "--print-config", action="store_true", help="print the settings of this run as a file for --config, and end"
    )
    return options


def run_options(settings: dict[str, Any], recipe: Callable[..., Any]) -> dict[str, Any]:
    """The options of the run among the command's settings, as ``recipe`` takes them."""
    return {name: settings[name] for name in command_options(recipe)}


def run_experiment(
    command: str,
    parser: ArgumentParser,
    argv: Sequence[str],
    load: Callable[[dict[str, Any]], Any],
    train: Callable[[ExperimentManager, dict[str, Any], Any], str],
) -> str:
    """Parse, load the data, make or reopen the experiment, and train.

    Args:
        command: the recipe's name.
        parser: of :func:`experiment_parser`.
        argv: the command's arguments.
        load: makes the data from the settings; a mistake there leaves no experiment.
        train: from the experiment, the settings and the data; says in one line what was reached.

    Returns:
        What ``train`` says; with ``--print-config`` the settings, as a YAML text.
    """
    _check_config_files(command, argv)
    settings = parse_settings(parser, argv)
    if not settings["runs_dir"]:
        raise ValueError("--runs-dir must name a folder; got an empty name")
    if settings["print_config"]:
        return _as_config(command, parser, argv, settings)
    join_ranks(as_device(settings["device"]))
    is_new = settings["resume"] is None
    if is_new:
        experiment, settings, data = _open_new(command, parser, argv, settings, load)
    else:
        experiment, settings = _reopen(command, parser, argv, settings)
        data = load(settings)
    try:
        with experiment.lock(), experiment.log_to_file():
            return train(experiment, settings, data)
    except Exception as error:
        if is_new:
            experiment.discard_unused()
        if isinstance(error, CheckpointError) and settings["forked_from"] is not None:
            weights = f"the best checkpoint of {settings['forked_from']}"
            raise CheckpointError(str(error).replace(repr(experiment.initial_weights), weights)) from error
        if type(error) is ValueError:
            raise ValueError(speak_of_options(str(error))) from error
        raise
    except KeyboardInterrupt as interrupt:
        signum = getattr(interrupt, "signum", signal.SIGINT)
        if is_new:
            experiment.discard_unused()
        if not Path(experiment.experiment_dir).exists():
            raise Stopped("stopped before anything was trained", signum) from None
        folder, name = os.path.split(experiment.experiment_dir)
        where = "" if folder == "runs" else f" --runs-dir {shlex.quote(folder)}"
        message = f"stopped; resume with: ignite-recipes {command} --resume {name}{where}"
        raise Stopped(message, signum) from None


def _check_config_files(command: str, argv: Sequence[str]) -> None:
    """Refuse a file that holds no settings, or those of another command, before the parser meets their names.

    Raises:
        ValueError: naming the file; one that is missing is left to the parser.
    """
    import yaml

    for path in _config_files(argv):
        try:
            content = yaml.safe_load(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            mark = getattr(error, "problem_mark", None)
            place = "it is no YAML text" if mark is None else f"the mistake is in line {mark.line + 1}"
            raise ValueError(f"--config {path} must hold settings, as name: value; {place}") from error
        if not isinstance(content, dict):
            got = "it is empty" if content is None else f"got {type(content).__name__}"
            raise ValueError(f"--config {path} must hold settings, as name: value; {got}")
        recipe = content.get("recipe", command)
        if recipe != command:
            step = f"use ignite-recipes {recipe}" if recipe in RECIPES else "take the line recipe out of it"
            raise ValueError(f"--config {path} must hold settings of {command}; they are of {recipe!r}: {step}")


def _config_files(argv: Sequence[str]) -> list[Path]:
    """The files that are named with --config, those that there are."""
    named = [(word.partition("="), following) for word, following in pairwise([*argv, ""])]
    paths = [
        Path(value if equals else following) for (option, equals, value), following in named if option == "--config"
    ]
    return [path for path in paths if path.is_file()]


def checkpoint_to_resume(experiment: ExperimentManager, settings: dict[str, Any]) -> Path | None:
    """The newest sound checkpoint of an experiment that is resumed; None starts at its first epoch."""
    return checkpoint_to_resume_from(experiment) if settings["resume"] is not None else None


class _KeepSettings:
    """Write an experiment's settings when its run begins, and not before they have proved to be usable."""

    def __init__(self, experiment: ExperimentManager, settings: dict[str, Any]) -> None:
        self.experiment, self.settings = experiment, settings

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.STARTED, self._write)

    def _write(self) -> None:
        self.experiment.write_settings(_own(self.settings))


class _StopAt:
    """Send the process SIGTERM in a certain iteration."""

    def __init__(self, iteration: int) -> None:
        self.iteration = iteration

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, trainer: Engine) -> None:
        if trainer.state.iteration == self.iteration:
            signal.raise_signal(signal.SIGTERM)


class _InitialWeights:
    """Begin with the weights of the experiment that this one was forked from."""

    def __init__(self, path: str) -> None:
        self.path = path

    def attach(self, trainer: TrainingEngine) -> None:
        load_checkpoint(self.path, trainer.model, averaged=None)


def run_handlers(experiment: ExperimentManager, settings: dict[str, Any]) -> list[Any]:
    """What keeps an experiment's settings, and cuts its run where it was asked to."""
    iteration = settings["stop_at_iteration"]
    return [_KeepSettings(experiment, settings), *([] if iteration is None else [_StopAt(iteration)])]


def experiment_handlers(
    experiment: ExperimentManager, settings: dict[str, Any], best: BestCheckpoint, unit: str
) -> list[Any]:
    """All that makes a run an experiment: first weights, settings, signals, log, curves and checkpoints.

    Args:
        experiment: whose folder gets the files.
        settings: of the command.
        best: saves the best epoch.
        unit: of the losses, for the curves.
    """
    folder, every = experiment.checkpoints_dir, settings["save_every"]
    first = [] if experiment.initial_weights is None else [_InitialWeights(experiment.initial_weights)]
    kept = [] if every is None else [Checkpointing(folder, "epoch_{epoch}.pt", every=every)]
    latest = Checkpointing(folder, LATEST, every_iterations=settings["save_every_iterations"])
    return [
        *first,
        *run_handlers(experiment, settings),
        *recorders(experiment, unit),
        best,
        *kept,
        latest,
        StopOnSignal(latest.save),
    ]


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _OF_THE_COMMAND}


def _open_new(
    command: str,
    parser: ArgumentParser,
    argv: Sequence[str],
    given: dict[str, Any],
    load: Callable[[dict[str, Any]], Any],
) -> tuple[ExperimentManager, dict[str, Any], Any]:
    """A new experiment, made when its data have been read; a fork has the settings of its source, with changes."""
    settings = _settings_of_new(command, parser, argv, given)
    data = load(settings)
    if given["fork"] is None:
        return ExperimentManager(given["runs_dir"], settings=_own(settings)), settings, data
    source_dir, name = _place(given, "fork")
    # A fork of runs/exp5 stands next to it, unless --runs-dir says where.
    folder = given["runs_dir"] if _is_given(argv) else source_dir
    fork = ExperimentManager(folder, fork_exp=name, fork_dir=source_dir, settings=_own(settings))
    return fork, {**settings, "forked_from": fork.settings()["forked_from"]}, data


def _settings_of_new(
    command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]
) -> dict[str, Any]:
    if given["fork"] is None:
        return {**given, "forked_from": None}
    folder, name = _place(given, "fork")
    own = _settings_of(command, parser, ExperimentManager(folder, resume_exp=name))
    return parse_settings(parser, argv, own)


def _place(given: dict[str, Any], option: str) -> tuple[str, str]:
    """The folder and the name of the experiment that is to be resumed or forked: exp5, or runs/exp5.

    Raises:
        FileNotFoundError: if a path leads to no folder.
    """
    named = given[option]
    if os.sep not in named:
        return given["runs_dir"], named
    if not Path(named).is_dir():
        raise FileNotFoundError(f"there is no experiment {named}: check --{option}, or see ignite-recipes list")
    folder, name = os.path.split(os.path.normpath(named))
    return folder or os.curdir, name


def _is_given(argv: Sequence[str]) -> bool:
    """Whether --runs-dir is among the arguments, or in their --config file."""
    import yaml

    if any(word.partition("=")[0].replace("_", "-") == "--runs-dir" for word in argv):
        return True
    return any("runs_dir" in yaml.safe_load(path.read_text(encoding="utf-8")) for path in _config_files(argv))


def _as_config(command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]) -> str:
    """The settings of the run that these arguments ask for, where it is included, as a file for ``--config``."""
    import yaml

    if given["resume"] is None:
        settings = _settings_of_new(command, parser, argv, given)
    else:
        settings = _reopen(command, parser, argv, given)[1]
    where = {name: settings[name] for name in ("resume", "fork") if settings[name] is not None}
    if _is_given(argv):
        where["runs_dir"] = settings["runs_dir"]
    settings = {name: value for name, value in _own(settings).items() if name != "forked_from"}
    return str(yaml.safe_dump({**where, **settings}, sort_keys=False)).rstrip()


def _reopen(
    command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]
) -> tuple[ExperimentManager, dict[str, Any]]:
    """An experiment and its own settings; only its end, its device and the like may be changed."""
    if given["fork"] is not None:
        raise ValueError("--resume continues an experiment and --fork begins another; give one of them")
    folder, name = _place(given, "resume")
    if _is_given(argv) and Path(folder).resolve() != Path(given["runs_dir"]).resolve():
        raise ValueError(
            f"--resume continues an experiment where it is; {given['resume']} is not in --runs-dir "
            f"{given['runs_dir']}: leave one of them out, or begin another there with --fork {given['resume']}"
        )
    experiment = ExperimentManager(folder, resume_exp=name)
    own = _settings_of(command, parser, experiment)
    settings = parse_settings(parser, argv, own)
    changed = [name for name, value in own.items() if settings[name] != value and name not in _FREE_ON_RESUME]
    if changed:
        raise ValueError(
            f"--resume continues with the experiment's own settings; {', '.join(changed)} cannot be changed. "
            f"For that begin another one with its weights: --fork {given['resume']}"
        )
    return experiment, settings


def _of_whom(recipe: Any, command: str, experiment: ExperimentManager) -> str:
    """Whose experiment it is, and what to do about that."""
    name = Path(experiment.experiment_dir).name
    if recipe is None:
        return (
            f": its config.yaml does not say which recipe it is of; if it is this one, add the line recipe: {command}"
        )
    if recipe in RECIPES:
        return f" but of {recipe!r}: use ignite-recipes {recipe}"
    return f" but was made in Python by {recipe!r}: go on there, with ExperimentManager(resume_exp={name!r})"


def _settings_of(command: str, parser: ArgumentParser, experiment: ExperimentManager) -> dict[str, Any]:
    """An experiment's settings, if they are those of this command."""
    own = experiment.settings()
    if own.get("recipe") != command:
        raise ValueError(
            f"{experiment.experiment_dir} is not an experiment of the command {command}"
            f"{_of_whom(own.get('recipe'), command, experiment)}"
        )
    defaults = parser.get_defaults().as_dict().items()
    empty = [name for name, value in defaults if value is not None and own.get(name, "") is None]
    try:
        parser.parse_object(own)
    except ArgumentError as error:
        raise ValueError(f"{experiment.config_file} does not hold the settings of this command: {error}") from error
    if empty:
        raise ValueError(f"{experiment.config_file} must give a value to {', '.join(empty)}; got none")
    return own

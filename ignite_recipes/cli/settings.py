"""The experiment of a command and its settings: a new one, a fork of another, or one that is resumed."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from jsonargparse import ArgumentError, ArgumentParser

from ignite_recipes.answers.trained import RECIPES
from ignite_recipes.cli.config_files import names_runs_dir
from ignite_recipes.cli.options import parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group, members_folder, outer_folder
from ignite_recipes.recipes.checks import AUTO

__all__ = ["as_config", "data_file", "open_new", "own_settings", "reopen"]

# Where the experiment is, and what to do with it; no settings of it.
_OF_THE_COMMAND = ("runs_dir", "resume", "fork", "stop_at_iteration", "print_config")
# Which are kept where there is something to say.
_OF_MANY = ("seeds", "sweep", "search", "trials", "storage", "folds", "fold", "refit", "together")
_NOT_INHERITED = ("name",)  # it tells experiments apart
_FREE_ON_RESUME = ("epochs", "name", "tag", "device", "module", "data_root", "stretch_schedule")
_FREE_OF_MANY = ("seeds", "sweep", "trials", "storage", "refit", "together")  # members may be added


def open_new(
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
        return ExperimentManager(given["runs_dir"], settings=own_settings(settings)), settings, data
    source_dir, name = _place(given, "fork")
    # A fork of runs/exp5 stands next to it, unless --runs-dir says where.
    folder = given["runs_dir"] if names_runs_dir(argv) else outer_folder(source_dir)
    if is_group(Path(source_dir, name)):
        raise ValueError(
            f"--fork takes the weights of one run, and {name} holds many: fork one of its members, --fork "
            f"{members_folder(Path(source_dir, name))}/NAME"
        )
    fork = ExperimentManager(folder, fork_exp=name, fork_dir=source_dir, settings=own_settings(settings))
    return fork, {**settings, "forked_from": fork.settings()["forked_from"]}, data


def reopen(
    command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]
) -> tuple[ExperimentManager, dict[str, Any]]:
    """An experiment and its own settings; only its end, its device and the like may be changed."""
    if given["fork"] is not None:
        raise ValueError("--resume continues an experiment and --fork starts another; give one of them")
    folder, name = _place(given, "resume")
    if names_runs_dir(argv) and Path(folder).resolve() != Path(given["runs_dir"]).resolve():
        raise ValueError(
            f"--resume continues an experiment where it is; {given['resume']} is not in --runs-dir "
            f"{given['runs_dir']}: leave one of them out, or start another there with --fork {given['resume']}"
        )
    experiment = ExperimentManager(folder, resume_exp=name)
    own = _settings_of(command, parser, experiment)
    settings = parse_settings(parser, argv, own)
    if settings.get("precision") == AUTO:
        settings["precision"] = own.get("precision")  # which was found when the run began
    free = (*_FREE_ON_RESUME, *_FREE_OF_MANY) if is_group(experiment.experiment_dir) else _FREE_ON_RESUME
    before = {**dict.fromkeys(_OF_MANY), **own}
    changed = [
        name for name, value in before.items() if (settings[name] or None) != (value or None) and name not in free
    ]
    if changed:
        raise ValueError(
            f"--resume continues with the experiment's own settings; {', '.join(changed)} cannot be changed. "
            f"To change them start another one with its weights: --fork {given['resume']}"
        )
    return experiment, settings


def as_config(command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]) -> Result:
    """The settings of the run that these arguments ask for, where it is included, as a file for ``--config``."""
    import yaml

    if given["resume"] is None:
        settings = _settings_of_new(command, parser, argv, given)
    else:
        settings = reopen(command, parser, argv, given)[1]
    where = {name: settings[name] for name in ("resume", "fork") if settings[name] is not None}
    if names_runs_dir(argv):
        where["runs_dir"] = settings["runs_dir"]
    settings = {name: value for name, value in own_settings(settings).items() if name != "forked_from"}
    settings = {**where, **settings}
    return Result(str(yaml.safe_dump(settings, sort_keys=False)).rstrip(), settings)


def _settings_of_new(
    command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]
) -> dict[str, Any]:
    if given["fork"] is None:
        return {**given, "forked_from": None}
    folder, name = _place(given, "fork")
    own = _settings_of(command, parser, ExperimentManager(folder, resume_exp=name))
    return parse_settings(parser, argv, {**own, **dict.fromkeys(_NOT_INHERITED)})


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


def _settings_of(command: str, parser: ArgumentParser, experiment: ExperimentManager) -> dict[str, Any]:
    """An experiment's settings, if they are those of this command."""
    own = experiment.settings()
    if own.get("recipe") != command:
        raise ValueError(
            f"{experiment.experiment_dir} is not an experiment of the command {command}"
            f"{_of_whom(own.get('recipe'), command, experiment)}"
        )
    needed = [name for name, value in parser.get_defaults().as_dict().items() if value is not None]
    empty = [name for name in needed if own.get(name, "") is None and not _may_be_none(parser, name)]
    try:
        parser.parse_object(own)
    except ArgumentError as error:
        raise ValueError(f"{experiment.config_file} does not hold the settings of this command: {error}") from error
    if empty:
        raise ValueError(f"{experiment.config_file} must give a value to {', '.join(empty)}; got none")
    return own


def _may_be_none(parser: ArgumentParser, name: str) -> bool:
    """Whether an option takes ``none``, also where it has another default."""
    hints = [getattr(action, "_typehint", None) for action in parser._actions if action.dest == name]
    return any(type(None) in get_args(hint) for hint in hints)


def _of_whom(recipe: Any, command: str, experiment: ExperimentManager) -> str:
    """Whose experiment it is, and what to do about that."""
    name = Path(experiment.experiment_dir).name
    if recipe is None:
        return f": its config.yaml does not name its recipe; if it is this one, add the line recipe: {command}"
    if recipe in RECIPES:
        return f" but of {recipe!r}: use ignite-recipes {recipe}"
    return f" but was made in Python by {recipe!r}: continue there, with ExperimentManager(resume_exp={name!r})"


def own_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Those that an experiment keeps: not where it is, nor what to do with it."""
    unused = [name for name in _OF_MANY if not settings.get(name)]
    return {name: value for name, value in settings.items() if name not in (*_OF_THE_COMMAND, *unused)}


def data_file(settings: Mapping[str, Any]) -> str | None:
    """The file that is trained on, if there is one; one that is missing is said where it is read."""
    path = settings.get("file")
    return path if path is not None and Path(path).is_file() else None

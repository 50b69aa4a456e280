"""What every recipe's command does around its training: an experiment of its own, or one that is resumed."""

import signal
from argparse import SUPPRESS
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from jsonargparse import ArgumentError, ArgumentParser

from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.experiment import ExperimentManager
from ignite_recipes.handlers import BestCheckpoint, Checkpointing
from ignite_recipes.run_state import newest_checkpoint

__all__ = ["checkpoint_to_resume", "experiment_parser", "run_experiment", "savers"]

_OF_THE_COMMAND = ("runs_dir", "resume")  # where the experiment is; no settings of it
_FREE_ON_RESUME = ("epochs", "device")


def experiment_parser(command: str, description: str) -> ArgumentParser:
    """A parser with the options that every recipe's command has."""
    options = new_parser(
        command,
        f"{description} Every run is an experiment with its settings, checkpoints, curves and model in a folder "
        "of its own.",
    )
    # In every config.yaml, so that one experiment's settings can be the --config of another.
    options.add_argument("--recipe", type=str, default=command, help=SUPPRESS)
    options.add_argument("--runs-dir", type=str, default="runs", help="where experiments are kept")
    options.add_argument("--resume", type=str | None, help="go on with this experiment, e.g. exp5, to its epochs")
    options.add_argument("--device", type=str, default="auto", help="cpu, cuda, mps, ...; auto is the best one")
    options.add_argument("--seed", type=int, default=0, help="of the split, the initial weights and the training")
    options.add_argument("--save-every", type=int | None, help="epochs between two checkpoints that are kept")
    return options


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
        load: makes the data from the settings; a mistake there leaves no experiment behind.
        train: from the experiment, the settings and the data; says in one line what was reached.
    """
    settings = parse_settings(parser, argv)
    is_new = settings["resume"] is None
    if is_new:
        data = load(settings)
        experiment = ExperimentManager(settings["runs_dir"], settings=_own(settings))
    else:
        experiment, settings = _reopen(command, parser, argv, settings)
        data = load(settings)
    try:
        return train(experiment, settings, data)
    except Exception:
        if is_new:
            experiment.discard_unused()
        raise
    except KeyboardInterrupt as interrupt:
        where = "" if settings["runs_dir"] == "runs" else f" --runs-dir {settings['runs_dir']}"
        name = Path(experiment.experiment_dir).name
        told = Stopped(f"stopped; go on with: ignite-recipes {command} --resume {name}{where}")
        told.signum = getattr(interrupt, "signum", signal.SIGINT)
        raise told from None


def checkpoint_to_resume(experiment: ExperimentManager, settings: dict[str, Any]) -> Path | None:
    """The newest sound checkpoint of an experiment that is resumed; None starts at its first epoch."""
    return newest_checkpoint(experiment.checkpoints_dir) if settings["resume"] is not None else None


class _KeepSettings:
    """Write an experiment's settings when its run begins, and not before they have proved to be usable."""

    def __init__(self, experiment: ExperimentManager, settings: dict[str, Any]) -> None:
        self.experiment, self.settings = experiment, settings

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.STARTED, lambda: self.experiment.write_settings(_own(self.settings)))


class Stopped(KeyboardInterrupt):
    """A signal has asked to stop; ``signum`` is which."""

    signum: int = signal.SIGINT


class _StopOnSignal:
    """Leave after the step at hand when SIGINT (Ctrl-C) or SIGTERM comes; a second one leaves at once.

    Python raises KeyboardInterrupt wherever it happens to be, also where it is swallowed, in a destructor for
    instance: the signal would be lost.
    """

    def __init__(self) -> None:
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def attach(self, trainer: Engine) -> None:
        trainer.add_event_handler(Events.STARTED, self._listen)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self._leave)
        trainer.add_event_handler(Events.COMPLETED, self._restore)
        trainer.add_event_handler(Events.EXCEPTION_RAISED, self._restore)

    def _listen(self) -> None:
        self._before = {signum: signal.signal(signum, self._note) for signum in (signal.SIGINT, signal.SIGTERM)}

    def _note(self, signum: int, frame: Any) -> None:
        self._received = signum
        self._restore()

    def _leave(self) -> None:
        if self._received is not None:
            stopped = Stopped()
            stopped.signum = self._received
            raise stopped

    def _restore(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}


def savers(experiment: ExperimentManager, settings: dict[str, Any], best: BestCheckpoint) -> list[Any]:
    """The handlers that write an experiment's settings and checkpoints, and stop it when a signal comes."""
    folder, every = experiment.checkpoints_dir, settings["save_every"]
    kept = [] if every is None else [Checkpointing(folder, "epoch_{epoch}.pt", every=every)]
    return [
        _KeepSettings(experiment, settings),
        _StopOnSignal(),
        best,
        *kept,
        Checkpointing(folder, "latest_checkpoint.pt"),
    ]


def _own(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _OF_THE_COMMAND}


def _reopen(
    command: str, parser: ArgumentParser, argv: Sequence[str], given: dict[str, Any]
) -> tuple[ExperimentManager, dict[str, Any]]:
    """An experiment and its own settings; only its end and its device may be changed."""
    experiment = ExperimentManager(given["runs_dir"], resume_exp=given["resume"])
    own = experiment.settings()
    if own.get("recipe") != command:
        raise ValueError(f"{experiment.experiment_dir} is not an experiment of the command {command}")
    empty = [
        name
        for name, value in parser.get_defaults().as_dict().items()
        if value is not None and own.get(name, "") is None
    ]
    try:
        parser.parse_object(own)
    except ArgumentError as error:
        raise ValueError(f"{experiment.config_file} does not hold the settings of this command: {error}") from error
    if empty:
        raise ValueError(f"{experiment.config_file} must give a value to {', '.join(empty)}; got none")
    settings = parse_settings(parser, argv, own)
    changed = [name for name, value in own.items() if settings[name] != value and name not in _FREE_ON_RESUME]
    if changed:
        raise ValueError(
            f"--resume goes on with the experiment's own settings; {', '.join(changed)} cannot be changed. "
            "Start a new experiment for that"
        )
    return experiment, settings

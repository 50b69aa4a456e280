"""The command ``ignite-recipes``: one subcommand per recipe, each a thin caller of its function."""

import logging
import signal
import sys
import threading
from collections.abc import Sequence
from difflib import get_close_matches
from typing import TextIO

from jsonargparse import ArgumentError, ArgumentParser

from ignite_recipes._version import __version__
from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.cli import (
    classify,
    compare,
    completion,
    evaluate,
    export,
    find_lr,
    listing,
    predict,
    report,
    resume_check,
    show,
    supervised,
    traffic,
    vae,
)
from ignite_recipes.cli.result import as_json
from ignite_recipes.cli.resume_check import NotExactError
from ignite_recipes.cli.streams import PrintOptions, print_options, printing
from ignite_recipes.exchange.ranks import LostRankError, lost_rank, rank
from ignite_recipes.experiments.manager import ExperimentBusyError
from ignite_recipes.handlers import NonFiniteError, Stopped
from ignite_recipes.optional import MissingPackageError

__all__ = ["main"]

_DESCRIPTION = "Train a model with one of the recipes; every run is kept as an experiment and can be resumed."
_COMMANDS = {
    "vae": vae,
    "classify": classify,
    "supervised": supervised,
    "traffic": traffic,
    "predict": predict,
    "evaluate": evaluate,
    "report": report,
    "export": export,
    "list": listing,
    "show": show,
    "compare": compare,
    "find-lr": find_lr,
    "resume-check": resume_check,
    "completion": completion,
}
"""Each a module with HELP, ``parser()`` and ``main(argv)``, which gives a Result."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; 0, or 1 for a run that failed, 2 for a mistake of the user, 130 or 143 for a signal."""
    options, words = print_options(list(sys.argv[1:] if argv is None else argv))
    with printing(options) as out:
        to_stderr = logging.StreamHandler()
        to_stderr.setLevel(logging.WARNING)
        to_stderr.addFilter(lambda record: rank() == 0)  # the others would say the same once more
        logging.basicConfig(format="%(message)s", handlers=[to_stderr])
        logging.getLogger("ignite_recipes").setLevel(logging.INFO)  # for an experiment's run.log
        return _run(words, options, out)


def _run(argv: list[str], options: PrintOptions, out: TextIO) -> int:
    before = signal.getsignal(signal.SIGTERM)
    try:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, _stop)  # as Ctrl-C does, also before the training listens
        if not argv or argv[0] not in _COMMANDS:
            return _answer(argv)
        result = _COMMANDS[argv[0]].main(argv[1:])
        if rank() == 0:
            print(as_json(result.facts) if options.json else result, file=out)  # the last line
    except NotExactError as error:
        if options.json:
            print(as_json(error.facts), file=out)
        return _complain(error, 1)
    except (NonFiniteError, LostRankError) as error:
        return _complain(error, 1)
    except (ArgumentError, CheckpointError, ExperimentBusyError, MissingPackageError, OSError, ValueError) as error:
        return _complain(error, 2)
    except KeyboardInterrupt as interrupt:
        return _complain(interrupt, 128 + getattr(interrupt, "signum", signal.SIGINT))
    finally:
        if signal.getsignal(signal.SIGTERM) in (_stop, _pass):
            signal.signal(signal.SIGTERM, before)
    return 0


def _stop(signum: int, frame: object) -> None:
    error = sys.exc_info()[1]
    while error is not None:  # what is on its way to main; to be asked to end follows from it, and says less
        if isinstance(error, LostRankError) or lost_rank(error) is not None:
            return
        error = error.__context__
    raise Stopped("stopped", signum)


def _pass(signum: int, frame: object) -> None:
    """It ends anyway, and is about to say why: torchrun asks all to end as soon as one has."""


def _answer(argv: list[str]) -> int:
    """Help and version, and a mistake in the command's name."""
    parser = ArgumentParser(prog="ignite-recipes", description=_DESCRIPTION, exit_on_error=False)
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subcommands(metavar="COMMAND")
    for name, command in _COMMANDS.items():
        commands.add_subcommand(name, command.parser(), help=command.HELP)
    if argv and not argv[0].startswith("-"):
        near = get_close_matches(argv[0].replace("_", "-"), _COMMANDS, n=1)
        hint = f": did you mean {near[0]}?" if near else ""
        raise ValueError(f"the command must be one of {', '.join(_COMMANDS)}; got {argv[0]!r}{hint}")
    parser.parse_args(argv or ["--help"])  # prints and leaves
    return 0


def _complain(error: BaseException, code: int) -> int:
    if signal.getsignal(signal.SIGTERM) is _stop:
        signal.signal(signal.SIGTERM, _pass)
    message = str(error) or ("stopped" if isinstance(error, KeyboardInterrupt) else type(error).__name__)
    if isinstance(error, OSError) and error.strerror:
        message = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    if rank():
        if isinstance(error, KeyboardInterrupt):
            return code  # rank 0 says so for all
        if not isinstance(error, LostRankError):  # which says itself on which rank
            message = f"rank {rank()}: {message}"
    print(f"ignite-recipes: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201
    return code

"""``ignite-recipes resume-check RECIPE``: does a run of this recipe resume exactly, on this machine?"""

import contextlib
import io
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.checkpoint.file import read_checkpoint
from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.checkpoint.resume_check import ResumeReport, choose_cuts, first_difference
from ignite_recipes.checkpoint.run import how_far
from ignite_recipes.cli.of_recipes import COMMANDS, check_begins_anew, recipe_and_options
from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.log_file import CLOCK_COLUMNS, read_training_log
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import Stopped

__all__ = ["HELP", "NotExactError", "main", "parser"]

HELP = "check that a recipe's run resumes exactly on this machine: resume-check RECIPE [its options]"

_EPOCHS = ["--epochs", "2"]  # unless the options say otherwise


class NotExactError(Exception):
    """A resumed run has ended otherwise than the uninterrupted one; ``facts`` say which, for scripts."""

    def __init__(self, message: str, facts: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.facts = facts


def parser() -> ArgumentParser:
    """The command's options, for the list of commands; a recipe's own parser reads its options."""
    return new_parser(
        "resume-check",
        f"{HELP}. RECIPE is one of {', '.join(COMMANDS)}. A small training (by default 2 epochs) is run twice as a "
        "whole, and then stopped at several points by a signal and resumed. Weights, optimizer, history, log and "
        "every handler's state must be equal to the last bit. Nothing is stored.",
    )


def main(argv: Sequence[str]) -> Result:
    """Run the check and print what each run came to; the verdict as one line.

    Raises:
        NotExactError: if a run ended with other bits.
        ValueError: for a mistake in the recipe's name or options.
    """
    name, words = recipe_and_options(parser(), argv)
    options = [*_EPOCHS, *words]
    settings = parse_settings(COMMANDS[name].parser(), options)
    check_begins_anew(settings, "resume-check makes its own experiments, in a temporary folder")
    with tempfile.TemporaryDirectory() as folder:
        report = _check(name, [*options, "--runs-dir", folder], Path(folder), settings["epochs"])
    facts = {
        "recipe": name,
        "is_exact": report.is_exact,
        "difference_of_a_repeated_run": report.repeated,
        "cuts": [
            {"epoch": epoch, "batch": batch, "difference": difference}
            for (epoch, batch), difference in report.differences.items()
        ],
    }
    print(report)  # noqa: T201  # what was asked for
    if not report.is_exact:
        raise NotExactError(f"{name} does not resume exactly on this machine, with these options", facts)
    cuts = len(report.differences)
    return Result(f"{name} resumes exactly on this machine: {cuts} cuts, all equal to the uninterrupted run", facts)


def _check(name: str, options: list[str], folder: Path, epochs: int) -> ResumeReport:
    _run(name, options)
    # What "auto" has found, which may differ from one run to the next.
    precision = ExperimentManager(str(folder), resume_exp="exp1").settings().get("precision")
    options = options if precision is None else [*options, f"--precision={precision}"]
    _run(name, options)
    expected = read_checkpoint(folder / "exp1" / "checkpoints" / LATEST)
    repeated = _difference(folder / "exp1", folder / "exp2")
    _, _, length = how_far(expected, folder)
    differences = {}
    for number, (epoch, batch) in enumerate(choose_cuts(length, epochs), start=3):
        _run(name, [*options, "--stop-at-iteration", str((epoch - 1) * length + batch)])
        _run(name, ["--resume", f"exp{number}", "--runs-dir", str(folder)])
        differences[epoch, batch] = _difference(folder / "exp1", folder / f"exp{number}")
    return ResumeReport(differences, repeated)


def _run(name: str, options: list[str]) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(Stopped):
        COMMANDS[name].main(options)


def _difference(whole: Path, other: Path) -> str | None:
    first, second = (read_checkpoint(path / "checkpoints" / LATEST) for path in (whole, other))
    return first_difference(first, second) or first_difference(_log(whole), _log(other), "training_log.csv")


def _log(folder: Path) -> dict[str, Any]:
    log = read_training_log(folder / "training_log.csv")
    return {name: values for name, values in log.items() if name not in CLOCK_COLUMNS}

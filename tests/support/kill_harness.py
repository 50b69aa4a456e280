"""Kill the recipes' commands at any moment, resume them, and compare them with runs that were left alone.

``python tests/support/kill_harness.py --kills 200`` prints a table and exits with 1 if a run ended otherwise.

Every attempt is a forked process that runs ``ignite_recipes.cli.main`` and dies of SIGKILL: at a random time, or
inside a write that is chosen by its number and stage. Start with nothing in the parent but imports: a fork takes
milliseconds, the imports seconds.
"""

import os

if __name__ == "__main__":  # a process with more than one thread must not fork
    os.environ |= dict.fromkeys(["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"], "1")

import argparse
import contextlib
import functools
import itertools
import math
import random
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import torch

from ignite_recipes import files, read_training_log
from ignite_recipes.checkpoint import CheckpointError, read_checkpoint
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.cli import main as run_command
from ignite_recipes.handlers import TrainingLog
from ignite_recipes.handlers.tensorboard import _records
from ignite_recipes.handlers.training_log import CLOCK_COLUMNS

IMPORTED_LATE = (
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
    "pandas",
    "polars",
    "sklearn.compose",
    "sklearn.datasets",
    "sklearn.impute",
    "sklearn.metrics",
    "sklearn.model_selection",
    "sklearn.pipeline",
    "sklearn.preprocessing",
    "statsmodels.datasets.co2",
    "tensorboardX.event_file_writer",
    "tensorboardX.summary",
    "torch._dynamo",
    "torch._export.serde.serialize",
    "torch._functorch.aot_autograd",
    "torch._inductor.codecache",
    "torch.export._trace",
    "torch.export.pt2_archive",
    "yaml",
)
"""What the commands import when they need it; here it is imported once, before the first fork."""

SMALL = ["--device", "cpu", "--batch-size", "256", "--seed", "3"]
RECIPES: dict[str, list[str]] = {
    "vae": ["--epochs", "3", "--hidden-dimension", "16", "--latent-dimension", "3", "--accumulation-steps", "2"],
    "classify": ["--epochs", "3", "--save-every", "1", "--reapply-transforms"],
    "supervised": ["--epochs", "4", "--save-every", "2", "--use-augmentation", "true", "--hidden-dimension", "16"],
    "traffic": ["--epochs", "3", "--hidden-size", "8"],
    "table": ["TABLE", "--target", "kind", "--group", "place", "--epochs", "4", "--hidden-dimension", "16"],
}
COMMANDS = {"table": "supervised"}
"""Of the recipes that are no command by their own name."""

TABLE = "table.csv"  # beside the experiments' folders
WITHOUT_WORKERS = ("traffic",)
LIMIT_SECONDS = 120.0  # an attempt that is left alone and takes longer hangs


class Case(NamedTuple):
    """A command and what it is run with."""

    recipe: str
    workers: int
    every_iterations: int | None
    compile: str | None = None

    def arguments(self, folder: Path) -> list[str]:
        """Of a new experiment, which is exp1 of ``folder``."""
        workers = [] if self.recipe in WITHOUT_WORKERS else ["--num-workers", str(self.workers)]
        inside = [] if self.every_iterations is None else ["--save-every-iterations", str(self.every_iterations)]
        recipe = [str(folder.parent / TABLE) if word == "TABLE" else word for word in RECIPES[self.recipe]]
        compiled = [] if self.compile is None else ["--compile", self.compile]
        return [self.command, *SMALL, *recipe, *workers, *inside, *compiled, "--runs-dir", str(folder)]

    @property
    def command(self) -> str:
        """What runs it."""
        return COMMANDS.get(self.recipe, self.recipe)


ALL_CASES = [
    Case(recipe, workers, every)
    for recipe in RECIPES
    for workers, every in itertools.product((0,) if recipe in WITHOUT_WORKERS else (0, 2), (None, 1, 2))
]
FEW_CASES = [
    Case("vae", 2, None),
    Case("classify", 0, 2),
    Case("supervised", 0, 1),
    Case("traffic", 0, None),
    Case("table", 0, 2),
]


# Dying inside a write.

STAGES = ("before", "in the middle", "flushed", "renamed", "in the middle of a log's row")


class Moment(NamedTuple):
    """When to die: at a stage of the process's n-th write, of which so many bytes are on the disk."""

    stage: str
    number: int
    size: int

    def arrange(self) -> None:
        """Make this process die there."""
        if self.stage == "in the middle of a log's row":
            self._arrange_in_log()
            return
        opened = itertools.count(1)
        is_now = False
        open_aside, replace, fsync = files._open_aside, os.replace, os.fsync

        def open_and_count(path: Path) -> Any:
            nonlocal is_now
            is_now = next(opened) == self.number
            if is_now and self.stage == "before":
                die()
            file = open_aside(path)
            return _DeadlyFile(file, self.size) if is_now and self.stage == "in the middle" else file

        def fsync_or_die(handle: int) -> None:
            if is_now and self.stage == "in the middle":  # shorter than it was to be
                die()
            fsync(handle)

        def replace_or_die(source: Any, target: Any) -> None:
            if is_now and self.stage == "flushed":
                die()
            replace(source, target)
            if is_now and self.stage == "renamed":
                die()

        files._open_aside, os.replace, os.fsync = open_and_count, replace_or_die, fsync_or_die

    def _arrange_in_log(self) -> None:
        rows, append = itertools.count(1), TrainingLog._append

        def append_or_die(log: TrainingLog, text: str) -> None:
            if next(rows) < self.number:
                append(log, text)
                return
            append(log, text[: self.size % len(text)])
            die()

        TrainingLog._append = append_or_die  # type: ignore[method-assign]


class _DeadlyFile:
    """A file in which only so many bytes can be written."""

    def __init__(self, file: IO[bytes], size: int) -> None:
        self.file, self.left = file, size

    def __enter__(self) -> "_DeadlyFile":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, data: Any) -> int:
        data = bytes(data)
        self.file.write(data[: self.left])
        self.left -= len(data)
        if self.left <= 0:
            self.file.flush()
            die()
        return len(data)


def die() -> None:
    """As if the power were gone, except for the workers, which find that out by themselves."""
    os.kill(os.getpid(), signal.SIGKILL)


# One attempt.


def write_table(path: Path) -> None:
    """A table with gaps, categories and groups; by hand, since polars has threads, which a fork would lose."""
    draw = random.Random(7)
    rows = []
    for k in range(600):
        size, city = draw.gauss(0, 1), draw.choice(["Oslo", "Rome", "Kyiv"])
        kind = "large" if size + (city == "Rome") > 0.3 else "small"
        rows.append(f"{'' if k % 9 == 0 else size},{draw.random()},{city},{k % 50},{kind}")
    path.write_text("\n".join(["size,noise,city,place,kind", *rows]) + "\n")


class CrashError(Exception):
    """An attempt ended neither well nor by our hand."""


def attempt(
    arguments: Sequence[str],
    output: Path,
    *,
    moment: Moment | None = None,
    seconds: float | None = None,
    with_workers: bool = True,
) -> bool:
    """Run the command in a process of its own; whether it came to its end.

    Args:
        arguments: of ``ignite-recipes``.
        output: the file that gets what it prints.
        moment: to die at.
        seconds: after which it is killed.
        with_workers: whether its workers are killed then too.
    """
    if threading.active_count() > 1:
        raise RuntimeError("a process with threads must not fork")
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os._exit(_run_in_child(arguments, output, moment))
    killed = False
    deadline = time.monotonic() + (LIMIT_SECONDS if seconds is None else seconds)
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if not killed and time.monotonic() > deadline:
            if with_workers:
                _kill_group(child)
            os.kill(child, signal.SIGKILL)
            killed = True
        time.sleep(0.002)
    code = os.waitstatus_to_exitcode(ended[1])
    if code == 0:
        return True
    if code != -signal.SIGKILL or (killed and seconds is None) or (not killed and moment is None):
        said = output.read_text(errors="replace")[-4000:] if output.exists() else ""
        ended_by = f"did not end in {LIMIT_SECONDS:.0f} seconds" if killed else f"ended with code {code}"
        raise CrashError(f"ignite-recipes {' '.join(arguments)} {ended_by}:\n{said}")
    return False


def _run_in_child(arguments: Sequence[str], output: Path, moment: Moment | None) -> int:
    os.setsid()  # a group of its own, with its workers
    handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    try:
        # Nothing may depend on what a process happens to draw; forks of one parent would all draw the same.
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(os.getpid())
        if moment is not None:
            moment.arrange()
        code = run_command(arguments)
    except BaseException:
        traceback.print_exc()
        code = 99
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _kill_group(child: int) -> None:
    with contextlib.suppress(ProcessLookupError):  # it has not yet become a group's leader
        os.killpg(child, signal.SIGKILL)


# Whole runs.


@dataclass
class Whole:
    """A run that was left alone, and what the others are drawn from."""

    folder: Path
    seconds: float
    writes: int
    rows: int
    size: int


@dataclass
class Row:
    """What became of a case."""

    case: Case
    at_random: int = 0
    inside_writes: int = 0
    too_early: int = 0
    runs: int = 0
    equal: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def kills(self) -> int:
        """Of experiments that existed."""
        return self.at_random + self.inside_writes


def run_whole(case: Case, folder: Path) -> Whole:
    """Run a case that nobody disturbs."""
    folder.mkdir()
    began = time.monotonic()
    attempt(case.arguments(folder), folder / "output.txt")
    seconds = time.monotonic() - began
    latest = folder / "exp1" / "checkpoints" / "latest_checkpoint.pt"
    contents = read_checkpoint(latest)
    epochs, iterations = contents["epoch"], contents["run"]["progress"]["iteration"]
    inside = 0 if case.every_iterations is None else iterations // case.every_iterations
    return Whole(folder / "exp1", seconds, 2 + 2 * epochs + inside, epochs, latest.stat().st_size)


def run_killed(case: Case, whole: Whole, folder: Path, kills: int, row: Row, draw: random.Random) -> None:
    """Run a case, killing it up to so many times, and compare it with the whole run."""
    folder.mkdir()
    experiment, output = folder / "exp1", folder / "output.txt"
    resume = [case.command, "--resume", "exp1", "--runs-dir", str(folder)]
    row.runs += 1
    killed = 0
    while True:
        exists = experiment.exists()
        arguments = resume if exists else case.arguments(folder)
        if killed >= kills:
            attempt(arguments, output)
            break
        moment, seconds = None, None
        if (row.kills + row.too_early) % 2 == 0:
            moment = _draw_moment(whole, exists, draw)
        else:
            seconds = draw.uniform(0.05, 1.0) * whole.seconds
        if attempt(arguments, output, moment=moment, seconds=seconds, with_workers=draw.random() < 0.5):
            break
        if not experiment.exists():
            row.too_early += 1
            continue
        killed += 1
        if moment is None:
            row.at_random += 1
        else:
            row.inside_writes += 1
        if problem := _unsound(experiment):
            row.problems.append(f"{case}, killed at {moment or seconds}: {problem}")
            return
    found = difference(whole.folder, experiment)
    if found is None:
        row.equal += 1
        shutil.rmtree(folder)
    else:
        row.problems.append(f"{case}: {found} (see {folder})")


def _draw_moment(whole: Whole, exists: bool, draw: random.Random) -> Moment:
    stage = draw.choice(STAGES)
    if stage == STAGES[-1]:
        return Moment(stage, draw.randint(1, math.ceil(whole.rows / 2)), draw.randrange(1000))
    first = 1 if exists or draw.random() < 0.1 else 2  # the first of a new experiment is before its folder
    return Moment(stage, draw.randint(first, max(first, whole.writes // 2)), draw.randint(1, whole.size))


def _unsound(experiment: Path) -> str | None:
    """The first file under a checkpoint's name that is none."""
    for path in sorted((experiment / "checkpoints").glob("*.pt")):
        try:
            read_checkpoint(path)
        except CheckpointError as error:
            return str(error)
    return None


def difference(whole: Path, other: Path) -> str | None:
    """What two experiments' results differ in first; None if they are equal to the last bit."""
    for compare in (_in_checkpoints, _in_logs, _in_events, _in_names):
        found = compare(whole, other)
        if found is not None:
            return found
    return None


def _in_checkpoints(whole: Path, other: Path) -> str | None:
    first, second = (read_checkpoint(path / "checkpoints" / "latest_checkpoint.pt") for path in (whole, other))
    if found := first_difference(first, second):
        return found
    for path in sorted((other / "checkpoints").glob("*.pt")):
        first, second = read_checkpoint(whole / "checkpoints" / path.name), read_checkpoint(path)
        for part in ("epoch", "model_state_dict"):
            if found := first_difference(first[part], second[part], f"{path.name}[{part!r}]"):
                return found
    return None


def _in_logs(whole: Path, other: Path) -> str | None:
    first, second = (read_training_log(path / "training_log.csv") for path in (whole, other))
    for log in (first, second):
        for name in CLOCK_COLUMNS:
            log.pop(name, None)
    return first_difference(first, second, "training_log.csv")


def _in_events(whole: Path, other: Path) -> str | None:
    return first_difference(scalars(whole), scalars(other), "TensorBoard events")


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """(tag, step, value) of all TensorBoard events in a folder, in order."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in folder.glob("events.*"):
        for step, record in _records(path.read_bytes()):
            values = Event.FromString(record[12:-4]).summary.value
            found += [(value.tag, step, value.simple_value) for value in values]
    return sorted(found)


def _in_names(whole: Path, other: Path) -> str | None:
    first, second = (sorted(_names(path)) for path in (whole, other))
    return None if first == second else f"the folders hold {first} and {second}"


def _names(folder: Path) -> Iterable[str]:
    """Of the results: no hidden files, no logs of what happened, and not the events' names, which hold the time.

    The first epoch has no older checkpoint: when it is killed between its best model and its own file,
    the run continues from the best model, and that file is never written.
    """
    for path in folder.rglob("*"):
        if not path.name.startswith((".", "events.", "run.log")) and path.name != "epoch_1.pt":
            yield str(path.relative_to(folder))


# The table.


def kill(cases: Sequence[Case], kills: int, seed: int, folder: Path, say: Callable[[str], Any]) -> list[Row]:
    """Kill every case equally often, ``kills`` times together; what became of them."""
    torch.set_num_threads(1)
    for name in IMPORTED_LATE:
        import_module(name)
    draw, rows = random.Random(seed), []
    write_table(folder / TABLE)
    say(_line("recipe", "workers", "save inside", "at random", "in writes", "too early", "runs", "equal"))
    for case in cases:
        row = Row(case)
        rows.append(row)
        name = f"{case.recipe}-{case.workers}-{case.every_iterations}"
        try:
            whole = run_whole(case, folder / f"{name}-whole")
            while row.kills < math.ceil(kills / len(cases)) and not row.problems:
                left = math.ceil(kills / len(cases)) - row.kills
                most = min(left, draw.randint(2, 5))
                run_killed(case, whole, folder / f"{name}-{row.runs + 1}", most, row, draw)
        except CrashError as crash:
            row.problems.append(str(crash))
        every = case.every_iterations
        inside = "no" if every is None else f"every {every}"
        counts = (row.at_random, row.inside_writes, row.too_early, row.runs, row.equal)
        say(_line(case.recipe, case.workers, inside, *counts))
    return rows


def _line(*cells: object) -> str:
    return "".join(f"{cell!s:<13}" for cell in cells).rstrip()


def main() -> int:
    """Kill, resume and compare as the command line says; 1 if anything differs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200, help="of all cases together, at least")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--few", action="store_true", help="one case for each recipe instead of all")
    parser.add_argument("--recipe", choices=[*RECIPES], help="only this one")
    parser.add_argument("--compile", help="as of the commands, e.g. step")
    given = parser.parse_args()
    cases = [case for case in (FEW_CASES if given.few else ALL_CASES) if given.recipe in (None, case.recipe)]
    cases = [case._replace(compile=given.compile) for case in cases]
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    say = functools.partial(print, flush=True)
    rows = kill(cases, given.kills, given.seed, folder, say)
    problems = [problem for row in rows for problem in row.problems]
    say(f"{sum(row.kills for row in rows)} kills, {len(problems)} problems")
    for problem in problems:
        say(problem)
    if not problems:
        shutil.rmtree(folder)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())

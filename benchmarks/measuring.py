"""Programs timed against one another: in turns, in processes of their own, several rounds, medians of ratios.

A shared machine's speed drifts, so an absolute time means little. Here every program has a process of its own, which
stays alive and warm; they run one after the other, beginning with another one in each round, and what is reported is
the median, over the rounds, of a program's time divided by that of the baseline in the same round.
"""

import gc
import multiprocessing
import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

__all__ = ["Figures", "Program", "in_turns", "machine", "one_thread", "ratio", "spread", "table"]

Program = Callable[[], Callable[[], Any]]
"""Makes what is needed, untimed, and returns the work: a function that is timed each time it is called, unless it
returns the seconds that count itself, as a float. A function of a module's top level, or a :func:`functools.partial` of
one, so that another process can be told to call it."""


@dataclass(frozen=True)
class Figures:
    """What one program took.

    Attributes:
        seconds: of each round, by the wall's clock.
        peak: MiB of memory that the process held at most, as the operating system counts it.
        grown: MiB of it that came after everything was imported and made.
    """

    seconds: list[float]
    peak: float
    grown: float


def in_turns(programs: Mapping[str, Program], rounds: int, warm_up: int = 1) -> dict[str, Figures]:
    """Run ``programs`` in turns, each in a process of its own.

    Args:
        programs: name -> what to run.
        rounds: that count.
        warm_up: rounds before those, that don't.

    Returns:
        name -> figures, without the programs that need something that is not installed.

    Raises:
        RuntimeError: if a program fails; its traceback is on standard error.
    """
    context = multiprocessing.get_context("spawn")
    pipes, workers = {}, []
    try:
        for name, program in programs.items():
            pipes[name], theirs = context.Pipe()
            workers.append(context.Process(target=_work, args=(program, theirs), daemon=True))
            workers[-1].start()
            theirs.close()
        for name in list(pipes):  # all import and make what they need at the same time, before anything is timed
            missing = _ask(name, pipes[name], None)
            if missing is not None:
                print(f"left out: {name}, for {missing}", file=sys.stderr)
                del pipes[name]
        names = list(pipes)
        seconds: dict[str, list[float]] = {name: [] for name in names}
        for number in range(-warm_up, rounds):
            first = number % len(names)
            for name in names[first:] + names[:first]:
                took = _ask(name, pipes[name], "run")
                if number >= 0:
                    seconds[name].append(took)
        memory = {name: _ask(name, pipes[name], "memory") for name in names}
    finally:
        for pipe in pipes.values():
            pipe.close()  # ends the process that listens at the other end
        for worker in workers:
            worker.join(10)
            worker.kill()
    return {name: Figures(seconds[name], *memory[name]) for name in names}


def _ask(name: str, pipe: Connection, request: str | None) -> Any:
    try:
        if request is not None:
            pipe.send(request)
        return pipe.recv()
    except (EOFError, BrokenPipeError) as error:
        raise RuntimeError(f"the program {name!r} failed; see its error above") from error


def _work(program: Program, pipe: Connection) -> None:
    try:
        work = program()
    except ImportError as error:  # another framework, which need not be here
        pipe.send(str(error))
        return
    before = _peak()
    pipe.send(None)
    while True:
        try:
            request = pipe.recv()
        except EOFError:
            return
        if request == "memory":
            pipe.send((_peak(), _peak() - before))
            continue
        gc.collect()
        began = time.perf_counter()
        timed = work()
        pipe.send(timed if isinstance(timed, float) else time.perf_counter() - began)


def _peak() -> float:
    status = Path("/proc/self/status")
    if status.exists():  # what getrusage says of a process begins with what its parent had
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 2**10
    unit = 2**20 if platform.system() == "Darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def ratio(figures: Figures, baseline: Figures) -> tuple[float, float, float]:
    """The median, the smallest and the largest, over the rounds, of the time divided by the baseline's."""
    ratios = [ours / theirs for ours, theirs in zip(figures.seconds, baseline.seconds, strict=True)]
    return statistics.median(ratios), min(ratios), max(ratios)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread in the block: two are slower at the sizes of small models."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def spread(values: Sequence[float], digits: int) -> str:
    """Mean and standard deviation with so many decimals; of one value the deviation is NaN."""
    deviation = statistics.stdev(values) if len(values) > 1 else float("nan")
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown: the first column to the left, the others to the right."""
    lines = [" | ".join(header), " | ".join(["---", *["---:"] * (len(header) - 1)])]
    lines += [" | ".join(str(cell) for cell in row) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def machine() -> str:
    """What the figures were measured on, in a line."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no accelerator"
    return (
        f"{time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, {device}, Python {platform.python_version()}, "
        f"torch {torch.__version__}"
    )

"""Two processes beside one: how much faster, and what part of a step they spend on each other.

Each has one thread. The part is found by running the same two processes once more without any exchange: each then
trains a model of its own on its part of every batch.
"""

import importlib
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import table

__all__ = ["scaling"]

ROUNDS_IN_A_PROCESS = 3


def scaling(rounds: int) -> str:
    """A table for the perceptron and the VAE: the same batch in one process, and shared by two."""
    rows = []
    for name in ("mlp 32", "vae 128", "vae 512", "vae 2048"):
        took: dict[str, list[float]] = {"one": [], "two": [], "apart": []}
        for _ in range(max(1, rounds // ROUNDS_IN_A_PROCESS)):
            took["one"] += _launch(name, 1, exchange=True)
            took["two"] += _launch(name, 2, exchange=True)
            took["apart"] += _launch(name, 2, exchange=False)
        faster = statistics.median(one / two for one, two in zip(took["one"], took["two"], strict=True))
        share = statistics.median(1 - apart / two for apart, two in zip(took["apart"], took["two"], strict=True))
        milliseconds = [1000 * statistics.median(took[key]) / _steps(name) for key in ("one", "two", "apart")]
        rows.append([name, *(f"{value:.2f}" for value in milliseconds), f"{faster:.2f}", f"{100 * share:.0f}%"])
    header = ["workload and batch", "ms a step: one process", "two", "two, each alone", "speed of two", "exchange"]
    return table(header, rows)


def _launch(name: str, processes: int, exchange: bool) -> list[float]:
    """Seconds of each round in the first process."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"]
    command += ["-m", "benchmarks.scaling", *name.split(), str(int(exchange))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr}")
    seconds: list[float] = json.loads(done.stdout.splitlines()[-1])
    return seconds


def _workload(name: str, batch: int) -> Any:
    module: Any = importlib.import_module(f"benchmarks.{name}")
    module.BATCH = batch
    return module


def _steps(name: str) -> int:
    module = _workload(name.split()[0], int(name.split()[1]))
    return int(module.EPOCHS * -(-module.ROWS // module.BATCH))


def _work(name: str, batch: int, exchange: bool) -> None:
    import torch

    from ignite_recipes.exchange.alone import Alone
    from ignite_recipes.exchange.data_parallel import DataParallel
    from ignite_recipes.exchange.ranks import join_ranks, rank

    torch.set_num_threads(1)
    join_ranks(torch.device("cpu"))
    work = _workload(name, batch).recipe()
    if not exchange:  # neither losses nor gradients
        begin, end, batch = Alone.begin_average, Alone.end_average, DataParallel.batch
        DataParallel.begin_average, DataParallel.end_average = begin, end  # type: ignore[assignment,method-assign]
        DataParallel.batch = lambda self, is_last: batch(self, is_last=False)  # type: ignore[method-assign]
    seconds = []
    for number in range(ROUNDS_IN_A_PROCESS + 1):
        began = time.perf_counter()
        work()
        if number:
            seconds.append(time.perf_counter() - began)
    if rank() == 0:
        sys.stdout.write(f"\n{json.dumps(seconds)}\n")


if __name__ == "__main__":
    _work(sys.argv[1], int(sys.argv[2]), exchange=bool(int(sys.argv[3])))

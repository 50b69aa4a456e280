"""Many runs at once: what the steps of all as one program bring, in runs trained in the time of a plain loop.

Each run is a whole recipe, with validation, clipping, averages and what else its benchmark has. Epochs after the second
one count, in which nothing is made any more. The runs are alike; they would take the same time with other seeds.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.compiled import later_epochs
from benchmarks.measuring import Program, in_turns, table
from benchmarks.step import SMALL, WIDE, _module, loop, recipe

__all__ = ["many"]

LONG = {"ROWS": 12800}  # 400 steps an epoch: what an epoch ends with counts as little as in the loop without it
RUNS: dict[str, tuple[str, dict[str, int], int]] = {
    "32 tiny perceptrons": ("mlp", LONG, 32),
    "16 traffic predictors": ("traffic", {}, 16),
    "16 VAEs, width 32, batch 32": ("vae", {**SMALL, **LONG}, 16),
    "8 VAEs, width 512, batch 128": ("vae", WIDE, 8),
}


def together(module: str, sizes: dict[str, int], runs: int) -> Callable[[], float]:
    """Seconds of the epochs of so many runs at once."""
    from ignite_recipes.together import run_together

    workload = _module(module)
    vars(workload).update(sizes)

    def train(epochs: int, handlers: list[Any]) -> None:
        workload.EPOCHS = epochs
        calls = [workload.recipe(handlers=handlers if k == runs - 1 else []) for k in range(runs)]
        for run in run_together(calls):
            if run.error is not None:
                raise run.error

    return partial(later_epochs, train, workload.EPOCHS)


def programs(name: str) -> dict[str, Program]:
    """What is measured of one workload."""
    module, sizes, runs = RUNS[name]
    found: dict[str, Program] = {f"{kind} loop": partial(loop, module, sizes, kind) for kind in ("plain", "tuned")}
    found["recipe"] = partial(recipe, module, sizes)
    found['recipe, `compile="step"`'] = partial(recipe, module, sizes, compile="step")
    found["together"] = partial(together, module, sizes, runs)
    return found


def many(rounds: int) -> str:
    """How many runs are trained in the time in which the plain loop trains one."""
    rows = []
    for name, (*_, runs) in RUNS.items():
        figures = in_turns(programs(name), rounds)
        plain = figures["plain loop"].seconds
        for program, took in figures.items():
            count = runs if program == "together" else 1
            gains = sorted(count * before / after for before, after in zip(plain, took.seconds, strict=True))
            middle = gains[len(gains) // 2]
            rows.append([f"{name}: {program}", f"{middle:.1f}", f"{gains[0]:.1f} to {gains[-1]:.1f}"])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)  # shown at once
    return table(["program", "runs in the time of the plain loop's one", "rounds"], rows)

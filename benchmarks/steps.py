"""Whole recipes against loops by hand and against other frameworks.

With ``compile="step"`` the epochs count in which nothing is compiled any more; what making the program takes, and when
it pays, is in :mod:`benchmarks.step`.
"""

from functools import partial
from types import ModuleType

from benchmarks import mlp, step, traffic, vae
from benchmarks.measuring import Program, in_turns, ratio, table

__all__ = ["steps"]


def steps(workload: ModuleType, rounds: int) -> str:
    """The table of one workload: time of a run as a multiple of the plain and of the tuned loop's."""
    figures = in_turns(programs(workload), rounds)
    plain, tuned = figures["plain loop"], figures["tuned loop"]
    rows = []
    for name, took in figures.items():
        median, least, most = ratio(took, plain)
        rows.append([name, f"{median:.2f}", f"{least:.2f} to {most:.2f}", f"{ratio(took, tuned)[0]:.2f}"])
    return table(["program", "of the plain loop", "least to most", "of the tuned loop"], rows)


def programs(workload: ModuleType) -> dict[str, Program]:
    """Those of a workload, with its recipe as one program after the recipe."""
    found: dict[str, Program] = {}
    for name, program in workload.PROGRAMS.items():
        found[name] = program
        if program is workload.recipe:
            module = workload.__name__.rpartition(".")[2]
            found['**... `compile="step"`**'] = partial(step.recipe, module, {}, compile="step")
    return found


def mlp_steps(rounds: int) -> str:
    return steps(mlp, rounds)


def vae_steps(rounds: int) -> str:
    return steps(vae, rounds)


def traffic_steps(rounds: int) -> str:
    return steps(traffic, rounds)

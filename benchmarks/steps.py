"""Whole recipes against loops by hand and against other frameworks."""

from types import ModuleType

from benchmarks import mlp, traffic, vae
from benchmarks.measuring import in_turns, ratio, table

__all__ = ["steps"]


def steps(workload: ModuleType, rounds: int) -> str:
    """The table of one workload: time of a run as a multiple of the plain and of the tuned loop's."""
    figures = in_turns(workload.PROGRAMS, rounds)
    plain, tuned = figures["plain loop"], figures["tuned loop"]
    rows = []
    for name, took in figures.items():
        median, least, most = ratio(took, plain)
        rows.append([name, f"{median:.2f}", f"{least:.2f} to {most:.2f}", f"{ratio(took, tuned)[0]:.2f}"])
    return table(["program", "of the plain loop", "least to most", "of the tuned loop"], rows)


def mlp_steps(rounds: int) -> str:
    return steps(mlp, rounds)


def vae_steps(rounds: int) -> str:
    return steps(vae, rounds)


def traffic_steps(rounds: int) -> str:
    return steps(traffic, rounds)

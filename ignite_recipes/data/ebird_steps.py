"""How many sightings, checklists and species each step from an eBird file to its matrix left."""

from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["Step", "check_left", "table_of_steps"]


class Step(NamedTuple):
    """What was left after a step.

    >>> Step("all that was read", 12, 3, 5).checklists
    3
    """

    step: str
    sightings: int
    checklists: int
    species: int
    """The number of species; in the first steps, of taxa as they were reported."""


def table_of_steps(steps: Sequence[Step]) -> str:
    """The steps as lines of text.

    >>> print(table_of_steps([Step("all that was read", 120, 10, 5), Step("max_distance_km=10", 100, 9, 5)]))
    step                sightings  checklists  species
    all that was read         120          10        5
    max_distance_km=10        100           9        5
    """
    head = ("step", "sightings", "checklists", "species")
    width = max(len(name) for name in (head[0], *(step.step for step in steps)))
    lines = [f"{head[0]:{width}}  {head[1]:>9}  {head[2]:>10}  {head[3]:>7}"]
    lines += [f"{s.step:{width}}  {s.sightings:>9}  {s.checklists:>10}  {s.species:>7}" for s in steps]
    return "\n".join(lines)


def check_left(steps: Sequence[Step]) -> None:
    """Raise ValueError, which names the step to blame, if there are no checklists or no species left."""
    to_blame = next((k for k, step in enumerate(steps) if not step.checklists or not step.species), None)
    if to_blame is not None:
        until = steps[: to_blame + 1]
        left = "; ".join(f"{step.step}: {step.checklists} checklists, {step.species} species" for step in until)
        raise ValueError(f"the filters must leave some checklists; left after each: {left}; loosen {until[-1].step!r}")

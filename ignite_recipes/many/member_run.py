"""A member of many runs as it is found in its folder."""

from pathlib import Path
from typing import NamedTuple

from ignite_recipes.experiments.members import Member
from ignite_recipes.many.outcome import Outcome
from ignite_recipes.many.planning import member_label

__all__ = ["MemberRun"]


class MemberRun(NamedTuple):
    """A member, and what it has reached.

    Attributes:
        plan: its name, seed, settings and fold.
        folder: the folder of its experiment, which everything works on that works on an experiment.
        outcome: None before it has ended.
        error: why it failed, if it did.
    """

    plan: Member
    folder: Path
    outcome: Outcome | None
    error: str | None

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.plan.name

    @property
    def label(self) -> str:
        """Its values of the settings that are swept."""
        return member_label(self.plan)

    @property
    def state(self) -> str:
        """``"finished"``, ``"pruned"``, ``"failed"``, ``"begun"`` or ``"missing"``."""
        if self.outcome is not None:
            return "pruned" if self.outcome.pruned else "finished"
        return "failed" if self.error else "begun" if self.folder.is_dir() else "missing"

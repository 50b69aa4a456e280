"""Many runs as one experiment: seeds, settings and folds, and what they say together."""

from ignite_recipes.many.results import MemberRun, Runs
from ignite_recipes.many.training import train_many

__all__ = ["MemberRun", "Runs", "train_many"]

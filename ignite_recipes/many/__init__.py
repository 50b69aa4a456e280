"""Many runs as one experiment: seeds, settings and folds, and what they say together."""

from ignite_recipes.many.results import Runs
from ignite_recipes.many.searching import search_many
from ignite_recipes.many.training import train_many

__all__ = ["Runs", "search_many", "train_many"]

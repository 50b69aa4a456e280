"""Answers of what was trained: predictions, measures, a report, a program for elsewhere."""

from ignite_recipes.answers.evaluating import evaluate
from ignite_recipes.answers.held_out_species import HeldOutSpecies, evaluate_held_out_species
from ignite_recipes.answers.predicting import predict
from ignite_recipes.answers.reporting import report

__all__ = ["HeldOutSpecies", "evaluate", "evaluate_held_out_species", "predict", "report"]

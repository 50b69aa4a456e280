"""Answers of what was trained: predictions, measures, a report, a program for elsewhere."""

from ignite_recipes.answers.evaluating import evaluate
from ignite_recipes.answers.predicting import predict
from ignite_recipes.answers.reporting import report

__all__ = ["evaluate", "predict", "report"]

"""Answers of what was trained: predictions, measures, a report, a program for elsewhere."""

from ignite_recipes.answers.evaluating import evaluate
from ignite_recipes.answers.predicting import predict

__all__ = ["evaluate", "predict"]

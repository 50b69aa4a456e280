"""The centre: the training step, the trainer around it, the evaluator, and the events that they fire."""

from ignite_recipes.engine.create import create_trainer
from ignite_recipes.engine.describe import describe
from ignite_recipes.engine.evaluator import EvaluationEngine, create_evaluator
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.metric_set import MetricSet
from ignite_recipes.engine.parts import keep_state, parts_of
from ignite_recipes.engine.resumable import make_resumable
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.update import Update

__all__ = [
    "EvaluationEngine",
    "MetricSet",
    "TrainEvents",
    "TrainingEngine",
    "TrainingStep",
    "Update",
    "create_evaluator",
    "create_trainer",
    "describe",
    "keep_state",
    "make_resumable",
    "parts_of",
]

"""Handlers: one idea each, attached to the event that it concerns."""

from ignite_recipes.handlers.augmentation import (
    DataAugmentation,
    InputAugmentation,
    NoiseAugmentation,
    add_noise,
)
from ignite_recipes.handlers.averages import EpochAverages
from ignite_recipes.handlers.checkpointing import BestCheckpoint, Checkpointing
from ignite_recipes.handlers.early_stopping import EarlyStopping
from ignite_recipes.handlers.gradient_clipping import GradientClipCallback, GradientClipper, clip_grad_norm
from ignite_recipes.handlers.history import History
from ignite_recipes.handlers.lr_scheduling import LearningRateScheduler
from ignite_recipes.handlers.mixed_precision import MixedPrecisionTrainer
from ignite_recipes.handlers.nonfinite import NonFiniteError, NonFiniteGuard
from ignite_recipes.handlers.progress import ProgressBar
from ignite_recipes.handlers.stability import TrainingStability
from ignite_recipes.handlers.validation import Validation

__all__ = [
    "BestCheckpoint",
    "Checkpointing",
    "DataAugmentation",
    "EarlyStopping",
    "EpochAverages",
    "GradientClipCallback",
    "GradientClipper",
    "History",
    "InputAugmentation",
    "LearningRateScheduler",
    "MixedPrecisionTrainer",
    "NoiseAugmentation",
    "NonFiniteError",
    "NonFiniteGuard",
    "ProgressBar",
    "TrainingStability",
    "Validation",
    "add_noise",
    "clip_grad_norm",
]

"""Handlers: one idea each, attached to the event that it concerns."""

from ignite_recipes.handlers.augmentation import (
    DataAugmentation,
    InputAugmentation,
    NoiseAugmentation,
    add_noise,
)
from ignite_recipes.handlers.averages import EpochAverages
from ignite_recipes.handlers.best_checkpoint import BestCheckpoint
from ignite_recipes.handlers.checkpointing import Checkpointing, SaveInside
from ignite_recipes.handlers.curves import Curves
from ignite_recipes.handlers.early_stopping import EarlyStopping
from ignite_recipes.handlers.ema import ExponentialMovingAverage
from ignite_recipes.handlers.gradient_clipping import GradientClipCallback, GradientClipper, clip_grad_norm
from ignite_recipes.handlers.history import History
from ignite_recipes.handlers.kl_schedule import KLSchedule
from ignite_recipes.handlers.latent_monitor import LatentMonitor
from ignite_recipes.handlers.lr_scheduling import LearningRateScheduler
from ignite_recipes.handlers.mixed_precision import MixedPrecisionTrainer
from ignite_recipes.handlers.nonfinite import NonFiniteError, NonFiniteGuard
from ignite_recipes.handlers.progress import ProgressBar
from ignite_recipes.handlers.rollback import Rollback
from ignite_recipes.handlers.stability import TrainingStability
from ignite_recipes.handlers.stop_on_signal import StopOnSignal, Stopped
from ignite_recipes.handlers.tensorboard import TensorBoardLog
from ignite_recipes.handlers.training_log import TrainingLog
from ignite_recipes.handlers.validation import Validation

__all__ = [
    "BestCheckpoint",
    "Checkpointing",
    "Curves",
    "DataAugmentation",
    "EarlyStopping",
    "EpochAverages",
    "ExponentialMovingAverage",
    "GradientClipCallback",
    "GradientClipper",
    "History",
    "InputAugmentation",
    "KLSchedule",
    "LatentMonitor",
    "LearningRateScheduler",
    "MixedPrecisionTrainer",
    "NoiseAugmentation",
    "NonFiniteError",
    "NonFiniteGuard",
    "ProgressBar",
    "Rollback",
    "SaveInside",
    "StopOnSignal",
    "Stopped",
    "TensorBoardLog",
    "TrainingLog",
    "TrainingStability",
    "Validation",
    "add_noise",
    "clip_grad_norm",
]

"""Recipes: one function per task, each the whole job."""

from ignite_recipes.recipes.backtest import backtest
from ignite_recipes.recipes.classification import Trainer
from ignite_recipes.recipes.options import RunOptions
from ignite_recipes.recipes.started import recipe_trainer
from ignite_recipes.recipes.supervised import (
    FAST_TRAINING,
    MEMORY_CONSTRAINED_TRAINING,
    STABLE_TRAINING,
    train_model_advanced,
)
from ignite_recipes.recipes.tables import train_on_table
from ignite_recipes.recipes.traffic import (
    train_one_epoch,
    trainModel,
    trainModelByDefaultSetting,
    validate_model,
)
from ignite_recipes.recipes.traffic_parameters import TrafficParameters, getDefaultModelParams
from ignite_recipes.recipes.vae import train_variational_autoencoder

__all__ = [
    "FAST_TRAINING",
    "MEMORY_CONSTRAINED_TRAINING",
    "STABLE_TRAINING",
    "RunOptions",
    "TrafficParameters",
    "Trainer",
    "backtest",
    "getDefaultModelParams",
    "recipe_trainer",
    "trainModel",
    "trainModelByDefaultSetting",
    "train_model_advanced",
    "train_on_table",
    "train_one_epoch",
    "train_variational_autoencoder",
    "validate_model",
]

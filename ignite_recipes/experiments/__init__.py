"""Experiments: a folder for each run, with its settings and its results."""

from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.manager import ExperimentBusyError, ExperimentManager, list_experiments

__all__ = ["ExperimentBusyError", "ExperimentManager", "list_experiments", "read_training_log"]

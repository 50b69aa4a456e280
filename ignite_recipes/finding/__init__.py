"""Settings that are found by trying: of the learning rate, of the batch size; the trainer is as it was afterwards."""

from ignite_recipes.finding.batch_size import BatchSizes, find_batch_size
from ignite_recipes.finding.learning_rate import LearningRates, find_learning_rate

__all__ = ["BatchSizes", "LearningRates", "find_batch_size", "find_learning_rate"]

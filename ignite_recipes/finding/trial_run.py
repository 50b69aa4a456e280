"""A run of a trainer after which it, the generators and the loader's own generators are as they were."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ignite.engine import Engine
from torch import Tensor

from ignite_recipes.checkpoint.run import check_trainer
from ignite_recipes.checkpoint.trial import preserve_run
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.loading.generators import preserved
from ignite_recipes.loading.randomness import preserve_generators

__all__ = ["set_rates", "trainer_and_data", "trial_run"]


@contextmanager
def trial_run(trainer: TrainingEngine, data: Any) -> Iterator[TrainingEngine]:
    """As :func:`~ignite_recipes.preserve_run`, and the generators come back too: global ones and those of a loader.

    Of a loader: all that it and its data set hold. So do the gradients that lie in the parameters.

    Args:
        trainer: that is run in the block.
        data: what it is run on.
    """
    parameters = [*trainer.model.parameters()]
    gradients = [None if parameter.grad is None else parameter.grad.clone() for parameter in parameters]
    try:
        with preserved([data]), preserve_generators(trainer.device), preserve_run(trainer):
            yield trainer
    finally:
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient


def trainer_and_data(trainer: Any, data: Any) -> tuple[TrainingEngine, Any]:
    """A trainer and what it is trained on; the classification ``Trainer`` has both."""
    inner = None if isinstance(trainer, Engine) else getattr(trainer, "engine", None)
    if isinstance(inner, TrainingEngine):
        trainer, data = inner, getattr(trainer, "train_loader", None) if data is None else data
    check_trainer(trainer)
    if data is None:
        raise TypeError("data to train on must be given: a loader, or a data set; got None")
    return trainer, data


def set_rates(trainer: TrainingEngine, rate: float, given: list[float]) -> None:
    """Give the first parameter group this rate, and the others theirs in proportion.

    Args:
        trainer: whose optimizers have the groups.
        rate: the rate of the first.
        given: of each, before; where the first has none, all get the same.
    """
    groups = [group for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]
    for group, before in zip(groups, given, strict=True):
        new = rate * before / given[0] if given[0] > 0 else rate
        if isinstance(group["lr"], Tensor):  # what a captured step reads
            group["lr"].fill_(new)
        else:
            group["lr"] = new

"""Evaluate the model at the end of every epoch of its training."""

from collections.abc import Iterable
from contextlib import nullcontext
from operator import length_hint
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.engine.modes import preserved_modes
from ignite_recipes.handlers._host import host_of

__all__ = ["Validation"]


class Validation:
    """Run an evaluator over the validation data and take its metrics over into the trainer's.

    Runs:   trainer, EPOCH_COMPLETED.
    Reads:  the evaluator's ``state.metrics``.
    Writes: the trainer's ``state.metrics[prefix + name]``.
    Keeps:  nothing. It cannot change the training: our evaluator leaves modes and generators as they were.

    Args:
        evaluator: of :func:`ignite_recipes.create_evaluator`, or any Engine with metrics.
        loader: the validation data.
        prefix: of the names.

    >>> evaluator = Engine(lambda engine, batch: None)
    >>> evaluator.state.metrics = {"loss": 0.5}
    >>> trainer = Engine(lambda engine, batch: None)
    >>> _ = Validation(evaluator, [0]).attach(trainer)
    >>> trainer.run([0]).metrics
    {'val_loss': 0.5}
    """

    def __init__(self, evaluator: Engine, loader: Iterable[Any], prefix: str = "val_") -> None:
        if not isinstance(evaluator, Engine):
            raise TypeError(f"evaluator must be an engine, e.g. of create_evaluator(...); got {evaluator!r}")
        if loader is None:
            raise TypeError("loader must be a loader or another iterable of batches; got None")
        if length_hint(loader, 1) == 0:
            raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")
        self.evaluator, self.loader, self.prefix = evaluator, loader, prefix

    def __repr__(self) -> str:
        return f"Validation(prefix={self.prefix!r})"

    def attach(self, trainer: Engine) -> "Validation":
        """Evaluate after every epoch of ``trainer``."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Evaluate now."""
        if trainer.state.seed is not None:
            self.evaluator.state.seed = trainer.state.seed
        step = host_of(trainer).step
        with nullcontext() if step is None else preserved_modes(step.model):  # an evaluator of Ignite's leaves eval()
            self.evaluator.run(self.loader)
        metrics = self.evaluator.state.metrics
        trainer.state.metrics.update({self.prefix + name: value for name, value in metrics.items()})

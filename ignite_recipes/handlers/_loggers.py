"""Ignite's loggers of other services, attached to a trainer as they are."""

import inspect
import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any, TypeGuard

from ignite.handlers.base_logger import BaseLogger

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import rank
from ignite_recipes.handlers._host import host_of

__all__ = ["attach_logger", "close_at_end", "is_logger"]

_TAGS = {"train_": "training", "val_": "validation"}  # as in Ignite's own examples; what is of neither is of the run


def is_logger(handler: Any) -> TypeGuard[BaseLogger]:
    """Whether it is a logger of Ignite's that must be told what to log; its progress bar needs not be told."""
    return isinstance(handler, BaseLogger) and "log_handler" in inspect.signature(handler.attach).parameters


def attach_logger(trainer: TrainingEngine, logger: BaseLogger) -> None:
    """Log each epoch's numbers, with the epoch as their step, as ``training/loss``, ``validation/f1``, ``run/...``.

    Rank 0 does it for all.
    """
    if rank():
        return
    me = weakref.ref(trainer)
    for prefix, tag in {**_TAGS, "": "run"}.items():
        numbers = partial(_numbers, me, prefix)
        logger.attach_output_handler(trainer, TrainEvents.METRICS_READY, tag=tag, output_transform=numbers)


def close_at_end(trainer: TrainingEngine, handlers: Iterable[Any]) -> None:
    """Close the loggers among handlers, or whose methods partial functions call, where the run ends or fails."""
    owners = [
        getattr(handler.func, "__self__", None) if isinstance(handler, partial) else handler for handler in handlers
    ]
    loggers = {id(owner): owner for owner in owners if is_logger(owner)}
    for logger in loggers.values():
        host_of(trainer).at_end(CloseLogger(logger))


class CloseLogger:
    """A handler that closes a logger, once."""

    def __init__(self, logger: BaseLogger) -> None:
        self.logger, self._is_closed = logger, False

    def __repr__(self) -> str:
        return f"close {type(self.logger).__name__}"

    def __call__(self, *_: object) -> None:  # EXCEPTION_RAISED brings its exception
        if not self._is_closed:
            self._is_closed = True
            self.logger.close()


def _numbers(trainer: "weakref.ref[TrainingEngine]", prefix: str, output: Any) -> dict[str, float]:
    """The epoch's numbers whose names begin so, without the beginning; with none those of no other beginning."""
    engine = trainer()
    assert engine is not None
    found = host_of(engine).metrics.numbers()
    if not prefix:
        return {name: number for name, number in found.items() if not name.startswith(tuple(_TAGS))}
    return {name.removeprefix(prefix): number for name, number in found.items() if name.startswith(prefix)}

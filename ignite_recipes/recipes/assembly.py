"""What every recipe is put together from, in the order in which it happens."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import nn
from torch.optim import Adam

from ignite_recipes.engine import TrainingEngine
from ignite_recipes.evaluation import EvaluationEngine
from ignite_recipes.handlers import (
    EpochAverages,
    GradientClipper,
    History,
    MixedPrecisionTrainer,
    NonFiniteGuard,
    ProgressBar,
    Validation,
)
from ignite_recipes.handlers.metric import decision_event
from ignite_recipes.handlers.progress import print_line
from ignite_recipes.recipes.settings import PRECISIONS
from ignite_recipes.run_state import restore_run

__all__ = ["Attachable", "attach_last", "decide", "fused_adam", "guard_steps", "measure", "train_to"]


class Attachable(Protocol):
    """A handler: anything with ``attach(trainer)``."""

    def attach(self, trainer: Any, /) -> Any: ...  # noqa: D102


def fused_adam(model: nn.Module, device: torch.device, learning_rate: float, weight_decay: float = 0.0) -> Adam:
    """Adam in one kernel where the device has it, which also lets the guard drop a step without a wait."""
    fused = device.type in ("cpu", "cuda", "mps")
    return Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=fused)


def guard_steps(trainer: TrainingEngine, *, precision: str, max_grad_norm: float | None, non_finite: str) -> None:
    """Precision, clipping, and the guard against numbers that are not finite."""
    if precision != "float32":
        MixedPrecisionTrainer(device=trainer.device, dtype=PRECISIONS[precision]).attach(trainer)
    if max_grad_norm is not None:
        GradientClipper(max_grad_norm).attach(trainer)
    NonFiniteGuard(non_finite).attach(trainer)
    EpochAverages("train_", skip_nonfinite=non_finite == "skip").attach(trainer)


def measure(trainer: TrainingEngine, evaluator: EvaluationEngine, val_loader: Iterable[Any]) -> None:
    """Validation at the end of every epoch."""
    EpochAverages().attach(evaluator)
    Validation(evaluator, val_loader).attach(trainer)


def decide(
    trainer: TrainingEngine,
    history: History,
    line: Callable[[Mapping[str, float]], str],
    *,
    print_every: int | None,
    progress: bool,
) -> None:
    """The record of an epoch: its metrics in the history, a printed line every few epochs, a progress bar."""
    history.attach(trainer)
    if progress:
        ProgressBar().attach(trainer)
    if print_every is not None:
        trainer.add_event_handler(decision_event(trainer), _print_epoch, line, print_every)


def _print_epoch(trainer: TrainingEngine, line: Callable[[Mapping[str, float]], str], print_every: int) -> None:
    state = trainer.state
    if state.epoch % print_every == 0 or state.epoch == state.max_epochs or trainer.should_terminate:
        print_line(f"Epoch {state.epoch}/{state.max_epochs} | {line(state.metrics)}")


def attach_last(trainer: TrainingEngine, handlers: Sequence[Attachable], *savers: Attachable) -> None:
    """The user's own handlers, then those that save."""
    for handler in (*handlers, *savers):
        if not callable(getattr(handler, "attach", None)):
            raise TypeError(f"a handler must have a method attach(trainer); got {handler!r}")
        handler.attach(trainer)


def train_to(
    num_epochs: int,
    trainer: TrainingEngine,
    loader: Iterable[Any],
    resume_from: str | os.PathLike[str] | None,
    settings: Mapping[str, Any],
    seed: int | None,
) -> None:
    """Train to the end of epoch ``num_epochs``, from the start or from where a checkpoint is."""
    if resume_from is not None:
        length = trainer._get_data_length(loader)
        restore_run(trainer, resume_from, settings=settings, num_epochs=num_epochs, epoch_length=length, seed=seed)
    trainer.run(loader, max_epochs=num_epochs)

"""What every recipe is put together from, in the order in which it happens."""

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from ignite.engine import Events
from torch import nn
from torch.optim import Adam, Optimizer

from ignite_recipes.arguments import shown
from ignite_recipes.checkpoint.newest import LATEST
from ignite_recipes.checkpoint.run import restore_run
from ignite_recipes.engine.create import create_trainer
from ignite_recipes.engine.evaluator import EvaluationEngine, create_evaluator
from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import (
    Checkpointing,
    Curves,
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    NonFiniteGuard,
    ProgressBar,
    Rollback,
    StopOnSignal,
    TensorBoardLog,
    TrainingLog,
    Validation,
)
from ignite_recipes.handlers._host import host_of
from ignite_recipes.handlers._loggers import attach_logger, close_at_end, is_logger
from ignite_recipes.handlers._numbers import as_number
from ignite_recipes.handlers._report import Report
from ignite_recipes.handlers.progress import print_line
from ignite_recipes.loading.batches import first_item
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions, run_settings
from ignite_recipes.recipes.precision import attach_precision, chosen_precision, settle_precision

__all__ = [
    "COUNTS",
    "attach_last",
    "attach_records",
    "attach_step_handlers",
    "attach_stopping",
    "attach_validation",
    "chosen_precision",
    "fused_adam",
    "new_evaluator",
    "new_history",
    "new_trainer",
    "recorders",
    "saves_inside",
    "train_to",
]

logger = logging.getLogger(__name__)

COUNTS = ("skipped_steps", "rollbacks")
"""What :func:`attach_step_handlers` counts, in histories where the policy has it."""


def fused_adam(model: nn.Module, device: torch.device, learning_rate: float, weight_decay: float = 0.0) -> Adam:
    """Adam in one kernel where the device has it, which also lets the guard drop a step without a wait."""
    if next(model.parameters(), None) is None:
        raise ValueError("the model must have a parameter to train; got none")
    fused = device.type in ("cpu", "cuda", "mps")
    return Adam(model.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=fused)


def new_trainer(
    model: nn.Module,
    optimizer: Optimizer,
    loss_fn: LossFunction,
    options: RunOptions,
    *,
    device: torch.device,
    get_inputs: Callable[[Any], Any] = first_item,
    settings: Mapping[str, Any],
) -> TrainingEngine:
    """The trainer of a recipe.

    Args:
        model, optimizer, loss_fn, device, get_inputs: as for :func:`~ignite_recipes.create_trainer`.
        options: the options of the run.
        settings: the recipe's own, which its checkpoints hold and a resumed run must have as they were.
    """
    trainer = create_trainer(
        model,
        optimizer,
        loss_fn,
        device=device,
        seed=options["seed"],
        accumulation_steps=options["accumulation_steps"],
        get_inputs=get_inputs,
        deterministic=options["deterministic"],
        compile=options["compile"],
    )
    trainer.metadata = {**(options["metadata"] or {}), **settings, **run_settings(options)}
    return trainer


def new_evaluator(trainer: TrainingEngine, measuring: Measuring) -> EvaluationEngine:
    """The evaluator of a recipe's trainer: its model, inputs and losses, and what metrics need."""
    step = trainer.step
    assert isinstance(step, TrainingStep)  # as new_trainer makes them
    return create_evaluator(
        trainer.model,
        measuring.loss_of_evaluator(step.loss_fn),
        device=trainer.device,
        get_inputs=step.get_inputs,
        compile=step.compile,
    )


def new_history(
    names: Iterable[str], measuring: Measuring, optional: Iterable[str] = (), *, unmeasured: Iterable[str] = ()
) -> History:
    """The history of a recipe: of ``names``, all metrics and counts; arguments as of :class:`History`."""
    optional = [*optional, *measuring.names, *COUNTS]
    return History(names, optional, unmeasured=unmeasured, prefixes=measuring.prefixes)


def attach_step_handlers(trainer: TrainingEngine, options: RunOptions) -> EpochAverages:
    """Precision, clipping, the guard against numbers that are not finite, and averages of weights and losses.

    Under a policy that continues after such numbers, ``state.metrics`` says how often it did, since the run began:
    ``skipped_steps`` or ``rollbacks``.
    """
    non_finite = options["non_finite"]
    attach_precision(trainer, options["precision"])
    if options["max_grad_norm"] is not None:
        GradientClipper(options["max_grad_norm"]).attach(trainer)
    if options["ema_decay"] is not None:
        ExponentialMovingAverage(options["ema_decay"]).attach(trainer)
    if non_finite == "rollback":
        rollback = Rollback().attach(trainer)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, note_count, "rollbacks", rollback, "num_rollbacks")
    guard = NonFiniteGuard("raise" if non_finite == "rollback" else non_finite).attach(trainer)
    if non_finite == "skip":
        trainer.add_event_handler(Events.EPOCH_COMPLETED, note_count, "skipped_steps", guard, "num_skipped")
    return EpochAverages("train_", skip_nonfinite=non_finite == "skip").attach(trainer)


def note_count(trainer: TrainingEngine, name: str, handler: Attachable, attribute: str) -> None:
    trainer.state.metrics[name] = getattr(handler, attribute)


def attach_validation(
    trainer: TrainingEngine, evaluator: EvaluationEngine, val_loader: Iterable[Any], measuring: Measuring
) -> EpochAverages:
    """Validation at the end of every epoch, its averages and metrics."""
    averages = EpochAverages().attach(evaluator)
    Validation(evaluator, val_loader, metrics=measuring.metrics).attach(trainer)
    return averages


def attach_stopping(
    trainer: TrainingEngine, patience: int | None, measuring: Measuring, *, patience_from_epoch: int = 0
) -> EarlyStopping:
    """Early stopping by what decides; it also keeps the best weights, without ``patience`` too."""
    stopping = EarlyStopping(patience, 0.0, verbose=False, mode=measuring.mode, patience_from_epoch=patience_from_epoch)
    stopping.attach(trainer, measuring.monitor)
    return stopping


def attach_records(
    trainer: TrainingEngine,
    history: History,
    line: Callable[[Mapping[str, float]], str],
    measuring: Measuring,
    options: RunOptions,
    *,
    print_every: int | None,
    stopping: EarlyStopping | None = None,
) -> Report:
    """Attach what records an epoch: the history, a progress bar, a line that is logged and sometimes printed.

    Args:
        trainer: that is recorded.
        history, line, print_every: of it.
        measuring: whose metrics the bar and the line show, too.
        options: the options of the run.
        stopping: says which epoch is the best.

    Returns:
        What keeps metrics that are not numbers.
    """
    history.attach(trainer)
    report = Report(stopping).attach(trainer)
    if options["progress"]:
        ProgressBar(("train_loss", "val_loss", *measuring.shown)).attach(trainer)
    host_of(trainer).to_decide(report_epoch, line, print_every, measuring.shown)
    return report


def report_epoch(
    trainer: TrainingEngine,
    line: Callable[[Mapping[str, float]], str],
    print_every: int | None,
    metrics: Sequence[str],
) -> None:
    state = trainer.state
    numbers = {name: as_number(state.metrics.get(name)) for name in metrics}
    shown = [f"{name.replace('_', ' ')} {number:.4g}" for name, number in numbers.items() if number is not None]
    text = " | ".join([f"Epoch {state.epoch}/{state.max_epochs}", line(state.metrics), *shown])
    logger.info(text)
    is_last = state.epoch == state.max_epochs or trainer.should_terminate
    if print_every is not None and (state.epoch % print_every == 0 or is_last):
        print_line(text)


def recorders(experiment: ExperimentManager, unit: str, *, draws: bool = True) -> list[Attachable]:
    """What writes an experiment's log, TensorBoard events and curves; ``unit`` is that of the losses."""
    log = TrainingLog(experiment.log_file)
    curves = [Curves(experiment.plot_file, log.path, unit, settings=experiment.settings)] if draws else []
    return [log, TensorBoardLog(experiment.experiment_dir), *curves]


def attach_last(trainer: TrainingEngine, handlers: Sequence[Any], *savers: Attachable) -> None:
    """The user's own handlers and loggers, then those that save."""
    if not isinstance(handlers, (list, tuple)):
        raise TypeError(f"handlers must be a list of handlers; got {shown(handlers)}")
    for handler in (*handlers, *savers):
        if isinstance(handler, type):
            raise TypeError(f"a handler must be an object; got the class {handler.__name__}: call it")
        if is_logger(handler):
            attach_logger(trainer, handler)
        elif isinstance(handler, partial):
            handler(trainer)
        elif callable(getattr(handler, "attach", None)):
            handler.attach(trainer)
        else:
            raise TypeError(f"a handler must have a method attach(trainer); got {shown(handler)}")
    close_at_end(trainer, handlers)


def saves_inside(folder: str | os.PathLike[str], every_iterations: int | None) -> list[Attachable]:
    """What saves ``latest_checkpoint.pt`` inside epochs: when a signal comes, and every few iterations if asked to."""
    latest = Checkpointing(folder, LATEST, every_iterations=every_iterations)
    return [*([] if every_iterations is None else [latest]), StopOnSignal(latest.save)]


def train_to(
    num_epochs: int, trainer: TrainingEngine, loader: Iterable[Any], options: RunOptions, settings: Mapping[str, Any]
) -> None:
    """Train to the end of epoch ``num_epochs``, from the start or from where a checkpoint is."""
    settle_precision(trainer, loader, options, options["resume_from"])
    if options["resume_from"] is not None:
        restore_run(
            trainer,
            options["resume_from"],
            settings={**settings, **run_settings(options)},
            num_epochs=num_epochs,
            epoch_length=trainer._get_data_length(loader),
            seed=options["seed"],
        )
    trainer.run(loader, max_epochs=num_epochs)

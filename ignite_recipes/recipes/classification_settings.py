"""What a classifier's training is made of: checks of its parts, and how its experiment describes them and begins."""

import math
from collections.abc import Mapping, Sequence, Sized
from typing import Any

from torch.optim import Optimizer

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.checkpoint.manager import CheckpointManager
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.handlers import EarlyStopping, LearningRateScheduler
from ignite_recipes.loading.given import settings_of
from ignite_recipes.recipes.experiment_start import start_run
from ignite_recipes.recipes.manager_saves import set_aside_through
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import RunOptions, run_settings
from ignite_recipes.recipes.plain_settings import described

__all__ = ["attach_schedule", "begin_run", "check_arguments", "checked_epochs", "description", "note_best", "rates"]


def check_arguments(
    val_loader: Any,
    criterion: Any,
    experiment_manager: Any,
    checkpoint_manager: Any,
    dataset: Any,
    patience: Any,
) -> None:
    """Raise TypeError or ValueError for what is of another kind than it must be."""
    whole_number(patience, "patience", "epochs", at_least=0)
    if not callable(criterion):
        raise TypeError(f"criterion must be called with outputs and labels; got {shown(criterion)}")
    if dataset is not None and not callable(getattr(dataset, "reapply_transforms", None)):
        raise TypeError(f"dataset must have reapply_transforms(epoch), or be None; got {type(dataset).__name__}")
    if val_loader is None:
        raise TypeError("val_loader must be a loader or another iterable of batches; got None")
    if experiment_manager is not None and not isinstance(experiment_manager, ExperimentManager):
        raise TypeError(f"experiment_manager must be an ExperimentManager; got {shown(experiment_manager)}")
    if checkpoint_manager is not None and not isinstance(checkpoint_manager, CheckpointManager):
        raise TypeError(f"checkpoint_manager must be a CheckpointManager, or None; got {shown(checkpoint_manager)}")


def checked_epochs(epochs: int, start_epoch: int, reached: int) -> tuple[int, int]:
    """The epoch to train to and those trained before, if they make sense where ``reached`` is the last one."""
    epochs = whole_number(epochs, "epochs")
    start_epoch = whole_number(start_epoch, "start_epoch", at_least=0)
    if start_epoch > epochs:
        raise ValueError(
            f"epochs counts from the first epoch and must be at least start_epoch, {start_epoch}; got {epochs}"
        )
    if epochs < reached:
        raise ValueError(f"epochs counts from the first epoch and must be at least {reached}; got {epochs}")
    return epochs, start_epoch


def rates(optimizer: Optimizer) -> dict[str, list[float]]:
    """The learning rate and the weight decay of each parameter group, without what a schedule made of them."""
    groups = optimizer.param_groups
    return {
        "learning_rate": [float(group.get("initial_lr", group["lr"])) for group in groups],
        "weight_decay": [float(group.get("weight_decay", 0.0)) for group in groups],
    }


def _settings(trainer: Any, options: RunOptions, given_rates: Mapping[str, Any]) -> dict[str, Any]:
    """What a resumed run must have as it was."""
    return {
        **settings_of(trainer.train_loader),
        **run_settings(options),
        **given_rates,
        "patience": trainer.patience,
        "scheduler": trainer.scheduler and type(trainer.scheduler).__name__,
        "optimizer": type(trainer.optimizer).__name__,
        "reapply_transforms": trainer.dataset is not None,
    }


def description(trainer: Any, options: RunOptions, given_rates: Mapping[str, Any]) -> dict[str, Any]:
    """What ``config.yaml`` says of a training that was put together by hand; arguments as of :func:`begin_run`."""
    group = {name: value for name, value in trainer.optimizer.param_groups[0].items() if name != "params"}
    return {
        **described(trainer.model, trainer.train_loader, options, _settings(trainer, options, given_rates)),
        "optimizer_settings": {k: v for k, v in group.items() if isinstance(v, (bool, int, float, str))},
        "criterion": type(trainer.criterion).__name__,
        "seed": None,  # known when the run begins: a resumed one has that of its checkpoint
    }


def begin_run(
    trainer: Any,
    options: RunOptions,
    given_rates: Mapping[str, Any],
    epochs: int,
    start_epoch: int,
    seed: int | None,
) -> int:
    """Put a trainer's engine where its experiment is; the seed of the run.

    Args:
        trainer: a classifier's, put together.
        options: the options of the run.
        given_rates: the optimizer's :func:`rates`, before any schedule changed them.
        epochs, start_epoch, seed: as for :func:`~ignite_recipes.recipes.experiment_start.start_run`.
    """
    settings = _settings(trainer, options, given_rates)
    trainer.engine.metadata = {**(options["metadata"] or {}), **settings}
    start_run(
        trainer.engine,
        trainer.experiment_manager,
        settings=settings,
        epochs=epochs,
        start_epoch=start_epoch,
        epoch_length=len(trainer.train_loader) if isinstance(trainer.train_loader, Sized) else None,
        seed=seed,
    )
    manager = trainer.checkpoint_manager
    if manager is not None and not (trainer.engine.state.iteration or start_epoch):
        set_aside_through(manager, epochs)
    return int(trainer.engine.state.seed or 0)


def attach_schedule(engine: TrainingEngine, scheduler: Any, measuring: Measuring | None, *, stretch: bool) -> None:
    """Let a plateau schedule watch what decides, where that was said; otherwise what its own direction is of."""
    if not isinstance(scheduler, LearningRateScheduler):
        scheduler = LearningRateScheduler(engine.optimizer, scheduler)
    scheduler.stretch = scheduler.stretch or stretch
    watched = "val_accuracy" if scheduler.mode == "max" else "val_loss"
    if measuring is not None and scheduler.is_plateau:
        watched = measuring.monitor
        if scheduler.mode != measuring.mode:
            raise ValueError(
                f"the plateau schedule must have the direction of monitor={watched!r}, mode={measuring.mode!r}; got "
                f"{scheduler.mode!r}"
            )
    scheduler.attach(engine, watched)


def note_best(stopping: EarlyStopping, epochs: Sequence[float], values: Sequence[float]) -> None:
    """Let early stopping know the best of a history that was read."""
    known = [k for k, value in enumerate(values) if math.isfinite(value)]
    if known:
        best = (max if stopping.mode == "max" else min)(known, key=values.__getitem__)
        stopping.best_loss, stopping.best_epoch = values[best], int(epochs[best])
        stopping.wait = int(epochs[-1] - epochs[best])

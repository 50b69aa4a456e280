"""What a classifier's training is made of: checks of its parts, and how its experiment describes them."""

from typing import Any

from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.checkpoint.manager import CheckpointManager
from ignite_recipes.experiments.manager import ExperimentManager

__all__ = ["check_arguments", "description", "rates"]


def check_arguments(
    train_loader: Any,
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
        raise TypeError(f"criterion must be called with outputs and labels; got {criterion!r}")
    if dataset is not None and not callable(getattr(dataset, "reapply_transforms", None)):
        raise TypeError(f"dataset must have reapply_transforms(epoch), or be None; got {type(dataset).__name__}")
    for name, loader in (("train_loader", train_loader), ("val_loader", val_loader)):
        if loader is None:
            raise TypeError(f"{name} must be a loader or another iterable of batches; got None")
    if not isinstance(experiment_manager, ExperimentManager):
        raise TypeError(f"experiment_manager must be an ExperimentManager; got {experiment_manager!r}")
    if checkpoint_manager is not None and not isinstance(checkpoint_manager, CheckpointManager):
        raise TypeError(f"checkpoint_manager must be a CheckpointManager, or None; got {checkpoint_manager!r}")


def rates(optimizer: Optimizer) -> dict[str, list[float]]:
    """The learning rate and the weight decay of each parameter group, without what a schedule made of them."""
    groups = optimizer.param_groups
    return {
        "learning_rate": [float(group.get("initial_lr", group["lr"])) for group in groups],
        "weight_decay": [float(group.get("weight_decay", 0.0)) for group in groups],
    }


def description(trainer: Any) -> dict[str, Any]:
    """What ``config.yaml`` says of a training that was put together by hand, in addition to its settings."""
    group = {name: value for name, value in trainer.optimizer.param_groups[0].items() if name != "params"}
    plain = {name: value for name, value in group.items() if isinstance(value, (bool, int, float, str))}
    return {
        "optimizer_settings": plain,
        "model": dict(getattr(trainer.model, "model_config", {})) or type(trainer.model).__name__,
        "criterion": type(trainer.criterion).__name__,
        "batch_size": getattr(trainer.train_loader, "batch_size", None),
        "seed": trainer.seed,
    }

"""What the quantities of a history are called, and their units."""

from collections.abc import Iterable

__all__ = ["ALONE", "PARTS", "loss_unit", "name_of", "part_of", "title", "unit_of"]

PARTS = {"train": "training", "val": "validation"}
ALONE = ("learning_rate", "batches_per_second", "skipped_steps", "rollbacks")
"""Neither of training nor of validation data."""

_TITLES = {
    "loss": "Total loss",
    "recon_loss": "Reconstruction",
    "kl_loss": "KL divergence",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "auroc": "Area under the ROC curve",
    "mae": "Mean absolute error",
    "r2": "R2",
    "traffic": "Traffic",
    "classification": "Class of the traffic",
    "transmission": "Transmissions",
    "context": "Context",
    "learning_rate": "Learning rate",
    "batches_per_second": "Speed",
    "skipped_steps": "Skipped steps",
    "rollbacks": "Rollbacks",
}
_UNITS = {
    "accuracy": "%",
    "balanced_accuracy": "%",
    "traffic": "mean squared error",
    "classification": "cross-entropy, nats",
    "transmission": "cross-entropy, nats",
    "context": "mean squared error",
    "learning_rate": "",
    "batches_per_second": "batches per second",
    "skipped_steps": "steps since the start",
    "rollbacks": "since the start",
}
# Of the losses, known by what only one recipe measures with them.
_LOSS_UNITS = {"kl_loss": "nats per vector", "traffic": "weighted loss", "accuracy": "cross-entropy, nats"}


def part_of(column: str) -> str | None:
    """``train`` or ``val`` for the column of a history that is of one of them.

    >>> part_of("val_loss"), part_of("learning_rate")
    ('val', None)
    """
    part, separator, name = column.partition("_")
    return part if separator and name and part in PARTS else None


def name_of(column: str) -> str:
    """The quantity of a column, whatever data it is of."""
    part = part_of(column)
    return column if part is None else column.removeprefix(f"{part}_")


def title(name: str) -> str:
    """What a quantity is called in a picture; an unknown one as in the history."""
    return _TITLES.get(name, name)


def unit_of(name: str, unit: str) -> str:
    """The unit of a quantity; ``unit`` is that of the losses. It is unknown for a user's own metric."""
    return _UNITS.get(name, unit if name == "loss" or name.endswith("_loss") else "")


def loss_unit(columns: Iterable[str]) -> str:
    """The unit of the losses of a history with these columns; ``loss`` if nothing tells.

    >>> loss_unit(["train_loss", "train_kl_loss"]), loss_unit(["train_loss"])
    ('nats per vector', 'loss')
    """
    names = {name_of(column) for column in columns}
    return next((unit for name, unit in _LOSS_UNITS.items() if name in names), "loss")

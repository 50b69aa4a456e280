"""What a table's rows are predicted as: numbers or classes, found from the target."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.data.table_columns import as_numbers
from ignite_recipes.optional import polars as pl

__all__ = ["CLASSIFICATION", "REGRESSION", "TASKS", "TableTarget"]

REGRESSION, CLASSIFICATION = "regression", "classification"
TASKS = (REGRESSION, CLASSIFICATION)

MOST_NUMBERED = 20  # classes that are whole numbers; a target with more values is a quantity
LEAST_ROWS = 5  # on average, of such a class
MOST_CLASSES = 1000


class TableTarget:
    """The target of a table: its task, its classes or its scale.

    Text and booleans are classes, and so are whole numbers of at most 20 values, each in 5 rows on average; other
    numbers are quantities.

    Args:
        column: all values, none missing.
        task: ``"regression"`` or ``"classification"``; None finds it.

    Attributes:
        name: the name of the column.
        task: which of both.
        classes: the classes in ascending order; empty for numbers.
        mean, scale: of the numbers to train on: the network predicts ``(number - mean) / scale``.

    Raises:
        ValueError: if the column is constant, or holds text and is to be numbers, or more than 1000 classes.

    >>> import polars as pl
    >>> target = TableTarget(pl.Series("kind", ["b", "a", "b"]))
    >>> target.task, target.classes, target.encode(pl.Series(["a", "b"]))
    ('classification', ['a', 'b'], tensor([0, 1]))
    """

    def __init__(self, column: "pl.Series", task: str | None = None) -> None:
        if task is not None and task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, or None to find it; got {shown(task)}")
        self.name = column.name
        column = _plain(column)
        values = column.drop_nulls().unique().sort().to_list()
        if len(values) < 2:
            got = f"got {values[0]!r} in every row" if values else "it is missing in every row"
            raise ValueError(f"target {self.name!r} must have at least two values; {got}: choose another column")
        self.task = task or _task_of(values, len(column))
        self.classes: list[Any] = []
        self.mean, self.scale = 0.0, 1.0
        if self.task == CLASSIFICATION:
            self.classes = values
            if len(values) > MOST_CLASSES:
                raise ValueError(
                    f"target {self.name!r} must have at most {MOST_CLASSES} classes; got {len(values)} different "
                    f"values, e.g. {values[0]!r}: choose another column, or task 'regression' for numbers"
                )
        else:
            _numbers(column)

    @property
    def num_outputs(self) -> int:
        """How many outputs the network has, one for each class or a single one for numbers."""
        return len(self.classes) or 1

    def learn(self, column: "pl.Series") -> None:
        """Take mean and scale from the numbers to train on.

        Raises:
            ValueError: if they are constant.
        """
        if self.task == REGRESSION:
            numbers = _numbers(column)
            self.mean, self.scale = float(numbers.mean()), float(numbers.std())
            if not self.scale > 0:
                raise ValueError(
                    f"target {self.name!r} must have two values in the rows to train on; got {self.mean:g} in all of "
                    "them: split otherwise, or use more data"
                )

    def encode(self, column: "pl.Series") -> Tensor:
        """What the network is trained on: the numbers of classes (N,) int64, or scaled numbers (N, 1) float32.

        Raises:
            ValueError: for a value that is not a class.
        """
        if self.task == REGRESSION:
            return torch.from_numpy((_numbers(column) - self.mean) / self.scale).float()[:, None]
        number_of = {value: number for number, value in enumerate(self.classes)}
        values = _plain(column).to_list()
        if unknown := sorted({str(value) for value in values if value not in number_of}):
            raise ValueError(f"target {self.name!r} must hold the classes of training, {self.classes}; got {unknown}")
        return torch.tensor([number_of[value] for value in values])

    def true_values(self, column: "pl.Series") -> "pl.Series":
        """The values of the target as predictions have them: numbers, or classes."""
        return pl.Series("truth", _numbers(column)) if self.task == REGRESSION else _plain(column).alias("truth")

    def decode(self, outputs: Tensor) -> "dict[str, pl.Series]":
        """What outputs of the network (N, num_outputs) say: ``prediction``, and of classes ``p_<class>`` each."""
        outputs = outputs.double()
        if self.task == REGRESSION:
            return {"prediction": pl.Series("prediction", (outputs[:, 0] * self.scale + self.mean).numpy())}
        chances = outputs.softmax(1)
        chosen = pl.Series("prediction", self.classes).gather(pl.Series(chances.argmax(1).numpy()))
        named = {f"p_{value}": pl.Series(chances[:, k].numpy()) for k, value in enumerate(self.classes)}
        return {"prediction": chosen, **named}

    def state_dict(self) -> dict[str, Any]:
        """Plain values, for a checkpoint."""
        return dict(vars(self))

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "TableTarget":
        """The target that ``state_dict`` was taken of.

        Raises:
            ValueError: if it is not such a state.
        """
        kinds = {"name": str, "task": str, "classes": list, "mean": float, "scale": float}
        if set(state) != set(kinds) or not all(isinstance(state[name], kind) for name, kind in kinds.items()):
            raise ValueError(f"the state of a target must have {', '.join(kinds)}; got {dict(state)!r:.200}")
        if state["task"] not in TASKS or (state["task"] == CLASSIFICATION) != (len(state["classes"]) > 1):
            raise ValueError(f"a target must be of numbers or of at least two classes; got {dict(state)!r:.200}")
        target = cls.__new__(cls)
        vars(target).update(state)
        return target


def _plain(column: "pl.Series") -> "pl.Series":
    """Whole numbers as integers, text without spaces around it."""
    if column.dtype.is_float() and (column.drop_nulls() % 1 == 0).all() and not (column.abs() > 2**53).any():
        return column.cast(pl.Int64)
    if column.dtype.is_temporal():
        return column.cast(pl.String)
    return column.str.strip_chars() if column.dtype == pl.String else column


def _numbers(column: "pl.Series") -> NDArray[np.float64]:
    numbers = as_numbers(column)
    if numbers.null_count():
        got = column.filter(numbers.is_null())[0]
        raise ValueError(
            f"target {column.name!r} must hold numbers for regression; got {shown(got)}: correct it, or predict classes"
        )
    return numbers.to_numpy()


def _task_of(values: list[Any], num_rows: int) -> str:
    if not isinstance(values[0], (int, float)) or isinstance(values[0], bool):
        return CLASSIFICATION
    if isinstance(values[0], float):
        return REGRESSION
    few = len(values) <= MOST_NUMBERED and len(values) * LEAST_ROWS <= num_rows
    return CLASSIFICATION if few or len(values) == 2 else REGRESSION

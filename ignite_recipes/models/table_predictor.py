"""A model of a table with all that new rows need: preprocessing, classes, weights."""

import os
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint
from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.data.preprocessing import TablePreprocessor
from ignite_recipes.data.table_target import CLASSIFICATION, TableTarget
from ignite_recipes.data.tables import as_column, read_table
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.measures import NUMBER_MEASURES, class_measures, measured
from ignite_recipes.models.mlp import multilayer_perceptron
from ignite_recipes.models.names import checked_units
from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl

__all__ = ["TablePredictor", "table_state"]

_ROWS = 1 << 15  # at a time


class TablePredictor:
    """Predicts the target of new rows of a table; :func:`train_on_table` makes it, ``from_checkpoint`` reads it.

    Args:
        model: vectors (N, D) to outputs (N, classes), or (N, 1) for numbers.
        preprocessor: fitted; makes the vectors.
        target: gives the outputs their meaning.
        units: the units of columns and of the ``prediction``, by name.

    >>> import pandas as pd
    >>> from ignite_recipes import train_on_table
    >>> table = pd.DataFrame({"size": range(40), "kind": ["small"] * 20 + ["large"] * 20})
    >>> table = table.sample(frac=1, random_state=0)
    >>> predictor = train_on_table(table, "kind", epochs=30, verbose=False, device="cpu", seed=0)["predictor"]
    >>> predictor.predict(pd.DataFrame({"size": [3, 37]}))["prediction"].tolist()
    ['small', 'large']
    """

    kind: ClassVar[str] = "table"

    def __init__(
        self,
        model: nn.Module,
        preprocessor: TablePreprocessor,
        target: TableTarget,
        units: Mapping[str, str] | None = None,
    ) -> None:
        self.model, self.preprocessor, self.target, self.units = model, preprocessor, target, checked_units(units)
        self.trained: dict[str, Any] = {}

    @property
    def class_names(self) -> list[Any] | None:
        """The classes, in the order of the outputs; None for numbers."""
        return self.target.classes or None

    @property
    def feature_names(self) -> list[str]:
        """The names of what the network sees, in its order, which are more than the table's columns."""
        return self.preprocessor.feature_names

    def predict(self, data: Any) -> Any:
        """The predictions for each row, in their order.

        Args:
            data: as :func:`train_on_table` takes it; columns are found by their names, and others are ignored. The
                columns of an array (N, D) must be in the order of the training.

        Returns:
            A frame of pandas with the rows' index if ``data`` is one, else of polars: ``prediction``, and for classes
            ``p_<class>``, the probability of each.

        Raises:
            ValueError: naming a column that is missing, or holds text where training had numbers.
        """
        predicted = self.target.decode(self.outputs(read_table(data, self.text_columns)))
        if hasattr(data, "iloc"):
            columns = {name: column.to_numpy() for name, column in predicted.items()}
            return pd.DataFrame(columns, index=data.index)
        return pl.DataFrame(predicted)

    @property
    def text_columns(self) -> list[str]:
        """The columns of categories, which a file holds as text also where it looks like numbers."""
        use = self.preprocessor.use
        return [] if use is None else [*use.categories]

    def outputs(self, frame: "pl.DataFrame") -> Tensor:
        """The outputs of the network for each row of a table: (N, classes) or (N, 1), on the CPU."""
        self.preprocessor.check(frame)
        return self.outputs_of_checked(frame)

    def outputs_of_checked(self, frame: "pl.DataFrame") -> Tensor:
        """As :meth:`outputs`, of rows that were checked."""
        slices = (frame.slice(start, _ROWS) for start in range(0, frame.height, _ROWS))
        return torch.cat([self.outputs_of(self.preprocessor.vectors(part)) for part in slices])

    @torch.no_grad()
    def outputs_of(self, vectors: Tensor) -> Tensor:
        """The outputs of the network for vectors (N, D)."""
        model = unwrap(self.model)
        device = next(model.parameters()).device
        with in_evaluation_mode(model):
            return torch.cat([model(part.to(device)).float().cpu() for part in torch.split(vectors, _ROWS)])

    def evaluate(self, data: Any, target: Any = None) -> dict[str, float]:
        """Measure how good the predictions are on rows whose target is known.

        Args:
            data: rows as for ``predict``.
            target: their targets; None takes the target's column of ``data``.

        Returns:
            As ``metrics`` of :func:`train_on_table`.

        Raises:
            ValueError: if there is no target, or it holds an unknown class.
        """
        frame = read_table(data, self.text_columns)
        if target is None and self.target.name not in frame.columns:
            raise ValueError(f"data must have the target's column {self.target.name!r} to evaluate; pass target=...")
        column = frame[self.target.name] if target is None else as_column(target, self.target.name)
        known = column.is_not_null()
        return self.metrics(self.outputs(frame.filter(known)), self.target.encode(column.filter(known)))

    def metrics(self, outputs: Tensor, targets: Tensor) -> dict[str, float]:
        """How good outputs of the network are for encoded targets."""
        truth, predicted = self.comparable(outputs, targets)
        of_kind = class_measures(predicted.shape[1]) if self.target.classes else NUMBER_MEASURES
        return measured(of_kind, truth, predicted)

    def comparable(self, outputs: Tensor, targets: Tensor) -> tuple[NDArray[Any], NDArray[Any]]:
        """Targets (N,) and predictions in their units: the numbers, or the chances (N, classes)."""
        if self.target.task == CLASSIFICATION:
            return targets.numpy(), outputs.double().softmax(1).numpy()
        truth, guess = (x[:, 0].double().numpy() * self.target.scale + self.target.mean for x in (targets, outputs))
        return truth, guess

    def description(self) -> dict[str, Any]:
        """What a model file needs to make it again: the fitted numbers and names, as data."""
        state = self.preprocessor.state_dict()
        lists = {name: value.tolist() if isinstance(value, Tensor) else value for name, value in state.items()}
        return {"preprocessor": lists, "target": self.target.state_dict()}

    @classmethod
    def from_description(cls, model: nn.Module, description: Mapping[str, Any]) -> "TablePredictor":
        """Made again of a model file.

        Raises:
            ValueError, KeyError, TypeError: if the description is not one, or is of a network of other sizes.
        """
        state = {
            name: torch.tensor(value, dtype=torch.float64) if name in ("medians", "means", "scales") else value
            for name, value in description["preprocessor"].items()
        }
        preprocessor = TablePreprocessor()
        preprocessor.load_state_dict(state)
        target = TableTarget.from_state(description["target"])
        sizes = (description["architecture"] or {}).get("arguments", {})
        for name, wanted in {"input": len(preprocessor.feature_names), "output": target.num_outputs}.items():
            if sizes.get(f"{name}_dimension", wanted) != wanted:
                raise ValueError(f"the network must have the {name}_dimension {wanted} of its table; got {sizes}")
        return cls(model, preprocessor, target, description["units"])

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """The network, two vectors of the preprocessor, and what its outputs are."""
        return unwrap(self.model), (torch.randn(2, len(self.feature_names)),), ["outputs"]

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        model: nn.Module | None = None,
        device: str | torch.device | None = "cpu",
    ) -> "TablePredictor":
        """Read a checkpoint of :func:`train_on_table`, or of the command's experiment.

        Args:
            path: e.g. ``runs/exp1/checkpoints/best_model.pt``.
            model: a model of the architecture that was trained, if it was one of your own.
            device: where it predicts.

        Raises:
            FileNotFoundError, CheckpointError: if there is no such file, or it is not sound.
            ValueError: if it is not a checkpoint of a table, or of your own model and none is given.
        """
        state = table_state(read_checkpoint(path), path)
        preprocessor = TablePreprocessor()
        preprocessor.load_state_dict(state["preprocessor"])
        target = TableTarget.from_state(state["target"])
        if model is None and state["network"] is None:
            raise ValueError(f"{os.fspath(path)!r} holds a model of your own: pass model=, of the same architecture")
        if model is None:
            width = len(preprocessor.feature_names)
            model = multilayer_perceptron(width, target.num_outputs, **state["network"])
        load_checkpoint(path, model, averaged=None)
        return cls(move_model(model, as_device(device)), preprocessor, target)


def table_state(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> dict[str, Any]:
    """What a checkpoint knows of the table that it was trained on.

    Raises:
        CheckpointError: if it is of another recipe.
    """
    state = (contents.get("metadata") or {}).get("table")
    if not isinstance(state, dict):
        raise CheckpointError(
            f"{os.fspath(path)!r} is not a checkpoint of a table: it was not written by train_on_table"
        )
    return state

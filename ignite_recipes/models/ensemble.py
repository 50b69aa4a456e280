"""Several models as one: the mean of what they say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import listed
from ignite_recipes.data.preprocessing import say_unknown
from ignite_recipes.data.table_target import TableTarget
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.array_predictor import ArrayPredictor
from ignite_recipes.models.mean_of_models import MeanOfModels, mean_scores
from ignite_recipes.models.table_predictor import TablePredictor
from ignite_recipes.models.vector_embedder import VectorEmbedder
from ignite_recipes.models.window_predictor import WindowPredictor
from ignite_recipes.optional import polars as pl

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["TableEnsemble", "mean_of_predictors"]


class TableEnsemble(TablePredictor):
    """Models of one table's target, each with the preprocessing that it was trained with; their mean predicts.

    Of classes it is the mean of the probabilities, of numbers the mean of the numbers.

    Args:
        members: of one target.
        model: their networks, if they are in one module already.

    Raises:
        ValueError: if they predict different targets.
    """

    kind: ClassVar[str] = "tables"

    def __init__(self, members: Sequence[TablePredictor], model: MeanOfModels | None = None) -> None:
        first = members[0].target
        if any((one.target.name, one.target.classes) != (first.name, first.classes) for one in members):
            raise ValueError(
                f"the members of an ensemble must predict one target with the same classes; got "
                f"{listed([one.target.name for one in members])}"
            )
        target = TableTarget.from_state({**first.state_dict(), "mean": 0.0, "scale": 1.0})
        networks = [unwrap(one.model) for one in members]
        net = MeanOfModels(networks, of_classes=bool(first.classes)) if model is None else model
        super().__init__(net, members[0].preprocessor, target, members[0].units)
        self.members = list(members)

    @property
    def _networks(self) -> list[nn.Module]:
        model: Any = unwrap(self.model)
        return [*model.models]

    @property
    def text_columns(self) -> list[str]:
        """The columns of categories, of any member."""
        return list(dict.fromkeys(name for one in self.members for name in one.text_columns))

    @torch.no_grad()
    def outputs(self, frame: "pl.DataFrame") -> Tensor:
        """For each row the logarithms of the mean probabilities (N, classes), or the mean number (N, 1)."""
        for one, network in zip(self.members, self._networks, strict=True):
            one.model = network  # it may have been moved
        for one in self.members:
            one.preprocessor.check_readable(frame)
        say_unknown([one.preprocessor for one in self.members], frame)
        found = [one.outputs_of_checked(frame).double() for one in self.members]
        if self.target.classes:
            return mean_scores(torch.stack(found))
        scaled = zip(found, self.members, strict=True)
        return torch.stack([one * member.target.scale + member.target.mean for one, member in scaled]).mean(0)

    def outputs_of(self, vectors: Tensor) -> Tensor:
        """Refused: each member makes vectors of its own."""
        raise ValueError("an ensemble predicts rows of a table, of which each member makes vectors of its own")

    def description(self) -> dict[str, Any]:
        """What a model file needs to make it again."""
        return {"members": [one.description() for one in self.members], "target": self.target.state_dict()}

    @classmethod
    def from_description(cls, model: nn.Module, description: "Mapping[str, Any]") -> "TableEnsemble":
        """Made again of a model file."""
        if not isinstance(model, MeanOfModels) or len(model.models) != len(description["members"]):
            raise ValueError(f"the model must be a MeanOfModels of {len(description['members'])} networks")
        pairs = zip(model.models, description["members"], strict=True)
        made = {"architecture": None, "units": description["units"]}
        return cls([TablePredictor.from_description(net, {**made, **own}) for net, own in pairs], model)

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """Refused: there is no one vector that all networks take."""
        raise ValueError("an ensemble of a table's models has a preprocessing for each: export its members")


def mean_of_predictors(members: Sequence[Any]) -> Any:
    """What predicts the mean of what some predictors say, of their kind.

    Of classes it is the mean of the probabilities, of numbers the mean of the numbers; of a traffic predictor that of
    the path, the traffic and all probabilities.

    Raises:
        ValueError: for autoencoders, or predictors of different kinds.
    """
    first = members[0]
    if any(type(one) is not type(first) for one in members):
        raise ValueError(f"the members must be of one kind; got {listed({type(one).__name__ for one in members})}")
    if isinstance(first, VectorEmbedder):
        raise ValueError(
            "the latent dimensions of two autoencoders have nothing in common, so there is no mean of their "
            "embeddings: choose one of them"
        )
    if isinstance(first, TablePredictor):
        return TableEnsemble(members)
    of_classes = first.class_names is not None
    model = MeanOfModels([unwrap(one.model) for one in members], of_classes=of_classes)
    if isinstance(first, WindowPredictor):
        own = ("feature_names", "limits", "deadband", "flag_column", "time_column", "units")
        return WindowPredictor(model, **{name: getattr(first, name) for name in own})
    if any(one.class_names != first.class_names for one in members):
        raise ValueError("the members of an ensemble must have the same classes; theirs differ")
    names = ("class_names", "feature_names", "units", "input_shape")
    return ArrayPredictor(model, **{name: getattr(first, name) for name in names})

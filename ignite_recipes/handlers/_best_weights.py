"""The weights of a run's best epoch: kept in a copy, saved with the run, and put into the model when it ends."""

import logging
from typing import Any

from torch import Tensor, nn

from ignite_recipes.checkpoint.fit import misfits
from ignite_recipes.engine.weights import WeightSwap, copy_weights, load_weights, unwrap

__all__ = ["BestWeights"]

logger = logging.getLogger(__name__)


class BestWeights:
    """A copy of a model's weights and buffers, taken at its best epoch.

    Attributes:
        model: whose weights they are, without wrappers; None before it is known.
        swap: what puts them into the model while it is attached to an engine.
        weights: the copy; None before there is one.
    """

    def __init__(self) -> None:
        self.model: nn.Module | None = None
        self.swap: WeightSwap | None = None
        self.weights: dict[str, Any] | None = None

    def belong_to(self, model: nn.Module) -> None:
        """Name the model."""
        self.model = unwrap(model)

    def require_model(self) -> None:
        """Raise RuntimeError if the model is not known."""
        if self.model is None:
            raise RuntimeError(
                "EarlyStopping must know the model whose best weights it restores: "
                "call set_model(model) first, or pass restore_best_weights=False"
            )

    def keep(self) -> None:
        """The model's weights of now are the best ones."""
        if self.model is not None:
            self.weights = copy_weights(self.model, self.weights or {})

    def load_into_model(self, epoch: int | None) -> None:
        """Load the best weights, those of ``epoch``, into the model, by hand."""
        if self.model is not None and self._fit(epoch):
            load_weights(self.model, self.weights or {})

    def put_in(self, epoch: int | None) -> None:
        """Let the model have the best weights, those of ``epoch``, until the run continues."""
        if self.swap is not None and self._fit(epoch):
            self.swap.put_in(self.weights or {})

    def take_out(self) -> None:
        """Give the model the trained weights again: the run continues."""
        if self.swap is not None:
            self.swap.take_out()

    def _fit(self, epoch: int | None) -> bool:
        """Whether there are best weights, of the model as it is now."""
        if self.weights is None or self.model is None:
            return False
        changed = list(misfits(self.model, self.weights).values())
        if changed:
            logger.warning(
                "the model was changed after epoch %s, the best one, whose weights do not fit it now (%s): it keeps "
                "its last weights",
                epoch,
                "; ".join(changed[:3]),
            )
        return not changed

    def take_over(self, weights: dict[str, Any] | None) -> None:
        """Continue with a copy of saved ones, each on the device of the model's own."""
        own = {} if self.model is None else self.model.state_dict()
        devices = {name: value.device for name, value in own.items() if isinstance(value, Tensor)}
        self.weights = weights and {
            name: value.to(devices.get(name, value.device), copy=True) if isinstance(value, Tensor) else value
            for name, value in weights.items()
        }

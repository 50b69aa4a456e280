"""What a run of ours adds to Ignite's State."""

from collections.abc import Mapping
from typing import Any

from ignite.engine import State
from torch import Tensor

__all__ = ["TrainingState"]


class TrainingState(State):
    """Ignite's State and what our step adds to it.

    Attributes:
        inputs: what the model is about to be fed with; handlers of INPUTS_READY rewrite it.
        losses: what ``loss_fn`` returned, attached to the graph, until the step ends.
        num_samples: of the current batch, on all ranks together.
        grad_norm: the total gradient norm before clipping, once a handler has measured it in this step.
    """

    def __init__(self) -> None:
        super().__init__()
        self.inputs: Any = None
        self.losses: Mapping[str, Tensor] | None = None
        self.num_samples = 0
        self.grad_norm: Tensor | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "dataloader": None, "batch": None, "inputs": None, "losses": None}

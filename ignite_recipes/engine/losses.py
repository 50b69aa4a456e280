"""What a recipe differs by: the function that computes a batch's losses."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["LossFunction", "check_loss", "check_loss_function"]

LossFunction = Callable[[Any, Any, Any], Mapping[str, Tensor]]
"""``loss_fn(model, inputs, batch)`` gives a dict of 0-d tensors; the one named ``"loss"`` is minimised.

Its parameters may be annotated as narrowly as they are: the user's own class of model, its inputs, its batches.
"""


def check_loss_function(loss_fn: Any) -> None:
    """Raise TypeError unless it can be called."""
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be called as loss_fn(model, inputs, batch); got {loss_fn!r}")


def check_loss(losses: Any) -> Tensor:
    """The loss among what a loss function returned; TypeError if there is none, or it is not a single number."""
    loss = losses.get("loss") if isinstance(losses, Mapping) else None
    if not isinstance(loss, Tensor) or loss.dim() != 0:
        got = f"shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(losses).__name__
        raise TypeError(
            f"loss_fn must return a dict whose 'loss' is a tensor with a single number; got {got}: "
            "average over the samples, and name the result 'loss'"
        )
    if torch.is_grad_enabled() and not loss.requires_grad:
        raise TypeError("the loss must depend on the model's weights; got one without a gradient: do not detach it")
    return loss

"""The loss function, which is what recipes differ by, and its checks."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import shown
from ignite_recipes.loading.generators import held_by

__all__ = ["LossFunction", "check_loss", "check_loss_function", "modules_of"]

LossFunction = Callable[[Any, Any, Any], Mapping[str, Tensor]]
"""``loss_fn(model, inputs, batch)`` gives a dict of 0-d tensors; the one named ``"loss"`` is minimised.

``"outputs"`` and ``"targets"`` in it, of any kind, are no losses: an evaluator gives them to its metrics.

Its parameters may be annotated as narrowly as they are: the user's own class of model, its inputs, its batches.
"""


def check_loss_function(loss_fn: Any) -> None:
    """Raise TypeError unless it can be called."""
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be called as loss_fn(model, inputs, batch); got {shown(loss_fn)}")


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


def modules_of(loss_fn: LossFunction) -> list[nn.Module]:
    """The modules that a loss function computes with in addition to the model, e.g. a criterion, which has a mode too.

    They are found in its attributes, its closure and its arguments by ``partial``, not in global variables.

    >>> def loss_with(criterion):
    ...     return lambda model, inputs, batch: {"loss": criterion(model(inputs), batch[1])}
    >>> modules_of(loss_with(nn.MSELoss()))
    [MSELoss()]
    """
    if isinstance(loss_fn, nn.Module):
        return [loss_fn]
    return [part for part in held_by(loss_fn) if isinstance(part, nn.Module)]

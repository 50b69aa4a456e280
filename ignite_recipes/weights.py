"""A model's weights: copied, loaded, and exchanged for others for a while."""

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ignite_recipes.distributed import own_parts

__all__ = ["WeightSwap", "copy_weights", "load_weights", "unwrap"]


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside the wrappers of ``torch.compile`` and ``DistributedDataParallel``, whose names no file holds."""
    while True:
        if isinstance(model, DistributedDataParallel):
            model = model.module
        elif (inner := getattr(model, "_orig_mod", None)) is not None:
            model = inner
        else:
            return model


def copy_weights(model: nn.Module, kept: dict[str, Any]) -> dict[str, Any]:
    """Copy a model's weights and buffers into ``kept``, and into the memory of an earlier copy that it holds."""
    own = unwrap(model).state_dict()
    fits = [name for name, value in own.items() if _is_alike(value, kept.get(name))]
    if fits:
        torch._foreach_copy_(own_parts(kept[name] for name in fits), own_parts(own[name] for name in fits))
    for name in own.keys() - set(fits):
        value = own[name]
        kept[name] = value.detach().clone() if isinstance(value, Tensor) else copy.deepcopy(value)
    return {name: kept[name] for name in own}


def _is_alike(value: Any, other: Any) -> bool:
    if not isinstance(value, Tensor) or not isinstance(other, Tensor):
        return False
    return (value.shape, value.dtype, value.device) == (other.shape, other.dtype, other.device)


@torch.no_grad()
def load_weights(model: nn.Module, weights: Mapping[str, Any]) -> None:
    """As ``load_state_dict``, but in one operation for all tensors; ``weights`` must hold every name."""
    model = unwrap(model)
    own = model.state_dict(keep_vars=True)
    tensors = {id(tensor) for tensor in (*model.parameters(), *model.buffers())}
    if own and all(id(value) in tensors for value in own.values()):
        torch._foreach_copy_(own_parts(own.values()), own_parts(weights[name] for name in own))
    else:  # it has state that is no tensor, or that only its own load_state_dict knows how to load
        model.load_state_dict(weights)


class WeightSwap:
    """Other weights in a model for a while, and then its own again; in place. Meanwhile its own take a copy's memory.

    Args:
        model: whose parameters and buffers to overwrite; its optimizer and gradients are not touched.

    Attributes:
        is_in: whether the model holds other weights at the moment.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = unwrap(model)
        self.is_in = False
        self._own: dict[str, Any] = {}

    def put_in(self, weights: Mapping[str, Any]) -> None:
        """Load ``weights`` into the model; its own are kept the first time, and not those that come in between."""
        if not self.is_in:
            self._own = copy_weights(self.model, {})
            self.is_in = True
        load_weights(self.model, weights)

    def take_out(self) -> None:
        """Put the model's own weights back, if it holds others."""
        if self.is_in:
            load_weights(self.model, self._own)
            self.forget()

    def forget(self) -> None:
        """What the model holds now are its own weights."""
        self.is_in, self._own = False, {}

    def own_weights(self) -> dict[str, Any]:
        """The state dict that the model has without other weights in it; like torch's, not a copy."""
        weights = self.model.state_dict()
        if self.is_in:
            weights.update(self._own)
        return weights

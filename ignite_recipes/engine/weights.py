"""A model's weights: copied, loaded, and exchanged for others for a while."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ignite_recipes.engine.places import Place, tensor_at, weight_places
from ignite_recipes.exchange.sharded import local_tensors

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
    """Copy a model's weights and buffers into ``kept``, reusing its tensors."""
    own = unwrap(model).state_dict()
    fits = [name for name, value in own.items() if _is_alike(value, kept.get(name))]
    if fits:
        torch._foreach_copy_(local_tensors(kept[name] for name in fits), local_tensors(own[name] for name in fits))
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
        torch._foreach_copy_(local_tensors(own.values()), local_tensors(weights[name] for name in own))
    else:  # it has state that is not a tensor, or that only its own load_state_dict knows how to load
        model.load_state_dict(weights)


class WeightSwap:
    """Other weights in a model for a while, and then its own again; in place. Its own are kept in a copy meanwhile.

    A trainer's ``weights`` is one. A handler of EPOCH_TRAINED decides on which weights the epoch is measured, one of
    RUN_TRAINED or COMPLETED with which the model leaves the run; the last handler wins. The trained ones come back by
    themselves: after METRICS_READY, before an exception reaches anybody, and when the run continues. Weights that
    you load into the model meanwhile are lost: call :meth:`take_out` first.

    Args:
        model: whose parameters and buffers to overwrite; its optimizer and gradients are not touched.
        then: called with the model after other weights were put in.

    Attributes:
        is_in: whether the model holds other weights at the moment.
    """

    def __init__(self, model: nn.Module, then: Callable[[nn.Module], object] | None = None) -> None:
        self.model, self._then = unwrap(model), then
        self.is_in = False
        self._own: dict[str, Any] = {}
        self._places: dict[str, Place] = {}  # where they were

    def put_in(self, weights: Mapping[str, Any]) -> None:
        """Load ``weights`` of all names of the state dict into the model; its own are kept the first time."""
        if not self.is_in:
            self._own, self._places = copy_weights(self.model, {}), weight_places(self.model)
            self.is_in = True
        load_weights(self.model, weights)
        if self._then is not None:
            self._then(self.model)

    def take_out(self) -> None:
        """Put the model's own weights back, if it holds others; a layer that was replaced meanwhile stays as it is."""
        if self.is_in:
            load_weights(self.model, self.own_weights())
            self.forget()

    def forget(self) -> None:
        """What the model holds now are its own weights."""
        self.is_in, self._own, self._places = False, {}, {}

    def own_weights(self) -> dict[str, Any]:
        """The state dict that the model has without other weights in it; like torch's, not a copy."""
        weights = self.model.state_dict()
        if self.is_in:
            now = weight_places(self.model)
            weights.update({name: value for name, value in self._own.items() if self._is_there(name, value, now)})
        return weights

    def _is_there(self, name: str, value: Any, now: Mapping[str, Place]) -> bool:
        """Whether the model still has this entry in the same place, and in the same shape."""
        if name not in self._places:  # not a tensor of a module, e.g. a state that it makes itself
            return name not in now
        place = now.get(name)
        return place is not None and place[0] is self._places[name][0] and tensor_at(place).shape == value.shape

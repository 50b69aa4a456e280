"""A model's buffers, kept so that a step that is dropped can give them back."""

import torch
from torch import Tensor, nn

from ignite_recipes.engine.places import Place, buffer_places, tensor_at

__all__ = ["RunningStatistics"]


class RunningStatistics:
    """Copies of a model's buffers, e.g. of batch norm.

    A module may change a buffer in place, or put another tensor in its place (``self.mean = new``).

    Args:
        model: None has no buffers.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.model = model
        self._own: list[Tensor] = []  # the buffers when they were copied
        self._copies: list[Tensor] = []
        self._places: list[Place] = []
        self.find()

    def find(self) -> None:
        """Look for the buffers, which a module that was added may have too."""
        self._places = [] if self.model is None else buffer_places(self.model)

    def keep(self) -> None:
        """Copy them as they are now."""
        try:
            self._own = [tensor_at(place) for place in self._places]
        except KeyError:
            self.find()
            self._own = [tensor_at(place) for place in self._places]
        if [(a.shape, a.dtype) for a in self._own] == [(b.shape, b.dtype) for b in self._copies]:
            if self._copies:
                torch._foreach_copy_(self._copies, self._own)
        else:
            self._copies = [buffer.detach().clone() for buffer in self._own]

    @torch.no_grad()
    def put_back(self, where: Tensor | None = None) -> None:
        """Put the copies back; with a flag on the device, only where it is set."""
        for place, own, copy in zip(self._places, self._own, self._copies, strict=True):
            tensors, name = place
            now = tensors.get(name)
            if where is None or not isinstance(now, Tensor) or now.shape != copy.shape:
                if where is None or where:  # of another shape nothing can be chosen on the device
                    tensors[name] = own.copy_(copy)
            elif now is own:
                own.copy_(torch.where(where, copy, own))
            else:
                tensors[name] = torch.where(where, copy, now.detach())

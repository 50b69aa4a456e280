"""A model's buffers, kept so that a window that is not trained can give them back."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ignite_recipes.engine.places import ModuleTree, Place, buffer_places, is_lazy, tensor_at

__all__ = ["RunningStatistics"]


class RunningStatistics:
    """Copies of a model's buffers, e.g. of batch norm, as they were before an accumulation window.

    A forward pass changes them before anybody can know whether its step will be taken. A module may change a buffer in
    place, or put another tensor in its place (``self.mean = new``).

    Args:
        model: whose buffers they are.
        among_several: whether other updates compute with the model too: then only those buffers are put back that have
            changed inside :meth:`watching`, so that what the others' batches have changed stays.

    Attributes:
        is_kept: whether there are copies.
    """

    def __init__(self, model: nn.Module, *, among_several: bool = False) -> None:
        self.model, self._is_among_several = model, among_several
        self._changed: set[int] = set()  # numbers of the places
        self._places: list[Place] = []
        self._tree: ModuleTree | None = None  # None: the buffers are still to be looked for
        self._own: list[Tensor] = []  # the buffers when they were copied
        self._copies: list[Tensor] = []
        self.is_kept = False

    def find(self) -> None:
        """Look for the buffers at the next opportunity: there may be others now."""
        self._tree = None

    def keep(self) -> None:
        """Copy them as they are now."""
        if self._tree is None or self._tree.has_changed():
            self._look()
        if not self._places:
            return
        try:
            self._own = [tensor_at(place) for place in self._places]
        except KeyError:
            self._look()
            self._own = [tensor_at(place) for place in self._places]
        if [(a.shape, a.dtype) for a in self._own] == [(b.shape, b.dtype) for b in self._copies]:
            if self._copies:
                torch._foreach_copy_(self._copies, self._own)
        else:
            self._copies = [buffer.detach().clone() for buffer in self._own]
        self.is_kept = True
        self._changed = set()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside the block an update computes with the model."""
        if not self._is_among_several or not self.is_kept:
            yield
            return
        before = self._versions()
        try:
            yield
        finally:
            now = self._versions()
            self._changed |= {k for k, pair in enumerate(zip(before, now, strict=False)) if pair[0] != pair[1]}

    def _versions(self) -> list[tuple[int, int]]:
        found = (tensors.get(name) for tensors, name in self._places)
        return [(id(tensor), -1 if tensor is None else tensor._version) for tensor in found]

    def _look(self) -> None:
        self._places, self.is_kept = [], False
        if not is_lazy(self.model):
            self._places, self._tree = buffer_places(self.model), ModuleTree(self.model)

    @torch.no_grad()
    def put_back(self, where: Tensor | None = None) -> None:
        """Put the copies back, if there are some; with a flag on the device, only where it is set."""
        if not self.is_kept:
            return
        for number, (place, own, copy) in enumerate(zip(self._places, self._own, self._copies, strict=True)):
            if self._is_among_several and number not in self._changed:
                continue
            tensors, name = place
            now = tensors.get(name)
            if where is None or not isinstance(now, Tensor) or now.shape != copy.shape:
                if where is None or where:  # of another shape nothing can be chosen on the device
                    own.data.copy_(copy)  # the backward pass of another update may still need the buffer's graph
                    tensors[name] = own
            elif now is own:
                own.data.copy_(torch.where(where, copy, own))
            else:
                tensors[name] = torch.where(where, copy, now.detach())

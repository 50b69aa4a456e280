"""A model's buffers, kept so that a step that is dropped can give them back."""

import torch
from torch import Tensor, nn

__all__ = ["RunningStatistics"]


class RunningStatistics:
    """Copies of a model's buffers, e.g. of batch norm.

    Args:
        model: None has no buffers.
    """

    def __init__(self, model: nn.Module | None = None) -> None:
        self.buffers = [] if model is None else list(model.buffers())
        self._kept: list[Tensor] = []

    def keep(self) -> None:
        """Copy them as they are now."""
        if self._kept:
            torch._foreach_copy_(self._kept, self.buffers)
        else:
            self._kept = [buffer.clone() for buffer in self.buffers]

    def put_back(self, where: Tensor | None = None) -> None:
        """Put the copies back; with a flag on the device, only where it is set."""
        for buffer, kept in zip(self.buffers, self._kept, strict=True):
            buffer.copy_(kept if where is None else torch.where(where, kept, buffer))

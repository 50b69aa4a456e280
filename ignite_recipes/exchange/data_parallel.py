"""Every rank has the whole model and a part of each batch; gradients are averaged."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ignite_recipes.exchange.averaging import LossAverage, count_over_ranks
from ignite_recipes.exchange.ranks import rank_key, world_size

__all__ = ["DataParallel", "broadcast"]


class DataParallel:
    """The model in torch's ``DistributedDataParallel``; see :class:`~ignite_recipes.exchange.protocol.Exchange`.

    A model that comes in that wrapper already is used as it is. Where several updates train a part of it each, torch's
    wrapper cannot know which gradients come: they are averaged before the optimizer's step instead.
    """

    can_repeat_forward = True

    def __init__(self, model: nn.Module, device: torch.device, *, trains: bool = True, overlaps: bool = True) -> None:
        self.world_size, self.key = world_size(), rank_key()
        self.model, self.device = model, device
        self._is_wrapped = any(isinstance(module, DistributedDataParallel) for module in model.modules())
        self._overlaps = overlaps or self._is_wrapped
        self.gradients_are_local = not self._overlaps
        if trains and not self._overlaps:
            broadcast(model.parameters())
        self._wrapper: Any = self._wrap() if trains and self._overlaps and not self._is_wrapped else model
        self._trained = _trained(model)
        self._is_exchanged = self._overlaps  # the gradients of the current window, so far

    def _wrap(self) -> DistributedDataParallel:
        devices = None if self.device.type == "cpu" else [self.device]
        return DistributedDataParallel(_Losses(self.model), device_ids=devices)

    def count(self, num_samples: int, part: Any, *, by_length: bool) -> tuple[int, float]:
        """Asks the other ranks only where the loader does not know."""
        return count_over_ranks(num_samples, part, by_length, self.world_size)

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Gradients stay on their rank in all batches of a window but the last."""
        if not self._overlaps:
            self._is_exchanged = False
            broadcast(self.model.buffers())  # as the wrapper does before a forward pass
            return nullcontext()
        if not self._is_wrapped and self._trained != (trained := _trained(self.model)):  # frozen or thawed since
            self._wrapper, self._trained = self._wrap(), trained
        self._is_exchanged = is_last
        return nullcontext() if is_last else self._wrapper.no_sync()

    def forward(self, losses: Callable[..., Any], model: nn.Module, inputs: Any, batch: Any) -> Any:
        """Through the wrapper, which exchanges only the gradients of what went through it."""
        if self._wrapper is model:
            return losses(model, inputs, batch)
        return self._wrapper(losses, inputs, batch)

    def begin_average(self, losses: Mapping[str, Any], share: float) -> LossAverage:
        """Weighted by each rank's share."""
        return LossAverage(losses, share)

    def end_average(self, begun: LossAverage) -> dict[str, Tensor]:
        """Waits for the other ranks."""
        return begun.result()

    @torch.no_grad()
    def finish_gradients(self, gradients: Callable[[], Iterable[Tensor]]) -> None:
        """Average what no backward pass has averaged."""
        if self._is_exchanged:
            return
        for gradient in gradients():
            dist.all_reduce(gradient)
            gradient /= self.world_size

    def broadcast_buffers(self, model: nn.Module) -> None:
        """From rank 0."""
        broadcast(model.buffers())

    def full(self, value: Any) -> Any:
        """Every rank has it whole."""
        return value

    def local(self, value: Any, like: Any) -> Any:
        """Every rank has it whole."""
        return value


class _Losses(nn.Module):
    """A model's losses as a module of its own, so that a loss function may call any method of the model.

    ``DistributedDataParallel`` exchanges gradients only if the forward pass was called through it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Callable[..., Any], inputs: Any, batch: Any) -> Any:
        return losses(self.model, inputs, batch)


@torch.no_grad()
def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give every rank the parameters or buffers of rank 0."""
    for tensor in tensors:
        first = tensor.detach().contiguous()
        dist.broadcast(first, 0)
        if first.data_ptr() != tensor.data_ptr():
            tensor.copy_(first)


def _trained(model: nn.Module) -> list[bool]:
    return [parameter.requires_grad for parameter in model.parameters()]

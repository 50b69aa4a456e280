"""Every rank holds a part of each parameter, as torch's ``fully_shard`` does it, and a part of each batch."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.exchange.averaging import LossAverage, count_over_ranks
from ignite_recipes.exchange.data_parallel import broadcast
from ignite_recipes.exchange.ranks import rank_key, world_size

__all__ = ["Sharded", "full_value", "is_sharded", "local_tensors"]


class Sharded:
    """A model that exchanges its gradients by itself; see :class:`~ignite_recipes.exchange.protocol.Exchange`."""

    gradients_are_local = False
    can_repeat_forward = False  # every rank's part of the parameters is needed

    def __init__(self, model: nn.Module, device: torch.device, *, trains: bool = True) -> None:
        self.world_size, self.key, self.model = world_size(), rank_key(), model
        self._is_exchanged = True

    def count(self, num_samples: int, part: Any, *, by_length: bool) -> tuple[int, float]:
        """Asks the other ranks only where the loader does not know."""
        return count_over_ranks(num_samples, part, by_length, self.world_size)

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Tells the model's own exchange whether to take place in the next backward pass."""
        for module in self.model.modules():
            if callable(exchange := getattr(module, "set_requires_gradient_sync", None)):
                exchange(is_last)
        self._is_exchanged = is_last
        return nullcontext()

    def forward(self, losses: Callable[..., Any], model: nn.Module, inputs: Any, batch: Any) -> Any:
        """The model gathers its parameters as it needs them."""
        return losses(model, inputs, batch)

    def begin_average(self, losses: Mapping[str, Any], share: float) -> LossAverage:
        """Weighted by each rank's share."""
        return LossAverage(losses, share)

    def end_average(self, begun: LossAverage) -> dict[str, Tensor]:
        """Waits for the other ranks."""
        return begun.result()

    def finish_gradients(self, gradients: Callable[[], Iterable[Tensor]]) -> None:
        """Cannot be done afterwards: a sharded model keeps such gradients to itself.

        Raises:
            RuntimeError: if the last batch of the window did not exchange them.
        """
        if not self._is_exchanged:
            raise RuntimeError(
                "an accumulation window of a sharded model must end with the batch that fills it, or with the epoch's "
                "last one; this one was cut short: do not end epochs early, or set accumulation_steps=1"
            )

    def broadcast_buffers(self, model: nn.Module) -> None:
        """From rank 0."""
        broadcast(model.buffers())

    def full(self, value: Any) -> Any:
        """With sharded tensors gathered on every rank."""
        return full_value(value)

    def local(self, value: Any, like: Any) -> Any:
        """With tensors sharded as those of ``like``."""
        if hasattr(like, "full_tensor"):
            from torch.distributed.tensor import distribute_tensor

            return distribute_tensor(value, like.device_mesh, like.placements)
        if isinstance(value, dict) and isinstance(like, Mapping):
            copy = value.copy()
            copy.update({key: self.local(item, like[key]) if key in like else item for key, item in value.items()})
            return copy
        return value


def is_sharded(model: nn.Module) -> bool:
    """Whether each rank holds a part of the parameters only."""
    return any(hasattr(parameter, "device_mesh") for parameter in model.parameters())


def local_tensors(tensors: Iterable[Tensor]) -> list[Tensor]:
    """The part of each sharded tensor that this rank holds, and the other tensors as they are."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def full_value(value: Any) -> Any:
    """The value with every sharded tensor in it put together; all ranks must ask for it."""
    if hasattr(value, "full_tensor"):
        return value.full_tensor()
    if isinstance(value, dict):
        copy = value.copy()  # keeps what torch notes on a module's state dict
        copy.update({key: full_value(item) for key, item in value.items()})
        return copy
    if type(value) in (list, tuple):
        return type(value)(map(full_value, value))
    return value

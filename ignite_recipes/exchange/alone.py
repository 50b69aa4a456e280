"""A single process: nothing to exchange, at no cost."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.exchange.averaging import losses_in

__all__ = ["Alone"]

_NOTHING: AbstractContextManager[Any] = nullcontext()


class Alone:
    """The only process of a run; see :class:`~ignite_recipes.exchange.protocol.Exchange`."""

    world_size = 1
    key: tuple[int, ...] = ()
    gradients_are_local = False
    can_repeat_forward = True

    def __init__(self, model: nn.Module, device: torch.device, *, trains: bool = True) -> None:
        pass

    def count(self, num_samples: int, part: Any, *, by_length: bool) -> tuple[int, float]:
        """All of the batch."""
        return num_samples, 1.0

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """Nothing happens at its ends."""
        return _NOTHING

    def forward(self, losses: Callable[..., Any], model: nn.Module, inputs: Any, batch: Any) -> Any:
        """The losses as they are."""
        return losses(model, inputs, batch)

    def begin_average(self, losses: Mapping[str, Any], share: float) -> Any:
        """The losses themselves."""
        return losses_in(losses)

    def end_average(self, begun: Any) -> dict[str, Tensor]:
        """The losses, detached."""
        return {name: torch.as_tensor(value).detach() for name, value in begun.items()}

    def finish_gradients(self, gradients: Callable[[], Iterable[Tensor]]) -> None:
        """They are whole."""

    def broadcast_buffers(self, model: nn.Module) -> None:
        """There is nobody else."""

    def full(self, value: Any) -> Any:
        """The value."""
        return value

    def local(self, value: Any, like: Any) -> Any:
        """The value."""
        return value

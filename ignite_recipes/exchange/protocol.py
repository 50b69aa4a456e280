"""The one interface that the step, the trainer and the evaluator have to the other ranks of a run."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol

from torch import Tensor, nn

__all__ = ["Exchange"]


class Exchange(Protocol):
    """What a rank does together with the others in a training step; alone it does nothing.

    Attributes:
        world_size: how many ranks train together.
        key: numbers that make this rank's seeds differ from those of others; none on rank 0, which draws what a
            single process draws.
        gradients_are_local: whether somebody must call :meth:`finish_gradients` before an optimizer's step.
        can_repeat_forward: whether one rank may compute a forward pass by itself, without the others.
    """

    world_size: int
    key: tuple[int, ...]
    gradients_are_local: bool
    can_repeat_forward: bool

    def count(self, num_samples: int, part: Any, *, by_length: bool) -> tuple[int, float]:
        """The samples of the whole batch, and the fraction of them that this rank counts for.

        Args:
            num_samples: the samples of this rank's part of the batch.
            part: what the loader knows of that part, or None where it does not share batches between ranks.
            by_length: whether samples are counted as the loader counts them.
        """
        ...

    def batch(self, *, is_last: bool) -> AbstractContextManager[Any]:
        """A context in which one batch is computed; gradients are exchanged in the last one of a window."""
        ...

    def forward(self, losses: Callable[..., Any], model: nn.Module, inputs: Any, batch: Any) -> Any:
        """The losses of this rank's part of the batch, such that ``backward`` exchanges their gradients."""
        ...

    def begin_average(self, losses: Mapping[str, Any], share: float) -> Any:
        """Start to average the losses over the ranks, while ``backward`` runs."""
        ...

    def end_average(self, begun: Any) -> dict[str, Tensor]:
        """The averages, detached, on the device."""
        ...

    def finish_gradients(self, gradients: Callable[[], Iterable[Tensor]]) -> None:
        """Exchange the gradients of a window that no backward pass has exchanged, if there are such."""
        ...

    def broadcast_buffers(self, model: nn.Module) -> None:
        """Give every rank the buffers of rank 0, e.g. running statistics."""
        ...

    def full(self, value: Any) -> Any:
        """The value with every sharded tensor in it put together; all ranks must ask for it."""
        ...

    def local(self, value: Any, like: Any) -> Any:
        """The reverse: ``value`` with its tensors sharded as those at the same places of ``like``."""
        ...

"""An accumulation window: the batches between two optimizer steps."""

from torch import Tensor

__all__ = ["Window"]


class Window:
    """What the batches since the last optimizer step have come to.

    The window's gradient is that of the mean over all of its samples: each loss is multiplied by its batch's number of
    samples before ``backward``, and the sum of gradients divided by the sum of these numbers before clipping. The
    numbers are in units of the window's first batch, because float16 gradients of a loss times 128 would overflow.

    Args:
        length: batches per optimizer step.

    Attributes:
        losses: the losses of the batches so far, detached, on the device.
        weight: the sum that the gradients are to be divided by.

    >>> window = Window(2)
    >>> [window.weigh(num_samples) for num_samples in (4, 2)], window.weight
    ([1.0, 0.5], 1.5)
    """

    def __init__(self, length: int) -> None:
        self.length = length
        self.clear()

    def clear(self) -> None:
        """Begin the next one."""
        self.losses: list[Tensor] = []
        self.weight, self._first_size = 0.0, 0

    @property
    def is_open(self) -> bool:
        """Whether gradients of some batches wait for the others."""
        return bool(self.losses)

    @property
    def is_weighted(self) -> bool:
        """Whether the gradients are still to be divided by ``weight``; of a window of one batch they are not."""
        return self.weight not in (0.0, 1.0)

    def weigh(self, num_samples: int) -> float:
        """The weight of the next batch's loss."""
        if self.length == 1:
            return 1.0
        self._first_size = self._first_size or num_samples or 1
        weight = num_samples / self._first_size
        self.weight += weight
        return weight

"""What an evaluator gives to its metrics."""

from typing import Any, NamedTuple

from torch import Tensor

__all__ = ["Predictions", "detached"]


class Predictions(NamedTuple):
    """What a batch has come to, for metrics.

    Attributes:
        outputs, targets: of this rank's part of the batch, on the device, detached.
        num_samples: the number of samples of this part; 0 where the whole batch has none.
        counts: whether this rank counts it: of a batch too small to be shared all ranks have all samples.
    """

    outputs: Any
    targets: Any
    num_samples: int
    counts: bool = True


def detached(value: Any) -> Any:
    """Tensors, in tuples and dicts too, without their graph."""
    if isinstance(value, Tensor):
        return value.detach()
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(detached, value))
    if type(value) in (list, tuple):
        return type(value)(map(detached, value))
    return {name: detached(item) for name, item in value.items()} if isinstance(value, dict) else value

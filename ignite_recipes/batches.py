"""What can be done with a batch whatever it is made of: tensors in lists, tuples and mappings."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["count_samples", "first_item", "to_device"]


def first_item(batch: Any) -> Any:
    """What the model is fed with: a tuple's or list's first item, any other batch as it is."""
    return batch[0] if isinstance(batch, (list, tuple)) else batch


def count_samples(batch: Any) -> int:
    """The number of samples in a batch: the length of the first tensor found in it.

    Raises:
        TypeError: if there is none; say how to count with the ``batch_size`` keyword then.
    """
    if isinstance(batch, Tensor) and batch.dim() > 0:
        return len(batch)
    if isinstance(batch, (list, tuple)) and batch:
        return count_samples(batch[0])
    if isinstance(batch, Mapping) and batch:
        return count_samples(next(iter(batch.values())))
    raise TypeError(
        f"a batch must hold a tensor whose length is its number of samples; got {type(batch).__name__}: "
        "say how to count with the keyword batch_size=lambda batch: ..."
    )


def to_device(batch: Any, device: torch.device) -> Any:
    """The batch with every tensor in it on ``device``: tensors, and lists, tuples and mappings of them.

    A batch that is there already is returned as it is. Copies from pinned memory do not wait.
    """
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=True)
    if isinstance(batch, tuple) and hasattr(batch, "_fields"):  # a named tuple
        return type(batch)(*(to_device(item, device) for item in batch))
    if isinstance(batch, (list, tuple)):
        return type(batch)(to_device(item, device) for item in batch)
    if isinstance(batch, Mapping):
        return {name: to_device(item, device) for name, item in batch.items()}
    return batch

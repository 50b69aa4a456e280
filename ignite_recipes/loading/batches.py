"""What can be done with a batch whatever it is made of: tensors in lists, tuples and mappings."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["count_samples", "digest", "first_item", "tensors_in", "to_device"]


def first_item(batch: Any) -> Any:
    """What the model is fed with: a tuple's or list's first item, any other batch as it is."""
    return batch[0] if isinstance(batch, (list, tuple)) else batch


def count_samples(batch: Any) -> int:
    """The number of samples in a batch: the length of the first tensor found in it.

    Raises:
        TypeError: if there is none; a trainer can be told how to count with ``batch_size=``.
    """
    for tensor in tensors_in(batch):
        if tensor.dim() > 0:
            return len(tensor)
    raise TypeError(
        f"a batch must hold a tensor whose length is its number of samples; got {type(batch).__name__}: "
        "say how to count with create_trainer(..., batch_size=lambda batch: ...)"
    )


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples and mappings, in their order."""
    if isinstance(batch, Tensor):
        yield batch
    elif isinstance(batch, (list, tuple, Mapping)):
        for item in batch.values() if isinstance(batch, Mapping) else batch:
            yield from tensors_in(item)


def digest(batch: Any) -> str:
    """A fingerprint of a batch's dense tensors: of shapes, types and every bit."""
    fingerprint = hashlib.blake2b(digest_size=8)
    for tensor in tensors_in(batch):
        if tensor.layout != torch.strided:
            continue
        bits = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
        fingerprint.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        fingerprint.update(bits.numpy().data)
    return fingerprint.hexdigest()


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

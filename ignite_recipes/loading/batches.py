"""What can be done with a batch whatever it is made of: tensors in lists, tuples, mappings and data classes."""

import copy
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

__all__ = ["Transfer", "count_samples", "digest", "first_item", "tensors_in", "to_device", "versions"]

Transfer = Callable[[Any, torch.device, bool], Any]
"""``prepare_batch(batch, device, non_blocking)`` gives the batch on the device, as Ignite's own does."""


def first_item(batch: Any) -> Any:
    """What the model is fed with: a tuple's or list's first item, any other batch as it is."""
    return batch[0] if isinstance(batch, (list, tuple)) and not isinstance(batch, PackedSequence) else batch


def count_samples(batch: Any) -> int:
    """The number of samples in a batch: the length of the first tensor found in it.

    Of a ``PackedSequence`` it is the number of its sequences.

    Raises:
        TypeError: if there is none; a trainer can be told how to count with ``batch_size=``.
    """
    for part in _parts_of(batch):
        if isinstance(part, PackedSequence):
            return int(part.batch_sizes[0])
        if part.dim() > 0:
            return len(part)
    raise TypeError(
        f"a batch must hold a tensor whose length is its number of samples; got {type(batch).__name__}: "
        "say how to count with create_trainer(..., batch_size=lambda batch: ...)"
    )


def tensors_in(batch: Any) -> Iterator[Tensor]:
    """Every tensor in nested lists, tuples, mappings and data classes, in their order."""
    for part in _parts_of(batch):
        yield part.data if isinstance(part, PackedSequence) else part


def _parts_of(batch: Any) -> Iterator[Any]:
    if isinstance(batch, (Tensor, PackedSequence)):
        yield batch
    elif isinstance(batch, (list, tuple)):
        for item in batch:
            yield from _parts_of(item)
    elif isinstance(batch, Mapping):
        for item in batch.values():
            yield from _parts_of(item)
    elif dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        for field in dataclasses.fields(batch):
            yield from _parts_of(getattr(batch, field.name))


def digest(batch: Any) -> str:
    """A fingerprint of a batch's dense tensors: of shapes, types and every bit."""
    fingerprint = hashlib.blake2b(digest_size=8)
    for tensor in tensors_in(batch):
        if tensor.layout != torch.strided:
            continue
        plain = tensor.detach().cpu().resolve_conj().resolve_neg()  # not only marked as conjugate or negative
        bits = plain.contiguous().flatten().view(torch.uint8)
        fingerprint.update(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
        fingerprint.update(bits.numpy().data)
    return fingerprint.hexdigest()


def versions(batch: Any) -> tuple[int, ...]:
    """How often each tensor of a batch was changed in place so far."""
    is_flat = type(batch) in (list, tuple) and all(type(item) is Tensor for item in batch)
    tensors = batch if is_flat else tensors_in(batch)
    return tuple([0 if tensor.is_inference() else tensor._version for tensor in tensors])


def to_device(batch: Any, device: torch.device, non_blocking: bool = True) -> Any:
    """The batch with every tensor in it on ``device``, in containers of the same types.

    Tensors, and whatever has a ``to`` of its own, move by it: packed sequences, the batches of other libraries. Lists,
    tuples, named tuples, mappings, data classes and their subclasses are rebuilt around what has moved. Other objects
    stay as they are. A tensor that is there already is returned as it is; copies from pinned memory do not wait.

    Args:
        batch: anything that a loader yields.
        device: where to.
        non_blocking: whether copies from pinned memory may still be on their way.
    """
    if isinstance(batch, Tensor):
        return batch if batch.device == device else batch.to(device, non_blocking=non_blocking)
    if type(batch) in (list, tuple):  # nearly all are
        return type(batch)([to_device(item, device, non_blocking) for item in batch])
    if callable(move := getattr(batch, "to", None)) and not isinstance(batch, type):
        try:
            return move(device, non_blocking=non_blocking)
        except TypeError:  # one that takes the device only
            return move(device)
    if isinstance(batch, (list, tuple)):
        return _like(batch, [to_device(item, device, non_blocking) for item in batch])
    if isinstance(batch, Mapping):
        return _like_mapping(batch, {name: to_device(item, device, non_blocking) for name, item in batch.items()})
    if dataclasses.is_dataclass(batch) and not isinstance(batch, type):
        moved = copy.copy(batch)
        for field in dataclasses.fields(batch):  # not replace(), which would run __post_init__ once more
            object.__setattr__(moved, field.name, to_device(getattr(batch, field.name), device, non_blocking))
        return moved
    return batch


def _like(batch: Any, items: list[Any]) -> Any:
    """A list or tuple of the batch's own type with other items."""
    if isinstance(batch, tuple):
        return batch._make(items) if hasattr(batch, "_make") else type(batch)(items)
    moved = copy.copy(batch)  # keeps the attributes of a subclass
    moved[:] = items
    return moved


def _like_mapping(batch: Mapping[Any, Any], items: dict[Any, Any]) -> Any:
    """A mapping of the batch's own type with other items; one that cannot be changed becomes a dict."""
    if type(batch) is dict or not isinstance(batch, MutableMapping):
        return items
    moved = copy.copy(batch)  # keeps the attributes of a subclass, e.g. a default
    moved.update(items)
    return moved

"""The ranks of one run: which this one is, and what they decide together.

torchrun starts a process for each rank and tells each its number; ``ignite.distributed`` joins them (gloo between CPUs,
nccl between CUDA devices). In a single process every function here does nothing, and costs nothing.
"""

import atexit
import os
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist

__all__ = [
    "LostRankError",
    "all_equal",
    "all_gather",
    "all_reduce_max",
    "all_reduce_sum",
    "join_ranks",
    "lost_rank",
    "on_rank_zero",
    "rank",
    "rank_key",
    "world_size",
]

# How long a rank waits for one that lives but does not come, e.g. because it reads a large file.
_PATIENCE = timedelta(minutes=30)

_T = TypeVar("_T")


class LostRankError(RuntimeError):
    """Another rank of the run has ended, so that this one cannot continue."""


def world_size() -> int:
    """How many ranks train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Which of them this process is, from 0; rank 0 writes the files."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def rank_key() -> tuple[int, ...]:
    """Numbers that make this rank's seeds differ from those of others; none on rank 0."""
    return (number,) if (number := rank()) else ()


def join_ranks(device: torch.device) -> None:
    """Join the ranks that torchrun has started, if it has and that is not done yet."""
    if world_size() > 1 or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return
    idist.initialize("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    atexit.register(idist.finalize)


def on_rank_zero(function: Callable[[], _T]) -> _T:
    """What ``function`` returns, or raises, on rank 0, on all ranks; the others wait for it."""
    if world_size() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if rank() == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error if _can_be_sent(error) else RuntimeError(f"{type(error).__name__}: {error}")
    with _lost_rank_told():
        dist.broadcast_object_list(outcome, src=0, group=_between_hosts())
    if outcome[1] is not None:
        raise outcome[1]
    result: _T = outcome[0]
    return result


def _can_be_sent(error: Exception) -> bool:
    """Whether an exception can be made again on other ranks; not if it takes more than its message."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def all_reduce_max(value: int) -> int:
    """The largest of the ranks' numbers."""
    if world_size() == 1:
        return value
    found = torch.tensor(value)
    with _lost_rank_told():
        dist.all_reduce(found, dist.ReduceOp.MAX, group=_between_hosts())
    return int(found)


def all_equal(value: int) -> bool:
    """Whether all ranks give the same number, of 63 bits."""
    return all_reduce_max(value) == -all_reduce_max(-value)


def all_gather(value: _T) -> list[_T]:
    """What each rank gives, in their order, on all of them: tensors, in lists and tuples, on the CPU."""
    if world_size() == 1:
        return [value]
    found: list[Any] = [None] * world_size()
    with _lost_rank_told():
        dist.all_gather_object(found, _on_cpu(value), group=_between_hosts())
    return found


def _on_cpu(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.cpu()
    if isinstance(value, tuple) and hasattr(value, "_make"):
        return value._make(map(_on_cpu, value))
    return type(value)(map(_on_cpu, value)) if type(value) in (list, tuple) else value


def all_reduce_sum(value: float) -> float:
    """The sum of the ranks' numbers."""
    if world_size() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64)
    with _lost_rank_told():
        dist.all_reduce(found, group=_between_hosts())
    return float(found)


_host_groups: dict[Any, Any] = {}


def _between_hosts() -> Any:
    """A group for what the hosts decide, so that no accelerator is waited for."""
    world = dist.group.WORLD
    if dist.get_backend() == "gloo":
        return world
    if world not in _host_groups:
        _host_groups.clear()
        _host_groups[world] = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return _host_groups[world]


def lost_rank(error: BaseException) -> LostRankError | None:
    """What a failure between ranks means to the user; None for other errors, and for a LostRankError."""
    text = str(error)
    is_lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and _is_between_ranks(text))
    if world_size() == 1 or not is_lost or isinstance(error, LostRankError):
        return None
    return LostRankError(
        f"rank {rank()} of {world_size()} cannot reach the others: one of them has ended, see its own "
        "message. Nothing that was saved is lost: start all of them again, and resume from the last checkpoint "
        f"({text.strip().split(chr(10))[0][:200]})"
    )


@contextmanager
def _lost_rank_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if (lost := lost_rank(error)) is not None:
            raise lost from error
        raise


def _is_between_ranks(text: str) -> bool:
    return "gloo" in text.lower() or "nccl" in text.lower() or "connection" in text.lower()

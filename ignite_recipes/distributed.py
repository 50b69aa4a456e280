"""What the processes of one run tell each other, beside the gradients: who writes, and what was decided.

torchrun starts the processes and says to each which one it is; ``ignite.distributed`` joins them (gloo between CPUs,
nccl between CUDA devices). In a single process every function here is for nothing, and costs nothing.
"""

import atexit
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import timedelta
from typing import Any, TypeVar

import ignite.distributed as idist
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

__all__ = [
    "Averaging",
    "LostProcessError",
    "ParallelLosses",
    "are_equal",
    "average_gradients",
    "data_parallel",
    "is_sharded",
    "join_processes",
    "largest",
    "lost_process",
    "on_first_process",
    "own_parts",
    "process_number",
    "processes",
    "share_buffers",
    "shared_out",
    "total",
    "whole",
    "without_exchange",
]

# How long a process waits for one that lives but does not come, e.g. because it reads a large file.
_PATIENCE = timedelta(minutes=30)

_T = TypeVar("_T")


class LostProcessError(RuntimeError):
    """Another process of the run has ended, so that this one cannot go on."""


def processes() -> int:
    """How many processes train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def process_number() -> int:
    """Which of them this one is, from 0; the first one writes the files."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def join_processes(device: torch.device) -> None:
    """Join the processes that torchrun has started together with this one, if it has and that is not done yet."""
    if processes() > 1 or int(os.environ.get("WORLD_SIZE", "1")) < 2 or "RANK" not in os.environ:
        return
    idist.initialize("nccl" if device.type == "cuda" else "gloo", timeout=_PATIENCE)
    atexit.register(idist.finalize)


def on_first_process(function: Callable[[], _T]) -> _T:
    """What ``function`` returns, or raises, in the first process, in all of them; the others wait for it."""
    if processes() == 1:
        return function()
    outcome: list[Any] = [None, None]
    if process_number() == 0:
        try:
            outcome[0] = function()
        except Exception as error:
            outcome[1] = error if _travels(error) else RuntimeError(f"{type(error).__name__}: {error}")
    with _lost_process_told():
        dist.broadcast_object_list(outcome, src=0, group=_between_hosts())
    if outcome[1] is not None:
        raise outcome[1]
    result: _T = outcome[0]
    return result


def _travels(error: Exception) -> bool:
    """Whether the others can be given an exception: one that asks for more than its message cannot be made again."""
    try:
        return type(pickle.loads(pickle.dumps(error))) is type(error)
    except Exception:
        return False


def largest(value: int) -> int:
    """The largest of the numbers that the processes give."""
    if processes() == 1:
        return value
    found = torch.tensor(value)
    with _lost_process_told():
        dist.all_reduce(found, dist.ReduceOp.MAX, group=_between_hosts())
    return int(found)


def are_equal(value: int) -> bool:
    """Whether all processes give the same number, of 63 bits."""
    return largest(value) == -largest(-value)


def total(value: float) -> float:
    """The sum of the numbers that the processes give."""
    if processes() == 1:
        return value
    found = torch.tensor(value, dtype=torch.float64)
    with _lost_process_told():
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


class Averaging:
    """Begin to average 0-d tensors over all processes, by ``share``; the call gives the result, and waits for it.

    Args:
        values: name -> this process' mean.
        share: of all samples those that are in this process' means; the shares of all processes are 1 together.
    """

    def __init__(self, values: Mapping[str, Tensor], share: float) -> None:
        self._names = list(values)
        device = next(value.device for value in values.values() if isinstance(value, Tensor))
        exact = torch.float32 if device.type == "mps" else torch.float64
        numbers = [torch.as_tensor(value).detach() for value in values.values()]
        self._dtype = exact if any(number.dtype == torch.float64 for number in numbers) else torch.float32
        self._sums = torch.stack([number.to(device, exact) for number in numbers]) * share
        self._work = dist.all_reduce(self._sums, async_op=True)

    def __call__(self) -> dict[str, Tensor]:
        """The averages over all processes."""
        assert self._work is not None
        self._work.wait()
        return dict(zip(self._names, self._sums.to(self._dtype).unbind(), strict=True))


class ParallelLosses(nn.Module):
    """A model's losses as a module of its own, so that a loss function may call any method of the model.

    ``DistributedDataParallel`` sees to gradients only in a backward pass whose forward went through it.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, losses: Callable[..., Any], inputs: Any, batch: Any) -> Any:
        """The losses of a batch."""
        return losses(self.model, inputs, batch)


def data_parallel(model: nn.Module, device: torch.device) -> nn.Module | None:
    """The model's losses with gradients that are averaged over the processes; None where others see to that."""
    if processes() == 1 or is_sharded(model) or isinstance(model, DistributedDataParallel):
        return None
    return DistributedDataParallel(ParallelLosses(model), device_ids=None if device.type == "cpu" else [device])


def without_exchange(model: nn.Module, parallel: nn.Module | None, wanted: bool) -> AbstractContextManager[Any]:
    """A context in which gradients stay in their process, because more will be added to them."""
    if processes() == 1:
        return nullcontext()
    if is_sharded(model):
        for module in model.modules():
            if callable(exchange := getattr(module, "set_requires_gradient_sync", None)):
                exchange(not wanted)
        return nullcontext()
    wrapper: Any = model if parallel is None else parallel
    return wrapper.no_sync() if wanted else nullcontext()


def share_buffers(model: nn.Module) -> None:
    """Give every process the buffers, e.g. running statistics, of the first one."""
    if processes() > 1:
        for buffer in model.buffers():
            first = buffer.detach().contiguous()
            dist.broadcast(first, 0)
            if first.data_ptr() != buffer.data_ptr():
                buffer.copy_(first)


@torch.no_grad()
def average_gradients(model: nn.Module, gradients: Iterable[Tensor]) -> None:
    """Average gradients that are still every process' own, where no backward pass will do it any more.

    Raises:
        RuntimeError: for a sharded model, which keeps such gradients to itself.
    """
    if is_sharded(model):
        raise RuntimeError(
            "an accumulation window of a sharded model must end with the batch that fills it, or with the epoch's last "
            "one; this one was cut short: do not end epochs early, or let accumulation_steps be 1"
        )
    for gradient in gradients:
        dist.all_reduce(gradient)
        gradient /= processes()


def is_sharded(model: nn.Module) -> bool:
    """Whether each process holds a part of the parameters only, as torch's ``fully_shard`` does it."""
    return processes() > 1 and any(hasattr(parameter, "device_mesh") for parameter in model.parameters())


def own_parts(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Of sharded tensors what this process holds, and the others as they are."""
    return [tensor.to_local() if hasattr(tensor, "to_local") else tensor for tensor in tensors]


def whole(value: Any) -> Any:
    """The value with every sharded tensor in it put together; all processes must ask for it."""
    if hasattr(value, "full_tensor"):
        return value.full_tensor()
    if isinstance(value, dict):
        copy = value.copy()  # keeps what torch notes on a module's state dict
        copy.update({key: whole(item) for key, item in value.items()})
        return copy
    if type(value) in (list, tuple):
        return type(value)(map(whole, value))
    return value


def shared_out(value: Any, like: Any) -> Any:
    """The reverse: ``value`` with its tensors sharded as those at the same places of ``like``."""
    if hasattr(like, "full_tensor"):
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(value, like.device_mesh, like.placements)
    if isinstance(value, dict) and isinstance(like, Mapping):
        copy = value.copy()
        copy.update({key: shared_out(item, like[key]) if key in like else item for key, item in value.items()})
        return copy
    return value


def lost_process(error: BaseException) -> LostProcessError | None:
    """What a failure between processes means to the user; None for any other error, and one that says so already."""
    text = str(error)
    is_lost = isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and _is_between_processes(text))
    if processes() == 1 or not is_lost or isinstance(error, LostProcessError):
        return None
    return LostProcessError(
        f"process {process_number()} of {processes()} cannot reach the others: one of them has ended, see its own "
        "message. Nothing that was saved is lost: start all of them again, and resume from the last checkpoint "
        f"({text.strip().split(chr(10))[0][:200]})"
    )


@contextmanager
def _lost_process_told() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        if (lost := lost_process(error)) is not None:
            raise lost from error
        raise


def _is_between_processes(text: str) -> bool:
    return "gloo" in text.lower() or "nccl" in text.lower() or "connection" in text.lower()

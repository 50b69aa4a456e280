"""Find a batch size: what fits into memory, and what trains the most samples in a second."""

import gc
import logging
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from torch.utils.data import DataLoader

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.finding.trial_run import set_rates, trainer_and_data, trial_run
from ignite_recipes.loading.given import as_loader

__all__ = ["BatchSizes", "find_batch_size"]

logger = logging.getLogger(__name__)

ENOUGH = 0.95  # of the fastest: more is within what timings differ by
WARM_UP = 2  # steps, of which the first makes buffers
STEPS, SECONDS = 3, 0.2  # that are timed at least
MOST_STEPS = 1000
PART_OF_MEMORY = 0.5  # of what is free


@dataclass(frozen=True)
class BatchSizes:
    """The batch sizes that were tried.

    Attributes:
        sizes: in their order, each twice the one before.
        samples_per_second: the speed at each size.
        suggestion: the smallest that is within 5% of the fastest. A larger one needs more memory and changes the
            training without a gain.
        largest: the largest that was tried and fits.
        ended_by: why no larger one was tried: ``"speed"``, ``"memory"``, ``"data"`` or ``"largest"``, the bound given.

    >>> BatchSizes([8, 16], [100.0, 190.0], suggestion=16, largest=16, ended_by="data").suggestion
    16
    """

    sizes: list[int]
    samples_per_second: list[float]
    suggestion: int
    largest: int
    ended_by: str


def find_batch_size(
    trainer: Any,
    data: Any = None,
    *,
    smallest: int = 8,
    largest: int | None = None,
    memory: float | None = None,
    until_full: bool = False,
) -> BatchSizes:
    """Train for some steps with batches that double in size, and find the fastest size and the largest that fits.

    A step is everything that the trainer does in one, and its batch comes from the data as in the training. On CUDA a
    size does not fit if its steps run out of memory; this ends only the search. On a CPU it would end the process, so a
    size is not tried if it is expected to need more than ``memory``.

    Model, optimizer, the handlers' state, generators and files are as before, as after :func:`find_learning_rate`;
    learning rates are 0 in the trial.

    Args:
        trainer: as in :func:`find_learning_rate`. With accumulation a step is one of its batches.
        data: a data set, or arrays; or a loader, whose data set, ``collate_fn`` and workers are used. None takes the
            training data of a ``Trainer``.
        smallest: the size to start with.
        largest: the size to end with; None is the number of samples.
        memory: bytes that a size may need on a CPU; None is half of the memory that is free now, if Linux reports it.
            CUDA needs no bound.
        until_full: try larger ones also where the last two did not train 5% more samples in a second.

    Raises:
        ValueError: for sizes that make no sense, or data with fewer samples than ``smallest``.
        TypeError: for data that have no samples to be batched again.
        RuntimeError: if not even ``smallest`` fits.

    >>> from ignite_recipes import create_trainer
    >>> model = torch.nn.Linear(8, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> found = find_batch_size(trainer, torch.rand(64, 8), smallest=16, until_full=True)
    >>> found.sizes, found.ended_by, found.suggestion in found.sizes
    ([16, 32, 64], 'data', True)
    """
    trainer, data = trainer_and_data(trainer, data)
    smallest = whole_number(smallest, "smallest", "samples")
    loader: Any = data
    if not isinstance(data, (DataLoader, list)):
        loader = as_loader(data, smallest, shuffle=True, name="data")
    if not isinstance(loader, DataLoader) or not hasattr(loader.dataset, "__len__"):
        raise TypeError(
            "data must be a data set, arrays or a DataLoader, of samples whose number is known; got "
            f"{type(data).__name__}"
        )
    count = len(loader.dataset)
    end = count if largest is None else whole_number(largest, "largest", "samples", at_least=smallest)
    if smallest > count:
        raise ValueError(f"smallest must be at most the {count} samples of the data; got {smallest}")
    if memory is not None and not memory > 0:
        raise ValueError(f"memory must be a positive number of bytes; got {memory}")
    bound = _Memory(trainer.device, memory)
    sizes: list[int] = []
    speeds: list[float] = []
    ended_by = "data" if end >= count else "largest"
    size = smallest
    with trial_run(trainer, data):
        pass  # a trainer that cannot be put back is told before anything is tried
    while size <= min(end, count):
        if not bound.has_room(size):
            ended_by = "memory"
            break
        try:
            speed = _speed(trainer, loader, size)
        except (MemoryError, RuntimeError) as error:
            if not _is_out_of_memory(error):
                raise
            ended_by = "memory"
            break
        finally:
            gc.collect()
            if trainer.device.type == "cuda":
                torch.cuda.empty_cache()
        bound.note(size)
        sizes.append(size)
        speeds.append(speed)
        logger.info("batch size %d: %.4g samples in a second", size, speed)
        if not until_full and len(speeds) > 2 and max(speeds[-2:]) * ENOUGH < max(speeds[:-2]):
            ended_by = "speed"
            break
        size *= 2
    if not sizes:
        raise RuntimeError(
            f"not even batches of {smallest} fit into memory: start with a smaller one, or a smaller model"
        )
    fast_enough = [size for size, speed in zip(sizes, speeds, strict=True) if speed >= ENOUGH * max(speeds)]
    return BatchSizes(sizes, speeds, fast_enough[0], sizes[-1], ended_by)


def _speed(trainer: TrainingEngine, loader: DataLoader[Any], size: int) -> float:
    """Samples that are trained in a second, with batches of this size."""
    batches = DataLoader(
        loader.dataset,
        size,
        shuffle=True,
        drop_last=True,
        collate_fn=loader.collate_fn,
        num_workers=loader.num_workers,
        pin_memory=loader.pin_memory,
    )
    with trial_run(trainer, loader) as inside:
        set_rates(inside, 0.0, [1.0] * sum(len(part.param_groups) for part in inside.optimizers.values()))
        clock = _Clock(size).attach(inside)
        inside.run(batches, max_iters=WARM_UP + MOST_STEPS)
        return clock.speed()


class _Clock:
    """Stop a run when enough of its steps are timed.

    Runs: trainer, ITERATION_COMPLETED, where the host waits for the device.
    """

    def __init__(self, size: int) -> None:
        self.size, self.done, self.began, self.ended = size, 0, 0.0, 0.0

    def attach(self, trainer: TrainingEngine) -> "_Clock":
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        return self

    def __call__(self, trainer: TrainingEngine) -> None:
        if trainer.device.type != "cpu":
            torch.get_device_module(trainer.device).synchronize()
        self.done += 1
        self.ended = time.perf_counter()
        if self.done == WARM_UP:
            self.began = self.ended
        elif self.done >= WARM_UP + STEPS and self.ended - self.began >= SECONDS:
            trainer.terminate()

    def speed(self) -> float:
        return (self.done - WARM_UP) * self.size / max(self.ended - self.began, 1e-9)


class _Memory:
    """What batches need on a CPU, by the growth of the process; of a device with an allocator of its own nothing."""

    def __init__(self, device: torch.device, bound: float | None) -> None:
        self._is_bound = device.type == "cpu"
        self._first = _peak() if self._is_bound else 0.0
        self._bound = PART_OF_MEMORY * _free() if bound is None and self._is_bound else bound
        self._needed: tuple[int, float] | None = None

    def has_room(self, size: int) -> bool:
        if not self._is_bound or self._needed is None or self._bound is None:
            return True
        last, needed = self._needed
        return needed * size / last <= self._bound

    def note(self, size: int) -> None:
        self._needed = size, _peak() - self._first


def _peak() -> float:
    """The most bytes that the process has had so far; 0 where the system does not say, such as Windows."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if sys.platform == "darwin" else peak * 1024)


def _free() -> float:
    """Bytes that can be had without swapping; without a bound where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return math.inf


def _is_out_of_memory(error: BaseException) -> bool:
    is_of_device = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return is_of_device or "can't allocate memory" in str(error) or "out of memory" in str(error)

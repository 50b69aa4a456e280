"""Find which precision trains faster here, float32 or bfloat16, by some steps of each."""

import copy
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import Any, NoReturn

import torch
from ignite.engine import Events

from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.places import is_lazy
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.finding.trial_run import set_rates, trial_run
from ignite_recipes.handlers import MixedPrecisionTrainer
from ignite_recipes.loading.fetching import fetched_at_once
from ignite_recipes.loading.generators import is_generator, preserved, reachable, seed_generator
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.randomness import preserve_generators, seed_generators

__all__ = ["Seconds", "has_bfloat16", "seconds_per_step"]

Seconds = dict[str, float]
"""The time of the quickest step in float32 and, if it can be computed so, in bfloat16, by the name of the precision."""

WARM_UP, STEPS = 2, 10  # the first steps make buffers, and compile
ROUNDS = 5
ENOUGH_SECONDS = 2.0  # after which no other round begins


def has_bfloat16(device: torch.device) -> bool:
    """Whether a processor or CUDA device computes in bfloat16 itself; others convert, and are slower with it."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    if platform.machine().lower() in ("arm64", "aarch64"):
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # on x86 true wherever there is AVX-512
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def seconds_per_step(trainer: TrainingEngine, loader: Iterable[Any]) -> Seconds:
    """Train for some steps in float32 and in bfloat16, in turns, on a copy of the loader's first batch.

    Of each the quickest step counts: others on the machine only ever slow it down. Afterwards trainer, generators and
    loader are as they were, as after :func:`~ignite_recipes.find_batch_size`; learning rates are 0 in the trial. On
    several ranks all train, and rank 0 tells the time.

    Args:
        trainer: a trainer of a recipe, with its handlers; its own precision does not count.
        loader: of its batches.

    Raises:
        Exception: what a step in float32 raises, as the run would.
    """
    if isinstance(loader, Iterator):
        KeyedLoader(loader, 0)  # refuses it, before a batch of it is gone
    if is_lazy(trainer.model):
        trainer._size_lazy_layers(trainer.step, loader)  # as its run would
    batch = _first_batch(loader, trainer.device)
    found: Seconds = {}
    candidates: dict[str, torch.dtype | None] = {"float32": None, "bfloat16": torch.bfloat16}
    began = time.perf_counter()
    for _ in range(ROUNDS):
        for name, dtype in [*candidates.items()]:
            try:
                seconds = on_rank_zero(_timed(trainer, batch, dtype))
            except Exception as error:
                if dtype is None and isinstance(error, _DroppedStepError):
                    return {name: math.inf}  # there is nothing to compare with
                if dtype is None:
                    raise
                del candidates[name]  # not all operations know bfloat16, nor do all losses stay finite in it
                found.pop(name, None)
                continue
            found[name] = min(seconds, found.get(name, seconds))
        if len(candidates) == 1 or on_rank_zero(lambda: time.perf_counter() - began > ENOUGH_SECONDS):
            break
    return found


def _first_batch(loader: Iterable[Any], device: torch.device) -> Any:
    """The same on all ranks, as far as the loader's generators can be found."""
    with preserved([loader]), preserve_generators(device):
        seed_generators(0, device)
        for part in reachable([loader]):
            if is_generator(part):
                seed_generator(part, 0)
        for batch in fetched_at_once(loader, "train"):
            return copy.deepcopy(batch)
    raise ValueError("the loader must yield at least one batch; got an empty one: check its data set")


def _timed(trainer: TrainingEngine, batch: Any, dtype: torch.dtype | None) -> Callable[[], float]:
    """Train for the steps of a round; what tells the seconds of the quickest."""
    with trial_run(trainer, None) as inside:
        for update in inside.updates.values():
            update.precision = None
        if dtype is not None:
            MixedPrecisionTrainer(device=inside.device, dtype=dtype).attach(inside)
        set_rates(inside, 0.0, [1.0] * sum(len(part.param_groups) for part in inside.optimizers.values()))
        clock = _Clock().attach(inside)
        # A copy: the step may change its batch. And one step more, which is not timed: the last one of an epoch may be
        # computed in another way than the others.
        inside.run([copy.deepcopy(batch)] * (WARM_UP + STEPS + 1), max_epochs=1)
        return clock.seconds


class _DroppedStepError(FloatingPointError):
    """The guard has dropped a step."""


class _Clock:
    """Time the steps after the first ones.

    Runs:  trainer, ITERATION_COMPLETED, where the host waits for the device; OPTIMIZER_STEP_SKIPPED.
    Stops: with an error at a step that is dropped, for that is not a step.
    """

    def __init__(self) -> None:
        self.times: list[float] = []

    def attach(self, trainer: TrainingEngine) -> "_Clock":
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)
        trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_SKIPPED, self._refuse)
        return self

    @staticmethod
    def _refuse() -> NoReturn:
        raise _DroppedStepError("a step was dropped, for its loss or its gradients are not finite")

    def __call__(self, trainer: TrainingEngine) -> None:
        if trainer.device.type != "cpu":
            torch.get_device_module(trainer.device).synchronize()
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        return min(after - before for before, after in pairwise(self.times[WARM_UP - 1 : WARM_UP + STEPS]))

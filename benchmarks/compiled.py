"""What ``compile=True`` brings: the epochs of a run, after the first ones, and what those cost."""

import importlib
import statistics
import time
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

from benchmarks.measuring import table

EPOCHS = 6
COMPILING = 2  # epochs in which programs are still made: of whole batches, of the last one, of the validation

RECIPES = {"train_variational_autoencoder": "vae", "train_model_advanced": "mlp", "trainModel": "traffic"}


class EpochClock:
    """When each epoch has ended."""

    def __init__(self) -> None:
        self.times = [time.perf_counter()]

    def attach(self, trainer: Engine) -> None:
        """Note the ends of the epochs of ``trainer``."""
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: self.times.append(time.perf_counter()))

    def seconds(self) -> list[float]:
        """How long each epoch took, the first with what is done before it."""
        return [after - before for before, after in zip(self.times, self.times[1:], strict=False)]


def later_epochs(train: Callable[..., Any], epochs: int) -> float:
    """Seconds of so many epochs, without those in which programs are made; ``train(epochs, handlers=...)``."""
    clock = EpochClock()
    train(COMPILING + epochs, handlers=[clock])
    return statistics.median(clock.seconds()[COMPILING:]) * epochs


def compiled(rounds: int) -> str:
    """Each recipe with and without, in turns. Torch's cache on disk shortens the compilation of a later round."""
    rows = []
    for name, workload in RECIPES.items():
        module: Any = importlib.import_module(f"benchmarks.{workload}")
        module.EPOCHS = EPOCHS
        later, lost = [], []
        for _ in range(rounds):
            plain, fast = (_epochs(module.recipe, compile=compile) for compile in (False, True))
            later.append(statistics.median(fast[COMPILING:]) / statistics.median(plain[COMPILING:]))
            lost.append(sum(fast[:COMPILING]) - sum(plain[:COMPILING]))
        rows.append([name, f"{statistics.median(later):.2f}", f"{max(lost):.1f}"])
    return table(["recipe", "later epochs, of those without", "seconds lost in the first two"], rows)


def _epochs(recipe: Callable[..., Callable[[], Any]], **settings: Any) -> list[float]:
    clock = EpochClock()
    recipe(handlers=[clock], **settings)()
    return clock.seconds()

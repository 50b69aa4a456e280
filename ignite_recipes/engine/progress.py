"""Where a run is: its epoch, its batch, and what of an epoch's end is done."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any

from ignite.engine import State

__all__ = ["Progress", "Stage", "StepCount"]


class Stage(IntEnum):
    """How far the current epoch has got."""

    TRAINING = 0
    """Some of its batches are still to be trained."""
    TRAINED = 1
    """All are trained; what the epoch came to is still to be measured and decided on."""
    DECIDED = 2
    """Every handler has decided; the epoch is still to be saved."""
    SAVED = 3
    """The epoch is complete."""


@dataclass
class StepCount:
    """The optimizer steps of one update since the run began.

    Attributes:
        taken, skipped: how many.
        owed: how many OPTIMIZER_STEP_COMPLETED to skip: they were fired for steps that later proved dropped.
    """

    taken: int = 0
    skipped: int = 0
    owed: int = 0


class Progress:
    """Where a run is, in one object with one state.

    Ignite's ``state`` counts batches as they are fetched. A run that fails, or stops inside an accumulation window, has
    fetched batches that are not in the weights: training repeats them, from the one after ``iteration``.

    Args:
        state: of the Engine that runs.

    Attributes:
        epoch: the one that was started last, from 1; 0 before the first.
        epoch_start: iterations before its first batch.
        iteration: the last one whose batch is in the weights.
        stage: how far the epoch is.
        previous_iteration: what ``iteration`` was before; where the run could be left the last time.
        counts: the optimizer steps of each update, by its name; ``optimizer_steps`` and ``skipped_steps`` are of all.
        learning_rates: the rates of the first parameter group of each optimizer in the epoch's first step.
        given_length: batches an epoch, where the user has said how many; None where an epoch is a pass over the loader.
        lengths_vary: whether epochs have had different numbers of batches.
    """

    def __init__(self, state: State) -> None:
        self.state = state
        self.counts: dict[str, StepCount] = {}
        self.restart()

    def restart(self) -> None:
        """Before the first epoch."""
        self.epoch = self.epoch_start = self.iteration = self.previous_iteration = 0
        self.stage = Stage.SAVED
        for count in self.counts.values():
            vars(count).update(asdict(StepCount()))
        self.learning_rates: dict[str, float] = {}
        self.given_length: int | None = None
        self.lengths_vary = False

    @property
    def rates(self) -> dict[str, float]:
        """The learning rates as metrics: ``learning_rate`` is the first one, of several each has its name in front."""
        named = {f"{name}_learning_rate": rate for name, rate in self.learning_rates.items()}
        return {"learning_rate": next(iter(self.learning_rates.values()), 0.0), **(named if len(named) > 1 else {})}

    @property
    def optimizer_steps(self) -> int:
        """Steps taken since the run began."""
        return sum(count.taken for count in self.counts.values())

    @property
    def skipped_steps(self) -> int:
        """Steps dropped since the run began."""
        return sum(count.skipped for count in self.counts.values())

    @property
    def position(self) -> int:
        """Batches of the current epoch so far, the current one included."""
        return self.state.iteration - self.epoch_start

    @property
    def completed_epochs(self) -> int:
        """Epochs that need no more batches and no more decisions."""
        return self.epoch if self.stage >= Stage.DECIDED else self.epoch - 1

    @property
    def is_last_batch(self) -> bool:
        """Whether the current batch is the epoch's last, as far as its length is known."""
        return self.position == self.state.epoch_length

    @property
    def is_trained(self) -> bool:
        """Whether all batches of the epoch are trained, and what they came to is still to be decided on."""
        return self.stage == Stage.TRAINED or (self.stage == Stage.TRAINING and self.is_last_batch)

    @property
    def is_inside_epoch(self) -> bool:
        """Whether some of the current epoch's batches are trained, and others are not."""
        return self.stage == Stage.TRAINING and self.position > 0 and not self.is_last_batch

    def start_epoch(self, learning_rates: dict[str, float]) -> None:
        """Note that ``state.epoch`` begins, or continues where it was left."""
        if self.epoch < self.state.epoch:
            self.epoch, self.epoch_start, self.stage = self.state.epoch, self.state.iteration, Stage.TRAINING
            self.learning_rates = learning_rates
        self.iteration = self.state.iteration

    def note_update(self) -> None:
        """Note that all batches so far are in the weights, or were dropped on purpose."""
        if self.iteration < self.state.iteration:
            self.previous_iteration, self.iteration = self.iteration, self.state.iteration

    def rewind(self) -> None:
        """Let Ignite count on from where the weights are."""
        self.state.iteration, self.state.epoch = self.iteration, self.completed_epochs

    def start_after(self, epoch: int, epoch_length: int) -> None:
        """Count as if ``epoch`` epochs of so many batches were done, for weights that come from elsewhere."""
        self.epoch, self.stage = epoch, Stage.SAVED
        self.epoch_start = self.iteration = epoch * epoch_length
        self.state.epoch_length, self.state.max_epochs = epoch_length, epoch
        self.rewind()

    def state_dict(self) -> dict[str, Any]:
        """All of it, and Ignite's counters and the run's seed."""
        return {
            "seed": self.state.seed,
            "epoch_length": self.state.epoch_length,
            "max_epochs": self.state.max_epochs,
            "max_iters": self.state.max_iters,
            "epoch": self.epoch,
            "epoch_start": self.epoch_start,
            "iteration": self.iteration,
            # DECIDED is saved as SAVED: an epoch may write several files, and a resume assumes that all were written.
            "stage": int(Stage.SAVED if self.stage == Stage.DECIDED else self.stage),
            "counts": {name: asdict(count) for name, count in self.counts.items()},
            "learning_rates": self.learning_rates,
            "given_length": self.given_length,
            "lengths_vary": self.lengths_vary,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Be where the saved run was.

        Raises:
            KeyError, ValueError: if ``state`` is not one of :meth:`state_dict`.
        """
        numbers = {name: state[name] for name in self.state_dict()}
        wrong = [name for name in ("epoch", "epoch_start", "iteration") if not isinstance(numbers[name], int)]
        if wrong:
            raise ValueError(f"{', '.join(wrong)} must be whole numbers")
        self.state.seed = numbers.pop("seed")
        for name in ("epoch_length", "max_epochs", "max_iters"):
            setattr(self.state, name, numbers.pop(name))
        self.stage = Stage(numbers.pop("stage"))
        for name, count in numbers.pop("counts").items():
            if name in self.counts:  # the objects are shared with the updates
                vars(self.counts[name]).update(count)
        vars(self).update(numbers)
        self.previous_iteration = self.iteration
        self.rewind()

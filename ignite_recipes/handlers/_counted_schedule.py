"""A schedule that keeps no count of its own and is told the number of the epoch or step, as those of timm are."""

from typing import Any

__all__ = ["CountedSchedule"]

_METHODS = ("step", "step_update", "state_dict", "load_state_dict")


class CountedSchedule:
    """Counts epochs and optimizer steps for a scheduler of timm's kind, and saves the counts with its state.

    Args:
        scheduler: with ``step(epoch, metric=None)``, ``step_update(num_updates, metric=None)``, ``state_dict()`` and
            ``load_state_dict(state)``.

    Attributes:
        epochs, updates: how many the scheduler was told of.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self.epochs = self.updates = 0

    def __repr__(self) -> str:
        return f"{type(self.scheduler).__name__} told of steps"

    @staticmethod
    def is_one(scheduler: Any) -> bool:
        """Whether an object is a scheduler of this kind."""
        return not isinstance(scheduler, type) and all(callable(getattr(scheduler, name, None)) for name in _METHODS)

    def end_epoch(self, metric: float | None) -> None:
        """Tell it that an epoch is done, and what the epoch measured, if that is known."""
        self.epochs += 1
        if metric is None:
            self.scheduler.step(self.epochs)
        else:
            self.scheduler.step(self.epochs, metric)

    def end_update(self) -> None:
        """Tell it that the optimizer has stepped."""
        self.updates += 1
        self.scheduler.step_update(self.updates)

    def state_dict(self) -> dict[str, Any]:
        """The counts, and the scheduler's own state."""
        return {"epochs": self.epochs, "updates": self.updates, "scheduler": self.scheduler.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Count on."""
        self.epochs, self.updates = state["epochs"], state["updates"]
        self.scheduler.load_state_dict(state["scheduler"])

"""A schedule of any kind with one interface: torch's, one that has an end, one that watches a metric, or timm's."""

import logging
from typing import Any

from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from ignite_recipes.handlers._counted_schedule import CountedSchedule
from ignite_recipes.handlers._schedule_length import ScheduleLength
from ignite_recipes.handlers._scheduled_groups import ScheduledGroups

__all__ = ["Schedule"]

logger = logging.getLogger(__name__)


class Schedule:
    """Advances a schedule by a step or an epoch, for the parameter groups that its optimizer has then.

    Args:
        optimizer: whose learning rate it changes.
        scheduler: torch's, or one of timm's kind.
        name: the name of its type.
        per: ``"step"`` or ``"epoch"``; None for one that is told of both.

    Attributes:
        is_plateau: whether it watches a metric.
        counted: what tells one of timm's kind the numbers; None for torch's.
        groups: the parameter groups that it is of.
    """

    def __init__(self, optimizer: Optimizer, scheduler: Any, name: str, per: str | None) -> None:
        self.optimizer, self.scheduler, self.name, self.per = optimizer, scheduler, name, per
        self.is_plateau = isinstance(scheduler, ReduceLROnPlateau)
        self.counted = None if isinstance(scheduler, LRScheduler) else CountedSchedule(scheduler)
        self.groups = ScheduledGroups(optimizer, scheduler)
        has_length = isinstance(scheduler, OneCycleLR) or name == "cosine"
        self._length = ScheduleLength(scheduler) if has_length else None

    def advance(self, metric: float | Tensor | None) -> None:
        """By one step or epoch.

        Raises:
            ValueError: for plateau without a metric.
        """
        self.groups.follow()
        if self.counted is not None and self.per == "step":
            self.counted.end_update()
        elif self.counted is not None:
            self.counted.end_epoch(None if metric is None else float(metric))
        elif self._length is not None and self._length.has_ended:
            self._length.hold("steps" if self.per == "step" else "epochs")
        elif not self.is_plateau:
            self.scheduler.step()
        elif metric is None:
            raise ValueError("plateau must be given the metric it watches: step(val_loss)")
        else:
            self.scheduler.step(float(metric))

    def stretch_to(self, length: int) -> None:
        """Spread it over another length.

        Raises:
            ValueError: for a schedule without one, or a length that the run has passed.
        """
        self.groups.follow()
        if self._length is None:
            raise ValueError(f"only a cosine or one-cycle schedule has a length; got {self.name!r}")
        self._length.stretch_to(length)

    def state_dict(self) -> dict[str, Any]:
        """Its type, what it advances with, its own state with the counts of one that is told them, and its groups."""
        return {
            "type": self.name,
            "per": self.per,
            "scheduler": (self.counted or self.scheduler).state_dict(),
            "groups": self.groups.positions(),
        }

    def load_state_dict(self, state: dict[str, Any], *, stretch: bool) -> None:
        """Continue where it was, with the length it had or, with ``stretch``, over the one that it was made with.

        Raises:
            ValueError: if the state is of another type, of one that advances with something else, or of more
                parameter groups.
        """
        if state["type"] != self.name:
            raise ValueError(f"the saved schedule is {state['type']!r}, this one is {self.name!r}")
        if (per := state.get("per", self.per)) != self.per:  # older files do not say
            raise ValueError(f"the saved schedule has per={per!r}, this one {self.per!r}: resume with the same")
        self.groups.expect(state.get("groups"))  # older files have none
        wanted = None if self._length is None else self._length.value
        (self.counted or self.scheduler).load_state_dict(state["scheduler"])
        # Torch warns of a schedule that steps before its optimizer; this one's has, in an earlier process.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        if stretch and self._length is not None and wanted is not None and wanted != self._length.value:
            logger.info("the %s schedule is stretched from %d to %d", self.name, self._length.value, wanted)
            self.stretch_to(wanted)

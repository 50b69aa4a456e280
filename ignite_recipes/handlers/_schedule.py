"""A schedule of any kind with one interface: torch's, one that has an end, one that watches a metric, or timm's."""

import logging
from typing import Any

from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR, ReduceLROnPlateau

from ignite_recipes.handlers._counted_schedule import CountedSchedule
from ignite_recipes.handlers._schedule_length import ScheduleLength

__all__ = ["Schedule"]

logger = logging.getLogger(__name__)


class Schedule:
    """Advances a schedule, by a step or an epoch.

    Args:
        scheduler: torch's, or one of timm's kind.
        name: of its type.
        per: ``"step"`` or ``"epoch"``; None for one that is told of both.

    Attributes:
        is_plateau: whether it watches a metric.
        counted: what tells one of timm's kind the numbers; None for torch's.
    """

    def __init__(self, scheduler: Any, name: str, per: str | None) -> None:
        self.scheduler, self.name, self.per = scheduler, name, per
        self.is_plateau = isinstance(scheduler, ReduceLROnPlateau)
        self.counted = None if isinstance(scheduler, LRScheduler) else CountedSchedule(scheduler)
        has_length = isinstance(scheduler, OneCycleLR) or name == "cosine"
        self._length = ScheduleLength(scheduler) if has_length else None

    def advance(self, metric: float | Tensor | None) -> None:
        """By one step or epoch.

        Raises:
            ValueError: for plateau without a metric.
        """
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
        if self._length is None:
            raise ValueError(f"only a cosine or one-cycle schedule has a length; got {self.name!r}")
        self._length.stretch_to(length)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's own state, and the counts of one that is told them."""
        return (self.counted or self.scheduler).state_dict()

    def load_state_dict(self, state: dict[str, Any], *, stretch: bool) -> None:
        """Continue where it was, with the length it had or, with ``stretch``, over the one that it was made with."""
        wanted = None if self._length is None else self._length.value
        (self.counted or self.scheduler).load_state_dict(state)
        if stretch and self._length is not None and wanted is not None and wanted != self._length.value:
            logger.info("the %s schedule is stretched from %d to %d", self.name, self._length.value, wanted)
            self._length.stretch_to(wanted)

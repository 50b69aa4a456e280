"""Schedules whose length is a part of them: where they end, and how they are spread over another length."""

import logging
import math
from typing import Any

from torch.optim.lr_scheduler import OneCycleLR

from ignite_recipes.arguments import whole_number

__all__ = ["ScheduleLength"]

logger = logging.getLogger(__name__)


class ScheduleLength:
    """The length of a one-cycle or cosine schedule, in epochs or optimizer steps, as it advances.

    Args:
        scheduler: torch's OneCycleLR or CosineAnnealingLR.
    """

    def __init__(self, scheduler: Any) -> None:
        self.scheduler = scheduler
        self._is_one_cycle = isinstance(scheduler, OneCycleLR)

    @property
    def value(self) -> int:
        """How many epochs or steps it has."""
        return int(self.scheduler.total_steps if self._is_one_cycle else self.scheduler.T_max)

    @property
    def _after_end(self) -> int:
        """How many epochs or steps ago it has ended; negative before its end."""
        return int(self.scheduler.last_epoch) + self._is_one_cycle - self.value

    @property
    def has_ended(self) -> bool:
        """Whether it holds its last rate from now on, where torch would raise or begin to climb."""
        return self._after_end >= 0

    def hold(self, unit: str) -> None:
        """Advance after the end; a warning says once that it holds its last rate.

        Args:
            unit: ``"steps"`` or ``"epochs"``, for the warning.
        """
        after = self._after_end
        self.scheduler.last_epoch += 1  # counted, so that a schedule that is stretched knows where the run is
        if after == int(self._is_one_cycle):  # a run's last step is one
            logger.warning(
                "the %s schedule of %d %s has ended: the learning rate stays at %.3g. To spread it over a longer "
                "run, resume with stretch_schedule=True (a scheduler of your own: stretch=True)",
                "one-cycle" if self._is_one_cycle else "cosine",
                self.value,
                unit,
                self.scheduler.optimizer.param_groups[0]["lr"],
            )

    def stretch_to(self, length: int) -> None:
        """Spread it over another length, and set the rates that it has here then.

        Raises:
            ValueError: for a length that the run has passed.
        """
        before, scheduler, done = self.value, self.scheduler, self.scheduler.last_epoch
        whole_number(length, "length", at_least=done)
        if self._is_one_cycle:
            for phase in scheduler._schedule_phases:
                phase["end_step"] = (phase["end_step"] + 1) * length / before - 1
            scheduler.total_steps = length
            scheduler.last_epoch = min(done, length - 1) - 1
            scheduler.step()  # computes the rates of this place again
            scheduler.last_epoch = done
        else:
            part = (1 + math.cos(math.pi * done / length)) / 2
            scheduler.T_max = length
            floor = scheduler.eta_min
            for group, base in zip(scheduler.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = floor + (base - floor) * part

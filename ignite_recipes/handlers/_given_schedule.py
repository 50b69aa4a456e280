"""Which schedules can be used, and whether they advance per step or per epoch."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from ignite_recipes.handlers._counted_schedule import CountedSchedule
from ignite_recipes.handlers._named_schedule import NAMES

__all__ = ["advances_with", "check_schedule"]


def check_schedule(scheduler: Any, optimizer: Optimizer) -> None:
    """Refuse what is not a schedule of ``optimizer``.

    Raises:
        TypeError: for another kind of object.
        ValueError: for the schedule of another optimizer.
    """
    if not isinstance(scheduler, LRScheduler) and not CountedSchedule.is_one(scheduler):
        got = f"the class {scheduler.__name__}" if isinstance(scheduler, type) else type(scheduler).__name__
        raise TypeError(
            f"scheduler_type must be one of the names {', '.join(NAMES)}, a torch scheduler, or an object "
            "with step(epoch, metric), step_update(num_updates), state_dict() and load_state_dict(state), as "
            f"timm's have; got {got}: make one of these for this optimizer"
        )
    if getattr(scheduler, "optimizer", optimizer) is not optimizer:
        raise ValueError("the schedule must be of the same optimizer; got another one's")


def advances_with(per: str | None, scheduler: Any) -> str | None:
    """``"step"`` or ``"epoch"``, as ``per`` says or the schedule is made for; None where it is told of both.

    Raises:
        ValueError: for another word, or plateau per step.
    """
    if per not in (None, "step", "epoch"):
        raise ValueError(f"per must be 'step' or 'epoch', or None for what the schedule is made for; got {per!r}")
    if per == "step" and isinstance(scheduler, ReduceLROnPlateau):
        raise ValueError(
            "a plateau schedule must advance per epoch, because it compares metrics and a step measures none; got "
            "per='step': leave per out, or take a schedule that needs no metric"
        )
    if per is not None or not isinstance(scheduler, LRScheduler):
        return per
    return "step" if isinstance(scheduler, (OneCycleLR, CyclicLR)) else "epoch"

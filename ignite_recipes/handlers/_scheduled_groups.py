"""Keep a schedule and the parameter groups of its optimizer together while groups are added, replaced or moved.

Schedulers hold lists with one entry for each group, made once, and find entries by position. Here a group is itself:
the same dictionary, or the same list of parameters, which an optimizer keeps when it loads a state.
"""

import logging
from bisect import bisect_right
from collections.abc import Iterator
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import SequentialLR

from ignite_recipes.engine.blocks import with_numbers_only

__all__ = ["RATES_OF_A_GROUP", "ScheduledGroups", "scale_lists"]

logger = logging.getLogger(__name__)

Group = dict[str, Any]

RATES_OF_A_GROUP = ("lr", "initial_lr", "max_lr", "min_lr")
"""In an optimizer's parameter group: its learning rate, and those that schedulers keep there."""

# In a scheduler, torch's or one of timm's kind, a list with an entry for each group.
_RATES = ("base_lrs", "max_lrs", "_last_lr", "base_values", "warmup_steps")
_OTHERS = ("min_lrs", "lr_lambdas", "base_momentums", "max_momentums")
# In a group, in addition to rates.
_OTHERS_OF_A_GROUP = ("max_momentum", "base_momentum", "swa_lr")


class ScheduledGroups:
    """The groups that the lists of a scheduler are for, in their order.

    A group that was added has the rates from then on that it would have had if it had been there when the schedule
    was made. The rate that it was added with is its base rate (one-cycle and cyclic: its peak); the first group is
    the example that it follows.

    Args:
        optimizer: whose groups they are.
        scheduler: torch's, or one of timm's kind; the parts of a chain and of a sequence belong to it.

    >>> import torch
    >>> from torch.optim.lr_scheduler import ExponentialLR
    >>> optimizer = torch.optim.SGD([torch.zeros(1)], lr=0.8)
    >>> schedule = ExponentialLR(optimizer, 0.5)
    >>> groups = ScheduledGroups(optimizer, schedule)
    >>> optimizer.step()
    >>> schedule.step()
    >>> optimizer.add_param_group({"params": [torch.zeros(1)], "lr": 0.2})
    >>> groups.follow()
    >>> [group["lr"] for group in optimizer.param_groups], schedule.base_lrs
    ([0.4, 0.1], [0.8, 0.2])
    """

    def __init__(self, optimizer: Optimizer, scheduler: Any) -> None:
        self._optimizer, self._scheduler = optimizer, scheduler
        self._known: list[tuple[Group, Any]] = []
        for group in optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"] * 1.0)  # as torch does, but for plateau
        self._know(optimizer.param_groups)

    def __repr__(self) -> str:
        return "parameter groups that a schedule is to follow"

    @with_numbers_only
    def follow(self) -> None:
        """Take notice of groups that were added, taken away or moved since the last time."""
        groups = self._optimizer.param_groups
        if len(groups) == len(self._known) and all(
            group is known and group["params"] is parameters
            for group, (known, parameters) in zip(groups, self._known, strict=True)
        ):
            return
        places = [self._place(group) for group in groups]
        like = self._example(places)
        for number, (group, place) in enumerate(zip(groups, places, strict=True)):
            if place is None:
                self._enter(group, like)
                logger.info("parameter group %d is new: the schedule continues it from lr=%.3g", number, group["lr"])
        self._arrange(groups, places, like)

    def positions(self) -> list[int | None]:
        """Where the optimizer has the group of each entry of the lists; None for one that it no longer has."""
        places = [self._place(group) for group in self._optimizer.param_groups]
        return [places.index(number) if number in places else None for number in range(len(self._known))]

    def expect(self, positions: list[int | None] | None) -> None:
        """Arrange the lists as they were where :meth:`positions` gave these, to load their state; None: as groups are.

        Raises:
            ValueError: if the optimizer has fewer groups.
        """
        groups = self._optimizer.param_groups
        positions = list(range(len(groups))) if positions is None else positions
        if (wanted := max((place + 1 for place in positions if place is not None), default=0)) > len(groups):
            raise ValueError(
                f"the saved schedule is of {wanted} parameter groups, this optimizer has {len(groups)}: make it with "
                "the groups that it had when the schedule was saved"
            )
        gone: Group = {"params": []}
        then = [gone if place is None else groups[place] for place in positions]
        places = [None if group is gone else self._place(group) for group in then]
        self._arrange(then, places, self._example(places))

    def _place(self, group: Group) -> int | None:
        """The number of its entries."""
        for number, (known, parameters) in enumerate(self._known):
            if group is known or group["params"] is parameters:
                return number
        return None

    def _example(self, places: list[int | None]) -> int:
        """The number of the known group that new ones follow: the first one that is still there and has a rate."""
        lowest = _lowest_rate(self._scheduler)
        there = [place for place in places if place is not None]
        return next((place for place in there if self._entry_rate(place) != lowest), (there or [0])[0])

    def _peak(self, number: int) -> Any:
        """The highest rate of a known group where a schedule goes up and down, as one-cycle and cyclic do, or None."""
        peaks = getattr(self._scheduler, "max_lrs", None)
        return peaks[number] if peaks else self._known[number][0].get("max_lr")

    def _entry_rate(self, number: int) -> Any:
        """The rate that a known group would have been added with."""
        group, peak = self._known[number][0], self._peak(number)
        return group.get("initial_lr", group["lr"]) if peak is None else peak

    def _enter(self, group: Group, number: int) -> None:
        """Give a new group the rates that it would have had, after those of a known one."""
        if "initial_lr" in group:  # another schedule of this optimizer has done so
            return
        like, entered, lowest = self._known[number][0], group["lr"], _lowest_rate(self._scheduler)
        part = 1.0
        if (base := self._entry_rate(number)) != lowest:
            part = (entered - lowest) / (base - lowest)
            group["lr"] = lowest + (like["lr"] - lowest) * part
        group["initial_lr"] = entered
        if self._peak(number) is not None:
            group.update({name: like[name] * part for name in RATES_OF_A_GROUP[1:] if name in like})
        if "max_momentum" in like:  # the schedule has its momentum too
            group.update({name: like[name] for name in ("momentum", "betas") if name in like})
        group.update({name: like[name] for name in _OTHERS_OF_A_GROUP if name in like})

    def _arrange(self, groups: list[Group], places: list[int | None], like: int) -> None:
        """Give every list the entries of these groups; those of a new one are made after those of number ``like``."""
        base = self._known[like][0].get("initial_lr")
        ratios = [group.get("initial_lr", base) / base if base else 1.0 for group in groups]
        for part in _parts(self._scheduler):
            for name in (*_RATES, *_OTHERS):
                entries = getattr(part, name, None)
                if not isinstance(entries, list) or len(entries) != len(self._known):
                    continue
                new = [entries[like] * ratio if name in _RATES else entries[like] for ratio in ratios]
                own = [fresh if place is None else entries[place] for fresh, place in zip(new, places, strict=True)]
                setattr(part, name, own)
        self._know(groups)

    def _know(self, groups: list[Group]) -> None:
        self._known = [(group, group["params"]) for group in groups]


def _lowest_rate(scheduler: Any) -> float:
    """What a schedule adds its rates to: a cosine goes down to a rate that is the same for all groups."""
    if isinstance(scheduler, SequentialLR):
        return _lowest_rate(scheduler._schedulers[bisect_right(scheduler._milestones, scheduler.last_epoch)])
    return float(getattr(scheduler, "eta_min", getattr(scheduler, "lr_min", 0.0)))


def _parts(scheduler: Any) -> Iterator[Any]:
    yield scheduler
    for part in getattr(scheduler, "_schedulers", ()):
        yield from _parts(part)


def scale_lists(scheduler: Any, factor: float) -> None:
    """Multiply what a scheduler computes rates from, except for what the optimizer's groups hold."""
    for part in _parts(scheduler):
        for name in _RATES:
            if hasattr(part, name):
                setattr(part, name, [rate * factor for rate in getattr(part, name)])

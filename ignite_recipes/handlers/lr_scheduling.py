"""Change the learning rate on torch's own schedules or timm's, after every optimizer step or after every epoch."""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.engine.blocks import with_numbers_only
from ignite_recipes.handlers._given_schedule import advances_with, check_schedule
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.handlers._host_metrics import Metric
from ignite_recipes.handlers._named_schedule import make_schedule
from ignite_recipes.handlers._schedule import Schedule
from ignite_recipes.handlers._scheduled_groups import scale_lists

__all__ = ["LearningRateScheduler"]


class LearningRateScheduler:
    """Any torch or timm schedule, per step or per epoch; five of torch's by name.

    A named one takes the settings of its type; settings of the others are ignored.

    ========== ==================== ========================================================
    type       torch scheduler      settings of ours, and their defaults
    ========== ==================== ========================================================
    plateau    ReduceLROnPlateau    ``patience=5`` epochs, ``factor=0.5``
    cosine     CosineAnnealingLR    ``T_max=50`` epochs or steps; it holds its last rate afterwards
    step       StepLR               ``step_size=10`` epochs or steps; ``gamma``, else ``factor=0.5``
    exp        ExponentialLR        ``gamma=0.95``
    onecycle   OneCycleLR           ``max_lr`` = the optimizer's rate, the peak; ``total_steps``,
                                    or ``epochs`` and ``steps_per_epoch``, or ``T_max=50`` steps
    ========== ==================== ========================================================

    Several may be attached for one optimizer, e.g. a warm-up per step and a decay per epoch. Each keeps its own state,
    in the order of attachment. Only schedules that multiply the rate they find go together (LinearLR, ConstantLR,
    StepLR, MultiStepLR, ExponentialLR, plateau; see torch's ChainedScheduler); the others overwrite it.

    Parameter groups may be added, replaced or removed during a run. The rate that a group is added with is its base
    rate (one-cycle and cyclic: its peak), and from the next batch on it has the rates of a group that was always there.

    Runs:   trainer. Per step: OPTIMIZER_STEP_COMPLETED; per epoch: METRICS_READY (another Engine:
            ITERATION_COMPLETED and EPOCH_COMPLETED). Never after a step that was dropped, nor after an
            epoch in which all were. ITERATION_STARTED: to take notice of new parameter groups.
    Reads:  plateau, and timm's per epoch where it is measured: ``state.metrics[metric]``.
    Writes: the learning rate of the optimizer's parameter groups.
    Keeps:  the schedule's own state, and of which parameter groups it is; for timm's also how many epochs and steps
            it has counted.

    Args:
        optimizer: the optimizer whose learning rate to change.
        scheduler_type: ``"plateau"``, ``"cosine"``, ``"step"``, ``"exp"`` or ``"onecycle"``; or a torch
            scheduler of that optimizer, of any kind, e.g. a SequentialLR of a warm-up and a cosine; or one with the
            methods of timm's: ``step(epoch, metric=None)``, ``step_update(num_updates, metric=None)``,
            ``state_dict()`` and ``load_state_dict(state)``. The first epoch or step that is passed to it is 1.
        patience, factor, T_max, gamma, settings: as above, and every other argument of the torch scheduler.
        stretch: if a resumed run has another length than before, spread a cosine or one-cycle schedule over the length
            that is given here. Otherwise it keeps its first length. Its rates are set as if it were the optimizer's
            only schedule.
        per: ``"step"`` advances after every optimizer step, and all lengths are steps; ``"epoch"`` after every
            epoch. None is what the schedule is made for: OneCycleLR and CyclicLR per step, torch's others per epoch;
            a scheduler of timm gets both and acts on one, as it was made to. Plateau is always per epoch: it compares
            metrics, and a step measures none.

    Raises:
        ValueError: for an unknown type or ``per``, plateau per step, a schedule of another optimizer, or a value that
            torch refuses.
        TypeError: for a schedule of another kind, or an unknown setting; the message names the known ones.

    >>> from torch import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> scheduler = LearningRateScheduler(optimizer, "plateau", patience=1, factor=0.1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_lr()
    0.1

    A warm-up of two steps and a cosine of four, per step:

    >>> from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> parts = [LinearLR(optimizer, 0.5, total_iters=2), CosineAnnealingLR(optimizer, 4)]
    >>> scheduler = LearningRateScheduler(optimizer, SequentialLR(optimizer, parts, [2]), per="step")
    >>> rates = []
    >>> for _ in range(6):
    ...     rates.append(round(scheduler.get_lr(), 3))
    ...     optimizer.step()
    ...     scheduler.step()
    >>> rates
    [0.5, 0.75, 1.0, 0.854, 0.5, 0.146]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler_type: str | Any = "plateau",
        patience: int = 5,
        factor: float = 0.5,
        T_max: int = 50,  # noqa: N803  # torch's name
        gamma: float | None = None,
        *,
        stretch: bool = False,
        per: str | None = None,
        **settings: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._metric: Metric = "val_loss"
        self._steps_seen = 0
        self.stretch = stretch
        self.scheduler: Any
        if isinstance(scheduler_type, str):
            self.scheduler_type = scheduler_type
            self.scheduler = make_schedule(optimizer, scheduler_type, patience, factor, T_max, gamma, settings)
        else:
            check_schedule(scheduler_type, optimizer)
            self.scheduler, self.scheduler_type = scheduler_type, type(scheduler_type).__name__
        self.per = advances_with(per, self.scheduler)
        self._schedule = Schedule(optimizer, self.scheduler, self.scheduler_type, self.per)

    def __repr__(self) -> str:
        return f"LearningRateScheduler({self.scheduler_type!r})"

    @property
    def is_plateau(self) -> bool:
        """Whether it watches a metric."""
        return self._schedule.is_plateau

    @property
    def is_per_step(self) -> bool:
        """Whether it advances with every optimizer step and not with every epoch."""
        return self.per == "step"

    @property
    def mode(self) -> str:
        """Which way plateau's metric is better, ``"min"`` or ``"max"``."""
        return str(getattr(self.scheduler, "mode", "min"))

    def step(self, metric: float | Tensor | None = None) -> None:
        """Advance: call it after every optimizer step or after every epoch, as ``per`` says.

        A one-cycle or cosine schedule that has ended holds its last rate, while torch would raise an error or raise the
        rate.

        Args:
            metric: what plateau watches, a number or a 0-d tensor; timm's are given it per epoch; the others ignore it.

        Raises:
            ValueError: for plateau without a metric.
        """
        self._schedule.advance(metric)

    def get_lr(self) -> float:
        """The learning rate of the first parameter group, now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def attach(
        self, trainer: Engine, metric: Metric = "val_loss", *, independent: bool = False
    ) -> "LearningRateScheduler":
        """Advance with ``trainer``.

        Args:
            trainer: ours, or any Engine whose update function steps the optimizer.
            metric: what plateau watches: a name in ``trainer.state.metrics`` or a function of the engine. A schedule
                of timm's is given it where the epoch has measured it.
            independent: allow plateau to watch another metric, or another direction, than the trainer's other handlers.

        Raises:
            RuntimeError: if the schedule belongs to another optimizer than the trainer's, or is attached already.
            ValueError: if another handler of the trainer watches another metric, or the other way, and this one is
                not ``independent``.
        """
        self._metric = metric
        host = training_host_of(trainer, self).of_optimizer(self.optimizer)
        if self.is_plateau:
            host.metrics.watch(metric, self.mode, independent=independent)
        host.keep("lr_scheduling", self)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._schedule.groups.follow)
        if self.is_per_step:
            host.after_optimizer_step(self)
            return self
        host.to_decide(self, on_metrics=self.is_plateau)
        if self.per is None and self._schedule.counted is not None:
            host.after_optimizer_step(self._schedule.groups.follow)
            host.after_optimizer_step(self._schedule.counted.end_update)
        return self

    @with_numbers_only
    def __call__(self, trainer: Engine) -> None:
        """Advance after a step or an epoch, as ``per`` says."""
        if self.is_per_step:
            self.step()
            return
        host = host_of(trainer).of_optimizer(self.optimizer)
        if (steps := host.steps_taken) is not None:
            if steps == self._steps_seen:
                return
            self._steps_seen = steps
        if self._schedule.counted is not None:
            is_there = callable(self._metric) or self._metric in host.metrics.new()
            self.step(host.metrics.read(self._metric, self, is_first=False) if is_there else None)
        elif not self.is_plateau:
            self.step()
        elif (value := host.metrics.read(self._metric, self, is_first=not self.scheduler.last_epoch)) is not None:
            self.step(value)

    @contextmanager
    def looking_ahead(self) -> Iterator[None]:
        """Inside the block :meth:`step` may be called to learn the rates to come; after it, it was not."""
        state = copy.deepcopy(self.state_dict())
        groups = [dict(group) for group in self.optimizer.param_groups]
        try:
            yield
        finally:
            self.load_state_dict(state)
            for group, values in zip(self.optimizer.param_groups, groups, strict=True):
                group.update(values)

    def stretch_to(self, length: int) -> None:
        """Spread a cosine or one-cycle schedule over another length, and set the rates that it has here then.

        Args:
            length: epochs or optimizer steps, as it advances, counted from the run's first.

        Raises:
            ValueError: for another type of schedule, or a length that the run has passed.
        """
        self._schedule.stretch_to(length)

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply all that the schedule computes rates from, except for what the optimizer's groups hold."""
        scale_lists(self.scheduler, factor)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's own state, its type, and what it advances with."""
        return {**self._schedule.state_dict(), "steps_seen": self._steps_seen}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the schedule was.

        Raises:
            ValueError: if the state is of another type of schedule, of one that advances with something else, or of
                more parameter groups.
        """
        self._schedule.load_state_dict(state, stretch=self.stretch)
        self._steps_seen = state["steps_seen"]

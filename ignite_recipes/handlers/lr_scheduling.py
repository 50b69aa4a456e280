"""Change the learning rate on torch's own schedules or timm's, after every optimizer step or after every epoch."""

import logging
import math
from typing import Any

from ignite.engine import Engine, Events
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CyclicLR, LRScheduler, OneCycleLR, ReduceLROnPlateau

from ignite_recipes.arguments import whole_number
from ignite_recipes.handlers._counted_schedule import CountedSchedule
from ignite_recipes.handlers._host import Host, host_of
from ignite_recipes.handlers._host_metrics import Metric
from ignite_recipes.handlers._named_schedule import NAMES, make_schedule
from ignite_recipes.handlers._scheduled_groups import ScheduledGroups, scale_lists

__all__ = ["LearningRateScheduler"]

logger = logging.getLogger(__name__)


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
    StepLR, MultiStepLR, ExponentialLR, plateau; see torch's ChainedScheduler); the others set it anew.

    Parameter groups may be added, replaced or removed during a run. The rate that a group is added with is its base
    rate (one-cycle and cyclic: its peak), and from the next batch on it has the rates of a group that was always there.

    Runs:   trainer. Per step: OPTIMIZER_STEP_COMPLETED; per epoch: METRICS_READY (another Engine:
            ITERATION_COMPLETED and EPOCH_COMPLETED). Never after a step that was dropped, nor after an
            epoch in which all were. ITERATION_STARTED: to take notice of new parameter groups.
    Reads:  plateau, and timm's per epoch where it is measured: ``state.metrics[metric]``.
    Writes: the learning rate of the optimizer's parameter groups.
    Keeps:  the schedule's own state, and of which parameter groups it is; for timm's also how many epochs and steps
            it was told of.

    Args:
        optimizer: whose learning rate to change.
        scheduler_type: ``"plateau"``, ``"cosine"``, ``"step"``, ``"exp"`` or ``"onecycle"``; or a torch
            scheduler of that optimizer, of any kind, e.g. a SequentialLR of a warm-up and a cosine; or one with the
            methods of timm's: ``step(epoch, metric=None)``, ``step_update(num_updates, metric=None)``,
            ``state_dict()`` and ``load_state_dict(state)``. The first epoch or step that it is told of is 1.
        patience, factor, T_max, gamma, settings: as above, and every other argument of the torch scheduler.
        stretch: where a resumed run has another length than before, spread a cosine or one-cycle schedule over the
            length that is given here. Otherwise it keeps the length it began with. Its rates are set as if it were
            the optimizer's only schedule.
        per: ``"step"`` advances after every optimizer step, and all lengths are steps; ``"epoch"`` after every
            epoch. None is what the schedule is made for: OneCycleLR and CyclicLR per step, torch's others per epoch;
            timm's is told of both and acts on one, as it was made to. Plateau is always per epoch: it compares
            metrics, and a step measures none.

    Raises:
        ValueError: for an unknown type or ``per``, plateau per step, a schedule of another optimizer, or a value that
            torch refuses.
        TypeError: for a schedule of another kind, or an unknown setting, naming those there are.

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
        self._counted: CountedSchedule | None = None
        self.scheduler: Any
        if isinstance(scheduler_type, str):
            self.scheduler_type = scheduler_type
            self.scheduler = make_schedule(optimizer, scheduler_type, patience, factor, T_max, gamma, settings)
        else:
            self._take(scheduler_type)
        self.per = self._chosen(per)
        self._groups = ScheduledGroups(optimizer, self.scheduler)

    def _chosen(self, per: str | None) -> str | None:
        """What it advances with: ``"step"`` or ``"epoch"``, or None where the schedule is told of both."""
        if per not in (None, "step", "epoch"):
            raise ValueError(f"per must be 'step' or 'epoch', or None for what the schedule is made for; got {per!r}")
        if per == "step" and self.is_plateau:
            raise ValueError(
                "a plateau schedule must advance per epoch, because it compares metrics and a step measures none; got "
                "per='step': leave per out, or take a schedule that needs no metric"
            )
        if per is not None or self._counted is not None:
            return per
        return "step" if isinstance(self.scheduler, (OneCycleLR, CyclicLR)) else "epoch"

    def _take(self, scheduler: Any) -> None:
        """Use a scheduler that the user has made."""
        if not isinstance(scheduler, LRScheduler):
            if not CountedSchedule.is_one(scheduler):
                got = f"the class {scheduler.__name__}" if isinstance(scheduler, type) else type(scheduler).__name__
                raise TypeError(
                    f"scheduler_type must be one of the names {', '.join(NAMES)}, a torch scheduler, or an object "
                    "with step(epoch, metric), step_update(num_updates), state_dict() and load_state_dict(state), as "
                    f"timm's have; got {got}: make one of these for this optimizer"
                )
            self._counted = CountedSchedule(scheduler)
        if getattr(scheduler, "optimizer", self.optimizer) is not self.optimizer:
            raise ValueError("the schedule must be of the same optimizer; got another one's")
        self.scheduler, self.scheduler_type = scheduler, type(scheduler).__name__

    def __repr__(self) -> str:
        return f"LearningRateScheduler({self.scheduler_type!r})"

    @property
    def is_plateau(self) -> bool:
        """Whether it watches a metric."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    @property
    def is_per_step(self) -> bool:
        """Whether it advances with every optimizer step and not with every epoch."""
        return self.per == "step"

    @property
    def _kept(self) -> Any:
        """What has the state."""
        return self.scheduler if self._counted is None else self._counted

    @property
    def mode(self) -> str:
        """Which way plateau's metric is better, ``"min"`` or ``"max"``."""
        return str(getattr(self.scheduler, "mode", "min"))

    @property
    def _length(self) -> int | None:
        """Of a schedule that its length is a part of, in epochs or steps."""
        if isinstance(self.scheduler, OneCycleLR):
            return int(self.scheduler.total_steps)
        return int(self.scheduler.T_max) if self.scheduler_type == "cosine" else None

    @property
    def _steps_after_end(self) -> int | None:
        """How many steps or epochs ago a schedule that has a length has ended; None if it has not."""
        if (length := self._length) is None:
            return None
        after = self.scheduler.last_epoch + isinstance(self.scheduler, OneCycleLR) - length
        return after if after >= 0 else None

    def step(self, metric: float | Tensor | None = None) -> None:
        """Advance: call it after every optimizer step or after every epoch, as ``per`` says.

        A one-cycle or cosine schedule that has ended holds its last rate, where torch would raise or begin to climb.

        Args:
            metric: what plateau watches, a number or a 0-d tensor; timm's are given it per epoch; the others ignore it.

        Raises:
            ValueError: for plateau without a metric.
        """
        self._groups.follow()
        if self._counted is not None:
            if self.is_per_step:
                self._counted.end_update()
            else:
                self._counted.end_epoch(None if metric is None else float(metric))
            return
        if (after := self._steps_after_end) is not None:
            self.scheduler.last_epoch += 1  # counted, so that a schedule that is stretched knows where the run is
            if after == int(isinstance(self.scheduler, OneCycleLR)):  # a run's last step is one
                logger.warning(
                    "the %s schedule of %d %s has ended: the learning rate stays at %.3g. To spread it over a longer "
                    "run, resume with stretch_schedule=True (a scheduler of your own: stretch=True)",
                    "one-cycle" if isinstance(self.scheduler, OneCycleLR) else "cosine",
                    self._length,
                    "steps" if self.is_per_step else "epochs",
                    self.get_lr(),
                )
            return
        if not self.is_plateau:
            self.scheduler.step()
            return
        if metric is None:
            raise ValueError("plateau must be given the metric it watches: step(val_loss)")
        self.scheduler.step(float(metric))

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
            independent: say that it is meant where plateau watches another metric than the trainer's other handlers,
                or the other way.

        Raises:
            RuntimeError: if the schedule belongs to another optimizer than the trainer's, or is attached already.
            ValueError: if another handler of the trainer watches another metric, or the other way, and this one is
                not ``independent``.
        """
        self._metric = metric
        host = host_of(trainer).of_optimizer(self.optimizer)
        if self.is_plateau:
            host.metrics.watch(metric, self.mode, independent=independent)
        host.keep("lr_scheduling", self)
        trainer.add_event_handler(Events.ITERATION_STARTED, self._groups.follow)
        if self.is_per_step:
            host.after_optimizer_step(self)
            return self
        host.to_decide(self, on_metrics=self.is_plateau)
        if self._counted is not None and self.per is None:
            host.after_optimizer_step(self._groups.follow)
            host.after_optimizer_step(self._counted.end_update)
        return self

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
        if self._counted is not None:
            self.step(self._if_measured(host))
        elif not self.is_plateau:
            self.step()
        elif (value := host.metrics.read(self._metric, self, is_first=not self.scheduler.last_epoch)) is not None:
            self.step(value)

    def _if_measured(self, host: Host) -> float | None:
        is_there = callable(self._metric) or self._metric in host.metrics.new()
        return host.metrics.read(self._metric, self, is_first=False) if is_there else None

    def stretch_to(self, length: int) -> None:
        """Spread a cosine or one-cycle schedule over another length, and set the rates that it has here then.

        Args:
            length: epochs or optimizer steps, as it advances, counted from the run's first.

        Raises:
            ValueError: for another type of schedule, or a length that the run has passed.
        """
        self._groups.follow()
        before, scheduler = self._length, self.scheduler
        if before is None:
            raise ValueError(f"only a cosine or one-cycle schedule has a length; got {self.scheduler_type!r}")
        done = scheduler.last_epoch
        whole_number(length, "length", at_least=done)
        if isinstance(scheduler, OneCycleLR):
            for phase in scheduler._schedule_phases:
                phase["end_step"] = (phase["end_step"] + 1) * length / before - 1
            scheduler.total_steps = length
            scheduler.last_epoch = min(done, length - 1) - 1
            scheduler.step()  # computes the rates of this place anew
            scheduler.last_epoch = done
        else:
            part = (1 + math.cos(math.pi * done / length)) / 2
            scheduler.T_max = length
            floor = scheduler.eta_min
            for group, base in zip(self.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = floor + (base - floor) * part

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply all that the schedule computes rates from, but for what the optimizer's groups hold."""
        scale_lists(self.scheduler, factor)

    def state_dict(self) -> dict[str, Any]:
        """The schedule's own state, its type, and what it advances with."""
        return {
            "type": self.scheduler_type,
            "per": self.per,
            "scheduler": self._kept.state_dict(),
            "groups": self._groups.positions(),
            "steps_seen": self._steps_seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the schedule was.

        Raises:
            ValueError: if the state is of another type of schedule, of one that advances with something else, or of
                more parameter groups.
        """
        if state["type"] != self.scheduler_type:
            raise ValueError(f"the saved schedule is {state['type']!r}, this one is {self.scheduler_type!r}")
        if (per := state.get("per", self.per)) != self.per:  # older files do not say
            raise ValueError(f"the saved schedule has per={per!r}, this one {self.per!r}: resume with the same")
        self._groups.expect(state.get("groups"))  # older files have none
        wanted = self._length
        self._kept.load_state_dict(state["scheduler"])
        # Torch warns of a schedule that steps before its optimizer; this one's has, in an earlier process.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self._steps_seen = state["steps_seen"]
        if self.stretch and wanted is not None and wanted != self._length:
            logger.info("the %s schedule is stretched from %s to %d", self.scheduler_type, self._length, wanted)
            self.stretch_to(wanted)

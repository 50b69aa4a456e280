"""Change the learning rate on torch's own schedules, at the moments torch means them for."""

import logging
import math
from difflib import get_close_matches
from numbers import Real
from typing import Any

from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    CyclicLR,
    ExponentialLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    StepLR,
)

from ignite_recipes.arguments import whole_number
from ignite_recipes.handlers._host import Metric, host_of

__all__ = ["LearningRateScheduler"]

logger = logging.getLogger(__name__)

# What each type passes to its torch scheduler when given, in addition to the defaults of __init__.
_TORCH = {
    "plateau": (ReduceLROnPlateau, ("mode", "threshold", "threshold_mode", "cooldown", "min_lr", "eps")),
    "cosine": (CosineAnnealingLR, ("eta_min",)),
    "step": (StepLR, ("step_size",)),
    "exp": (ExponentialLR, ()),
    "onecycle": (
        OneCycleLR,
        (
            "max_lr",
            "total_steps",
            "epochs",
            "steps_per_epoch",
            "pct_start",
            "anneal_strategy",
            "cycle_momentum",
            "base_momentum",
            "max_momentum",
            "div_factor",
            "final_div_factor",
            "three_phase",
        ),
    ),
}
_DEFAULT_GAMMA = 0.95  # of "exp"


class LearningRateScheduler:
    """One of five torch schedules, each with the settings of its type; settings of the others are ignored.

    ========== ==================== ========================================================
    type       torch scheduler      settings of ours, and their defaults
    ========== ==================== ========================================================
    plateau    ReduceLROnPlateau    ``patience=5`` epochs, ``factor=0.5``
    cosine     CosineAnnealingLR    ``T_max=50`` epochs; it holds its last rate afterwards
    step       StepLR               ``step_size=10`` epochs; ``gamma``, else ``factor=0.5``
    exp        ExponentialLR        ``gamma=0.95``
    onecycle   OneCycleLR           ``max_lr`` = the optimizer's rate, the peak; ``total_steps``,
                                    or ``epochs`` and ``steps_per_epoch``, or ``T_max=50`` steps
    ========== ==================== ========================================================

    Runs:   trainer. onecycle: OPTIMIZER_STEP_COMPLETED; the others: METRICS_READY (another Engine:
            ITERATION_COMPLETED and EPOCH_COMPLETED). Never after a step that was dropped, nor after an
            epoch in which all were.
    Reads:  plateau: ``state.metrics[metric]``.
    Writes: the learning rate of the optimizer's parameter groups.
    Keeps:  torch's state of the schedule.

    Args:
        optimizer: whose learning rate to change.
        scheduler_type: ``"plateau"``, ``"cosine"``, ``"step"``, ``"exp"`` or ``"onecycle"``; or a torch
            scheduler of that optimizer, of any kind: OneCycleLR and CyclicLR advance with every step, the
            others with every epoch.
        patience, factor, T_max, gamma, settings: as above, and every other argument of the torch scheduler.
        stretch: where a resumed run has another length than before, spread a cosine or one-cycle schedule over the
            length that is given here. Otherwise it keeps the length it began with.

    Raises:
        ValueError: for an unknown type, or a value that torch refuses.
        TypeError: for an unknown setting, naming those there are.

    >>> from torch import nn, optim
    >>> optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr=1.0)
    >>> scheduler = LearningRateScheduler(optimizer, "plateau", patience=1, factor=0.1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     scheduler.step(loss)
    >>> scheduler.get_lr()
    0.1
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler_type: str | LRScheduler = "plateau",
        patience: int = 5,
        factor: float = 0.5,
        T_max: int = 50,  # noqa: N803  # torch's name
        gamma: float | None = None,
        *,
        stretch: bool = False,
        **settings: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._metric: Metric = "val_loss"
        self._steps_seen = self._steps_after_end = 0
        self.stretch = stretch
        if isinstance(scheduler_type, LRScheduler):
            if scheduler_type.optimizer is not optimizer:
                raise ValueError("the schedule must be of the same optimizer; got another one's")
            self.scheduler, self.scheduler_type = scheduler_type, type(scheduler_type).__name__
            return
        if scheduler_type not in _TORCH:
            near = get_close_matches(str(scheduler_type), _TORCH, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"scheduler_type must be one of {', '.join(_TORCH)}; got {scheduler_type!r}{hint}")
        known = {name for _, names in _TORCH.values() for name in names}
        if unknown := sorted(set(settings) - known):
            choices = ", ".join(["patience", "factor", "T_max", "gamma", *sorted(known)])
            raise TypeError(f"unknown setting {', '.join(unknown)}; the settings are: {choices}")
        if not isinstance(factor, (float, Real)) or not factor > 0:
            raise ValueError(f"factor must be positive, it multiplies the learning rate; got {factor!r}")
        if gamma is not None and (not isinstance(gamma, (float, Real)) or not gamma > 0):
            raise ValueError(f"gamma must be positive, it multiplies the learning rate; got {gamma!r}")
        patience = whole_number(patience, "patience", "epochs", at_least=0)
        T_max = whole_number(T_max, "T_max")  # noqa: N806
        whole_number(settings.get("step_size", 1), "step_size")
        self.scheduler_type = scheduler_type
        torch_scheduler, names = _TORCH[scheduler_type]
        chosen = {name: settings[name] for name in names if name in settings}
        if scheduler_type == "plateau":
            chosen |= {"patience": patience, "factor": factor}
        elif scheduler_type == "cosine":
            chosen["T_max"] = T_max
        elif scheduler_type == "step":
            chosen["gamma"] = factor if gamma is None else gamma
            chosen.setdefault("step_size", 10)
        elif scheduler_type == "exp":
            chosen["gamma"] = _DEFAULT_GAMMA if gamma is None else gamma
        else:
            chosen.setdefault("max_lr", [group["lr"] for group in optimizer.param_groups])
            if not {"total_steps", "epochs", "steps_per_epoch"} & set(chosen):
                chosen["total_steps"] = T_max
        self.scheduler = torch_scheduler(optimizer, **chosen)

    def __repr__(self) -> str:
        return f"LearningRateScheduler({self.scheduler_type!r})"

    @property
    def is_plateau(self) -> bool:
        """Whether it watches a metric."""
        return isinstance(self.scheduler, ReduceLROnPlateau)

    @property
    def is_per_step(self) -> bool:
        """Whether it advances with every optimizer step and not with every epoch."""
        return isinstance(self.scheduler, (OneCycleLR, CyclicLR))

    @property
    def mode(self) -> str:
        """Which way plateau's metric is better, ``"min"`` or ``"max"``."""
        return str(getattr(self.scheduler, "mode", "min"))

    @property
    def _length(self) -> int | None:
        """Of a schedule that its length is a part of, in epochs or steps."""
        if isinstance(self.scheduler, OneCycleLR):
            return int(self.scheduler.total_steps)
        return int(self.scheduler.T_max) if self.scheduler_type == "cosine" else None  # type: ignore[attr-defined]

    @property
    def _has_ended(self) -> bool:
        if (length := self._length) is None:
            return False
        return self.scheduler.last_epoch + isinstance(self.scheduler, OneCycleLR) >= length

    def step(self, metric: float | Tensor | None = None) -> None:
        """Advance: onecycle after every optimizer step, the others after every epoch.

        A one-cycle or cosine schedule that has ended holds its last rate, where torch would raise or begin to climb.

        Args:
            metric: what plateau watches, a number or a 0-d tensor; the others ignore it.

        Raises:
            ValueError: for plateau without a metric.
        """
        if self._has_ended:
            self._steps_after_end += 1
            if self._steps_after_end == 1 + isinstance(self.scheduler, OneCycleLR):  # a run's last step is one
                logger.warning(
                    "the %s schedule of %d %s has ended: the learning rate stays at %.3g. To spread it over a longer "
                    "run, resume with stretch_schedule=True (a scheduler of your own: stretch=True)",
                    "one-cycle" if self.is_per_step else "cosine",
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
        self.scheduler.step(float(metric))  # type: ignore[arg-type]  # ReduceLROnPlateau's own signature

    def get_lr(self) -> float:
        """The learning rate of the first parameter group, now."""
        return float(self.optimizer.param_groups[0]["lr"])

    def attach(
        self, trainer: Engine, metric: Metric = "val_loss", *, independent: bool = False
    ) -> "LearningRateScheduler":
        """Advance with ``trainer``.

        Args:
            trainer: ours, or any Engine whose update function steps the optimizer.
            metric: what plateau watches: a name in ``trainer.state.metrics`` or a function of the engine.
            independent: say that it is meant where plateau watches another metric than the trainer's other handlers,
                or the other way.

        Raises:
            RuntimeError: if the schedule belongs to another optimizer than the trainer's, or is attached already.
            ValueError: if another handler of the trainer watches another metric, or the other way, and this one is
                not ``independent``.
        """
        self._metric = metric
        host = host_of(trainer)
        if host.step is not None and host.step.optimizer is not self.optimizer:
            raise RuntimeError("the schedule must be of the trainer's own optimizer; got another one's")
        if self.is_plateau:
            host.watch(metric, self.mode, independent=independent)
        host.keep("lr_scheduling", self)
        if self.is_per_step:
            host.after_optimizer_step(self)
        else:
            host.to_decide(self)
        return self

    def __call__(self, trainer: Engine) -> None:
        """Advance after a step or an epoch, as the type has it."""
        if self.is_per_step:
            self.step()
            return
        host = host_of(trainer)
        if (steps := host.steps_taken) is not None:
            if steps == self._steps_seen:
                return
            self._steps_seen = steps
        if not self.is_plateau:
            self.step()
        elif (value := host.read(self._metric)) is not None:
            self.step(value)

    def stretch_to(self, length: int) -> None:
        """Spread a cosine or one-cycle schedule over another length, and set the rates that it has here then.

        Args:
            length: epochs of a cosine, optimizer steps of a one-cycle schedule, counted from the run's first.

        Raises:
            ValueError: for another type of schedule, or a length that the run has passed.
        """
        before, scheduler = self._length, self.scheduler
        if before is None:
            raise ValueError(f"only a cosine or one-cycle schedule has a length; got {self.scheduler_type!r}")
        whole_number(length, "length", at_least=scheduler.last_epoch + 1)
        if isinstance(scheduler, OneCycleLR):
            for phase in scheduler._schedule_phases:
                phase["end_step"] = (phase["end_step"] + 1) * length / before - 1
            scheduler.total_steps = length
            scheduler.last_epoch -= 1
            scheduler.step()  # computes the rates of this place anew
        else:
            part = (1 + math.cos(math.pi * scheduler.last_epoch / length)) / 2
            scheduler.T_max = length  # type: ignore[attr-defined]
            floor = scheduler.eta_min  # type: ignore[attr-defined]
            for group, base in zip(self.optimizer.param_groups, scheduler.base_lrs, strict=True):
                group["lr"] = floor + (base - floor) * part
        self._steps_after_end = 0

    def scale_learning_rate(self, factor: float) -> None:
        """Multiply all that the schedule computes rates from, but for what the optimizer's groups hold."""
        for part in (self.scheduler, *getattr(self.scheduler, "_schedulers", ())):
            for name in ("base_lrs", "max_lrs", "_last_lr"):
                if hasattr(part, name):
                    setattr(part, name, [rate * factor for rate in getattr(part, name)])

    def state_dict(self) -> dict[str, Any]:
        """Torch's own state of the schedule, and its type."""
        return {
            "type": self.scheduler_type,
            "scheduler": self.scheduler.state_dict(),
            "steps_seen": self._steps_seen,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue where the schedule was.

        Raises:
            ValueError: if the state is of another type of schedule.
        """
        if state["type"] != self.scheduler_type:
            raise ValueError(f"the saved schedule is {state['type']!r}, this one is {self.scheduler_type!r}")
        wanted = self._length
        self.scheduler.load_state_dict(state["scheduler"])
        # Torch warns of a schedule that steps before its optimizer; this one's has, in an earlier process.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self._steps_seen = state["steps_seen"]
        if self.stretch and wanted is not None and wanted != self._length:
            logger.info("the %s schedule is stretched from %s to %d", self.scheduler_type, self._length, wanted)
            self.stretch_to(wanted)

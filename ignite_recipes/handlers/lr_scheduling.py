"""Change the learning rate on torch's own schedules, at the moments torch means them for."""

import logging
from difflib import get_close_matches
from numbers import Integral, Real
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
    cosine     CosineAnnealingLR    ``T_max=50`` epochs
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
        **settings: Any,
    ) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"optimizer must be a torch.optim.Optimizer; got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self._metric: Metric = "val_loss"
        self._steps_seen = self._steps_after_end = 0
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
        if not isinstance(patience, Integral) or patience < 0:
            raise ValueError(f"patience must be a whole number of epochs, not negative; got {patience!r}")
        for name, length in (("T_max", T_max), ("step_size", settings.get("step_size", 1))):
            if not isinstance(length, Integral) or length < 1:
                raise ValueError(f"{name} must be a whole number of at least 1; got {length!r}")
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

    def step(self, metric: float | Tensor | None = None) -> None:
        """Advance: onecycle after every optimizer step, the others after every epoch.

        A cycle that has ended holds its last rate, where torch would raise.

        Args:
            metric: what plateau watches, a number or a 0-d tensor; the others ignore it.

        Raises:
            ValueError: for plateau without a metric.
        """
        if isinstance(self.scheduler, OneCycleLR) and self.scheduler.last_epoch + 1 >= self.scheduler.total_steps:
            self._steps_after_end += 1
            if self._steps_after_end == 2:  # the last step of a run is one
                logger.warning(
                    "the one-cycle schedule of %d steps has ended; the learning rate stays at %.3g. To train on at a "
                    "higher one, start another run from these weights",
                    self.scheduler.total_steps,
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

    def attach(self, trainer: Engine, metric: Metric = "val_loss") -> "LearningRateScheduler":
        """Advance with ``trainer``.

        Args:
            trainer: ours, or any Engine whose update function steps the optimizer.
            metric: what plateau watches: a name in ``trainer.state.metrics`` or a function of the engine.

        Raises:
            RuntimeError: if the schedule belongs to another optimizer than the trainer's, or is attached already.
            ValueError: if another handler of the trainer watches another metric, or the other way.
        """
        self._metric = metric
        host = host_of(trainer)
        if host.step is not None and host.step.optimizer is not self.optimizer:
            raise RuntimeError("the schedule must be of the trainer's own optimizer; got another one's")
        if self.is_plateau:
            host.watch(metric, self.mode)
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
        self.step(host.read(self._metric) if self.is_plateau else None)

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
        self.scheduler.load_state_dict(state["scheduler"])
        # Torch warns of a schedule that steps before its optimizer; this one's has, in an earlier process.
        self.optimizer._opt_called = True  # type: ignore[attr-defined]
        self._steps_seen = state["steps_seen"]

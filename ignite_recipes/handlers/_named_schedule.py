"""The five schedules of torch's that have a name here, and the defaults of their settings."""

from difflib import get_close_matches
from numbers import Real
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, ExponentialLR, OneCycleLR, ReduceLROnPlateau, StepLR

from ignite_recipes.arguments import whole_number

__all__ = ["NAMES", "make_schedule"]

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

NAMES = tuple(_TORCH)


def make_schedule(
    optimizer: Optimizer,
    name: str,
    patience: int,
    factor: float,
    T_max: int,  # noqa: N803  # torch's name
    gamma: float | None,
    settings: dict[str, Any],
) -> Any:
    """Make a scheduler of torch's by its name; the arguments are those of ``LearningRateScheduler``.

    Raises:
        ValueError: for an unknown name, or a value that makes no sense.
        TypeError: for a setting that none of the schedules has.
    """
    if name not in _TORCH:
        near = get_close_matches(name, _TORCH, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"scheduler_type must be one of {', '.join(_TORCH)}; got {name!r}{hint}")
    known = {setting for _, names in _TORCH.values() for setting in names}
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
    torch_scheduler, names = _TORCH[name]
    chosen = {setting: settings[setting] for setting in names if setting in settings}
    if name == "plateau":
        chosen |= {"patience": patience, "factor": factor}
    elif name == "cosine":
        chosen["T_max"] = T_max
    elif name == "step":
        chosen["gamma"] = factor if gamma is None else gamma
        chosen.setdefault("step_size", 10)
    elif name == "exp":
        chosen["gamma"] = _DEFAULT_GAMMA if gamma is None else gamma
    else:
        chosen.setdefault("max_lr", [group["lr"] for group in optimizer.param_groups])
        if not {"total_steps", "epochs", "steps_per_epoch"} & set(chosen):
            chosen["total_steps"] = T_max
    return torch_scheduler(optimizer, **chosen)

"""When a run has trained enough: pure functions of an epoch's value, the best one, and the limits that are set."""

import math
from numbers import Real
from typing import Protocol

from ignite_recipes.handlers._numbers import is_better

__all__ = ["StoppingLimits", "beats_baseline", "check_limits", "limits_in_words", "may_stop", "reason_to_stop"]


class StoppingLimits(Protocol):
    """The settings of ``EarlyStopping`` that decide; they are explained there."""

    patience: int | None
    min_delta: float
    mode: str
    baseline: float | None
    divergence_threshold: float | None
    stopping_threshold: float | None


def check_limits(limits: StoppingLimits) -> None:
    """Refuse limits that no run can be judged by.

    Raises:
        ValueError: naming the limit, and what it must be.
    """
    if not isinstance(limits.min_delta, (float, Real)) or not limits.min_delta >= 0:
        raise ValueError(f"min_delta must not be negative, in the units of the metric; got {limits.min_delta!r}")
    if limits.mode not in ("min", "max"):
        raise ValueError(f"mode must be 'min' or 'max'; got {limits.mode!r}")
    for name in ("baseline", "divergence_threshold", "stopping_threshold"):
        value = getattr(limits, name)
        if value is not None and (not isinstance(value, (float, Real)) or math.isnan(value)):
            raise ValueError(f"{name} must be a number in the units of the metric, or None; got {value!r}")
    good, bad = limits.stopping_threshold, limits.divergence_threshold
    if good is not None and bad is not None and is_better(bad, good, limits.mode):
        raise ValueError(
            f"stopping_threshold must not be worse than divergence_threshold, or every value stops the run; got "
            f"{good:g} and {bad:g} with mode={limits.mode!r}"
        )


def may_stop(limits: StoppingLimits) -> bool:
    """Whether there is anything that stops a run."""
    return not (limits.patience is None and limits.divergence_threshold is None and limits.stopping_threshold is None)


def beats_baseline(limits: StoppingLimits, value: float) -> bool:
    """Whether an improvement to this value gives patience back."""
    return limits.baseline is None or is_better(value, limits.baseline, limits.mode, limits.min_delta)


def reason_to_stop(limits: StoppingLimits, value: float, best: float, wait: int) -> str | None:
    """Why an epoch of this value is the last one; None if it is not.

    Args:
        limits: the settings that decide.
        value: the value of the epoch.
        best: of all epochs, this one included.
        wait: epochs without an improvement, this one included.
    """
    good, bad, baseline = limits.stopping_threshold, limits.divergence_threshold, limits.baseline
    if good is not None and is_better(value, good, limits.mode):
        return f"{value:g} is better than stopping_threshold={good:g}"
    if bad is not None and is_better(bad, value, limits.mode):
        return f"{value:g} is worse than divergence_threshold={bad:g}"
    if limits.patience is None or wait < limits.patience:
        return None
    if baseline is not None and not beats_baseline(limits, best):
        return f"the baseline of {baseline:g} was not beaten for {wait} epochs, the best was {best:g}"
    return f"no improvement on {best:g} for {wait} epochs"


def limits_in_words(limits: StoppingLimits) -> str:
    """What may stop a run."""
    thresholds = {
        "divergence_threshold": limits.divergence_threshold,
        "stopping_threshold": limits.stopping_threshold,
    }
    given = [f"{name} {value:g}" for name, value in thresholds.items() if value is not None]
    return ", ".join([f"patience {limits.patience}", *given])

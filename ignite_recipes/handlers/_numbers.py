"""The metrics of an epoch as numbers, and which is better; others, e.g. a confusion matrix, belong into a report."""

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["as_number", "is_better", "numbers_of"]

logger = logging.getLogger(__name__)


def as_number(value: Any) -> float | None:
    """The value as a float; None if it is not a single number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of several elements raises RuntimeError
        return None


def is_better(value: float, than: float, mode: str, least: float = 0.0) -> bool:
    """Whether a value is smaller (``mode="max"``: larger) by more than ``least``.

    NaN is never better than another value, and none is better than NaN.

    >>> is_better(0.5, 1.0, "min"), is_better(0.5, 1.0, "max"), is_better(0.5, 1.0, "min", least=0.5)
    (True, False, False)
    """
    return value < than - least if mode == "min" else value > than + least


def numbers_of(metrics: Mapping[str, Any], said: set[str]) -> dict[str, float]:
    """The metrics that are numbers; of each other one a warning says, once for ``said``, that it is left out."""
    found = {}
    for name, value in metrics.items():
        number = as_number(value)
        if number is not None:
            found[name] = number
        elif name not in said:
            said.add(name)
            shape = f" of shape {tuple(value.shape)}" if hasattr(value, "shape") else ""
            logger.warning(
                "the metric %r is not a number but a %s%s: history, logs and progress bars leave it out; it is in "
                "state.metrics, and a recipe's results and checkpoints have it as `report`",
                name, type(value).__name__, shape,
            )  # fmt: skip
    return found

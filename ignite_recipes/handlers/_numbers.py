"""The metrics of an epoch that are numbers; others, e.g. a confusion matrix, belong into a report."""

import logging
from collections.abc import Mapping
from typing import Any

__all__ = ["as_number", "numbers_of"]

logger = logging.getLogger(__name__)


def as_number(value: Any) -> float | None:
    """The value as a float; None if it is no single number."""
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):  # a tensor of several elements raises RuntimeError
        return None


def numbers_of(metrics: Mapping[str, Any], said: set[str], who: object) -> dict[str, float]:
    """The metrics that are numbers; of each other one a warning says once that ``who`` leaves it out."""
    found = {}
    for name, value in metrics.items():
        number = as_number(value)
        if number is not None:
            found[name] = number
        elif name not in said:
            said.add(name)
            logger.warning("%r leaves out the metric %r, which is no number but %s", who, name, type(value).__name__)
    return found

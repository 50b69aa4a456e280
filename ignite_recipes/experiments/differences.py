"""In which settings experiments differ."""

from collections.abc import Mapping
from typing import Any

__all__ = ["difference_labels", "differences"]

_LABELS = ("name", "tag")  # what people call it, no setting of the training
_MOST = 3  # settings in a label
_LONGEST = 24  # characters of a value in a label


def differences(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The settings that not all experiments have alike, each with its value in each experiment that has it.

    >>> differences({"exp1": {"seed": 1, "epochs": 5}, "exp2": {"seed": 2, "epochs": 5, "name": "second"}})
    {'seed': {'exp1': 1, 'exp2': 2}}
    """
    names = dict.fromkeys(name for own in settings.values() for name in own if name not in _LABELS)
    found = {name: {label: own[name] for label, own in settings.items() if name in own} for name in names}
    return {
        name: values
        for name, values in found.items()
        if any(value != next(iter(values.values())) for value in values.values())
        or (len(values) < len(settings) and any(value is not None for value in values.values()))
    }


def difference_labels(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """The label of each experiment in a legend: its own values of the settings that differ, three at most.

    >>> difference_labels({"exp1": {"learning_rate": 0.1}, "exp2": {"learning_rate": 0.01}})
    {'exp1': 'learning_rate 0.1', 'exp2': 'learning_rate 0.01'}
    """
    different = differences(settings)
    labels = {}
    for label in settings:
        own = [(name, values[label]) for name, values in different.items() if label in values]
        shown = [f"{name} {_short(value)}" for name, value in own if value is not None]
        labels[label] = ", ".join([*shown[:_MOST], *(["..."] if len(shown) > _MOST else [])])
    return labels


def _short(value: Any) -> str:
    text = f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= _LONGEST else f"...{text[3 - _LONGEST :]}"

"""What train_many was given for all members, as far as it can be compared when the experiment is continued."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ignite_recipes.loading.batches import digest
from ignite_recipes.recipes.plain_settings import plain

__all__ = ["arguments_of", "check_given", "given_settings"]

_MAY_CHANGE = {
    *("epochs", "num_epochs", "device", "verbose", "progress", "print_every", "log_every", "handlers", "metadata"),
    *("compile", "save_every", "save_every_iterations"),
}
"""What a run may be continued with another value of."""

_MOST_ITEMS = 100  # of a list; longer ones are data


def given_settings(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Settings and data in types of JSON: of arrays their shape and a fingerprint; nothing of functions and objects.

    >>> sorted(given_settings({"learning_rate": 0.1, "epochs": 3, "model": lambda: None, "data": torch.ones(2)}))
    ['data', 'learning_rate']
    """
    found = {str(name): _known(value) for name, value in arguments.items() if name not in _MAY_CHANGE}
    return {name: value for name, value in found.items() if value is not None}


def arguments_of(function: Callable[..., Any], args: Sequence[Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a call gives a function, by name."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [name for name, one in inspect.signature(function).parameters.items() if one.kind in kinds]
    by_place = {names[k] if k < len(names) else str(k): value for k, value in enumerate(args)}
    return {**by_place, **settings}


def check_given(
    folder: str | os.PathLike[str], before: Mapping[str, Any] | None, now: Mapping[str, Any] | None
) -> None:
    """Refuse other settings or data than the members of an experiment were trained with.

    Args:
        folder: the folder of the experiment.
        before, now: of :func:`given_settings`; None, of an older experiment or of a command, are not compared.

    Raises:
        ValueError: naming the first that differs.
    """
    if before is None or now is None:
        return
    for name in [*before, *(name for name in now if name not in before)]:
        if before.get(name) != now.get(name):
            raise ValueError(
                f"{os.fspath(folder)} must be continued as it was started; its {name} was {_shown(before, name)}, and "
                f"now is {_shown(now, name)}: give it the same, or start another experiment"
            )


def _shown(given: Mapping[str, Any], name: str) -> str:
    return f"{given[name]!r:.80}" if name in given else "not given"


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return given_settings(value)
    if isinstance(value, (list, tuple)):
        known = [_known(item) for item in value]
        return known if len(known) <= _MOST_ITEMS and any(item is not None for item in known) else None
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, Tensor):
        return f"{tuple(value.shape)}, {digest(value)}"
    if isinstance(value, os.PathLike):
        return Path(value).name
    is_plain = value is None or isinstance(value, (bool, int, float, str))
    return None if callable(value) or isinstance(value, nn.Module) or not is_plain else plain(value)

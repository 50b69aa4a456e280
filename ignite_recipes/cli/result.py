"""What a command came to: a text to read, and the same facts for scripts."""

import json
import math
import os
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ignite_recipes.arguments import as_text

__all__ = ["Result", "as_json"]


class Result(NamedTuple):
    """What a command prints at its end.

    Attributes:
        text: to be read; of a training its last line.
        facts: the same for scripts, by name: what ``--json`` prints.
        predictions: makes a frame of what was predicted of each row to validate on; None where there are no such rows.
    """

    text: str
    facts: Mapping[str, Any]
    predictions: Callable[[], Any] | None = None

    def __str__(self) -> str:
        return self.text


def as_json(facts: Mapping[str, Any]) -> str:
    r"""One line of JSON in ASCII, which every code page can show; a number that is not finite is null.

    >>> as_json({"loss": float("nan"), "classes": ("sure", "\u2605")})
    '{"loss": null, "classes": ["sure", "\\u2605"]}'
    """
    return json.dumps(_plain(facts), allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return as_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return as_text(os.fspath(value))
    if hasattr(value, "tolist"):  # of NumPy or torch, of any shape
        return _plain(value.tolist())
    return str(value)

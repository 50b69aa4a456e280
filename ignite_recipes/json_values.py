"""Whatever there is to say, in the types that JSON has."""

import math
import os
from collections.abc import Mapping
from typing import Any

from ignite_recipes.arguments import as_text

__all__ = ["json_value"]


def json_value(value: Any) -> Any:
    """The same in dicts, lists, texts, numbers, booleans and None; a number that is not finite is None.

    Arrays and tensors become lists, paths and whatever else become texts, and each text can be written as UTF-8.

    >>> json_value({"loss": float("nan"), 3: (1, 2.5), "kind": int})
    {'loss': None, '3': [1, 2.5], 'kind': "<class 'int'>"}
    """
    if isinstance(value, Mapping):
        return {str(name): json_value(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [json_value(item) for item in value]
    if isinstance(value, str):
        return as_text(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, os.PathLike):
        return as_text(os.fspath(value))
    if hasattr(value, "tolist"):  # of NumPy or torch, of any shape
        return json_value(value.tolist())
    return str(value)

"""What a command came to: a text to read, and the same facts for scripts."""

import json
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ignite_recipes.json_values import json_value

__all__ = ["Result", "as_json"]


class Result(NamedTuple):
    """What a command prints at its end.

    Attributes:
        text: to be read; of a training its last line.
        facts: the same for scripts, by name: what ``--json`` prints.
        predictions: makes a frame of what was predicted of each row to validate on; None where there are no such rows.
        measures: measures more of the rows to validate on, for a member of many runs.
        finish: what is done at the end of a run by itself, and not of one of many; it gives the result to print.
    """

    text: str
    facts: Mapping[str, Any]
    predictions: Callable[[], Any] | None = None
    measures: Callable[[], dict[str, float]] | None = None
    finish: "Callable[[], Result] | None" = None

    def __str__(self) -> str:
        return self.text


def as_json(facts: Mapping[str, Any]) -> str:
    r"""One line of JSON in ASCII, which every code page can show; a number that is not finite is null.

    >>> as_json({"loss": float("nan"), "classes": ("sure", "\u2605")})
    '{"loss": null, "classes": ["sure", "\\u2605"]}'
    """
    return json.dumps(json_value(facts), allow_nan=False)

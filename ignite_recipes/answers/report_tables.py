"""Tables that several kinds of reports have."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ignite_recipes.answers.measured import TITLES, Interval, num_resamples, show, unit_of_measure
from ignite_recipes.answers.report_page import Table
from ignite_recipes.models.file import Predictor
from ignite_recipes.optional import polars as pl

__all__ = ["example_table", "measure_table", "sentence"]

_MOST_COLUMNS = 12


def sentence(found: Interval, unit: str) -> str:
    """A measure in words.

    >>> sentence(Interval(93.1, 90.0, 95.5), "%")
    '93.1% (90 to 95.5)'
    """
    return f"{show(found.value)}{unit} ({show(found.low)} to {show(found.high)})"


def measure_table(predictor: Predictor, found: Mapping[str, Interval], count: int, how: str = "") -> list[Any]:
    """Each measure with its interval, and how that was made."""
    rows = []
    for name, interval in found.items():
        unit = unit_of_measure(predictor, name).strip()
        rows.append([TITLES.get(name, name.replace("_", " ")), *map(float, interval), unit])
    how = how or "the samples were drawn again, with replacement"
    text = (
        f"On {count} samples. The intervals hold 95% of what other samples of this kind would give (percentile "
        f"bootstrap: {how}, {num_resamples(count)} times)."
    )
    return [text, Table(["measure", "value", "from", "to", "unit"], rows)]


def example_table(
    rows: "pl.DataFrame | None", chosen: Sequence[int] | Any, first: Mapping[str, Sequence[Any]]
) -> Table:
    """Some samples: what is said of them first, then what is known of them."""
    names, columns, note = list(first), list(first.values()), ""
    if rows is not None:
        kept = rows.columns[:_MOST_COLUMNS]
        if len(kept) < len(rows.columns):
            note = f"The first {len(kept)} of {len(rows.columns)} columns"
        part = rows.select(kept)[np.asarray(chosen)]
        names += kept
        columns += [part[name].to_list() for name in kept]
    return Table(names, [list(row) for row in zip(*columns, strict=True)], note)

"""What is drawn of many runs: their logs, and a metric against a number that was swept."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.many.member_run import MemberRun
from ignite_recipes.many.planning import setting_label
from ignite_recipes.optional import polars as pl

__all__ = ["curves_of", "sweep_points"]


def curves_of(
    members: Iterable[MemberRun], settings: Sequence[str], metric: str
) -> dict[str, list[dict[str, list[float]]]]:
    """For each setting, the logs of its members that have the metric, finished or not."""
    found: dict[str, list[dict[str, list[float]]]] = {label: [] for label in settings}
    for one in members:
        log = one.folder / "training_log.csv"
        columns = read_training_log(log) if log.is_file() else {}
        if columns.get(metric):
            found[one.label].append({"epoch": columns["epoch"], metric: columns[metric]})
    return found


def sweep_points(
    table: "pl.DataFrame", name: str, settings: Mapping[str, Mapping[str, Any]]
) -> dict[str, list[tuple[float, float, float, float]]]:
    """The points of each line: the value of the swept setting, the mean and its interval; without a mean there is none.

    Args:
        table: the table of one metric, as :meth:`Runs.table` gives it.
        name: the name of the swept setting; a line for each combination of the others.
        settings: the values of each setting by its label.
    """
    points: dict[str, list[tuple[float, float, float, float]]] = {}
    for row in table.iter_rows(named=True):
        own = settings[row["setting"]]
        if math.isfinite(row["mean"]):
            others = {other: value for other, value in own.items() if other != name}
            point = (own[name], row["mean"], row["low"], row["high"])
            points.setdefault(setting_label(others) if others else "", []).append(point)
    return points

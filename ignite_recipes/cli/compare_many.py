"""What ``compare`` says of experiments of many runs: their settings over the seeds that they have in common."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite_recipes.cli.many_lines import comparison_table, settings_table
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.members import is_group
from ignite_recipes.many import Runs
from ignite_recipes.many.scores import best_of, comparison_rows, table_rows
from ignite_recipes.many.statistics import CONFIDENCE
from ignite_recipes.plotting.style import write_figure

__all__ = ["compare_many"]


def compare_many(managers: Mapping[str, ExperimentManager], settings: Mapping[str, Any], output: Path | None) -> Result:
    """The settings of one experiment, or those of several, which are compared over the seeds that both have.

    Raises:
        ValueError: if one of them is a single run, they differ in their folds, or have no such metric in common.
    """
    if single := [label for label, one in managers.items() if not is_group(one.experiment_dir)]:
        raise ValueError(
            f"compare takes single runs, or experiments of many runs; {single[0]} is one run: compare it with members, "
            "e.g. runs/exp7/members/NAME"
        )
    found = {label: Runs(manager) for label, manager in managers.items()}
    first = next(iter(found.values()))
    kinds = {(runs.folds, runs.by_time, len(runs.seeds) > 1) for runs in found.values()}
    if len(kinds) > 1:
        raise ValueError(
            "compare takes experiments of many runs with the same folds, all of one seed or all of several"
        )
    metric = settings["metric"] or first.metric
    scores = {
        label if len(found) == 1 else f"{name}: {label}": own
        for name, runs in found.items()
        for label, own in runs.scores(metric).items()
    }
    if len(scores) < 2:
        raise ValueError(
            f"compare must have at least two settings; {first.folder} has one: sweep one, or name another experiment"
        )
    mode = settings["mode"] or first.mode(metric)
    best = best_of(scores, mode)
    if best is None:
        raise ValueError(f"no setting has a finite {metric}")
    table = table_rows(scores, metric, {label: {} for label in scores}, CONFIDENCE, first.of_folds)
    rows = comparison_rows(scores, best, metric, mode, CONFIDENCE, first.of_folds)
    facts: dict[str, Any] = {"experiments": list(found), "metric": metric, "mode": mode, "best_setting": best}
    facts |= {"table": table, "comparisons": rows}
    lines = [*settings_table(table, first.over), "", *comparison_table(rows)]
    if output is not None:
        from ignite_recipes.plotting.many_runs import plot_bands

        curves = {
            label if len(found) == 1 else f"{name}: {label}": own
            for name, runs in found.items()
            for label, own in runs.curves(metric).items()
        }
        figure = plot_bands(curves, metric)
        write_figure(figure, output)
        facts["picture"] = os.fspath(output)
        lines.append(f"the picture is in {output}")
    return Result("\n".join(lines), facts)

"""``ignite-recipes compare EXPERIMENT ...``: the settings in which experiments differ, and their results."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser

from ignite_recipes.cli.answering import named_experiment
from ignite_recipes.cli.compare_many import compare_many
from ignite_recipes.cli.listing import columns
from ignite_recipes.cli.options import add_runs_dir, new_parser, parse_settings
from ignite_recipes.cli.result import Result
from ignite_recipes.experiments.differences import differences
from ignite_recipes.experiments.labels import folder_labels
from ignite_recipes.experiments.log_file import CLOCK_COLUMNS
from ignite_recipes.experiments.manager import ExperimentManager, list_experiments
from ignite_recipes.experiments.members import is_group
from ignite_recipes.experiments.summary import Best, Summary, best_epoch, summarize
from ignite_recipes.plotting.style import PICTURES, write_figure

__all__ = ["HELP", "main", "parser"]

CAUTION = (
    "one run of each does not tell a difference from the luck of a seed: train each with --seeds 5, and compare those "
    "experiments"
)
"""What is said under a table that calls single runs better and worse."""

HELP = "a table of the settings that differ between experiments, and their results: compare exp1 exp2"


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser(
        "compare",
        "Show the settings in which experiments differ, the results of the best epoch of each, and by how much the "
        "others are better or worse than the first.",
    )
    options.add_argument("experiments", nargs="*", type=str, help="e.g. exp1 exp2; by default all experiments")
    add_runs_dir(options)
    options.add_argument(
        "--tag", type=str | None, help="all experiments with this tag, in addition to those that are named"
    )
    options.add_argument(
        "--metric",
        type=str | None,
        help="the column of their logs to compare by; by default what they monitor, or one that all of them have",
    )
    options.add_argument("--mode", type=str | None, help="min or max: which end of the metric is better")
    options.add_argument("--output", type=str | None, help=f"a picture of their curves: {', '.join(PICTURES)}")
    return options


def main(argv: Sequence[str]) -> Result:
    """The table.

    Raises:
        FileNotFoundError, ValueError: for an experiment that is not there, fewer than two, or no metric in common.
    """
    settings = parse_settings(parser(), argv)
    if settings["mode"] not in (None, "min", "max"):
        raise ValueError(f"--mode must be min or max; got {settings['mode']!r}")
    output = None if settings["output"] is None else Path(settings["output"]).expanduser()
    if output is not None and output.suffix not in PICTURES:
        raise ValueError(f"--output must end in {', '.join(PICTURES)}; got {settings['output']!r}")
    managers = _chosen(settings)
    if any(is_group(one.experiment_dir) for one in managers.values()):
        return compare_many(managers, settings, output)
    found = {label: summarize(manager) for label, manager in managers.items()}
    best = _best(found, settings["metric"], settings["mode"])
    facts = _facts(found, best)
    if output is not None:
        from ignite_recipes.plotting.comparison import compare_experiments

        some = next((one for one in best.values() if one is not None), None)
        if some is None:
            raise ValueError("--output draws a metric that all experiments have; these have none: see --metric")
        figure = compare_experiments(list(managers.values()), some.metric, mode=some.mode)
        write_figure(figure, output)
        facts["picture"] = os.fspath(output)
    lines = _table(found, facts, best)
    return Result("\n".join([*lines, *([f"the picture is in {output}"] if output else [])]), facts)


def _chosen(settings: dict[str, Any]) -> dict[str, ExperimentManager]:
    """The experiments that are named or have the tag, each once, by their labels."""
    folder, named = settings["runs_dir"], settings["experiments"]
    managers = [named_experiment({"experiment": name, "runs_dir": folder}) for name in named]
    if settings["tag"] is not None or not named:
        others = [ExperimentManager(folder, resume_exp=name) for name in list_experiments(folder)]
        managers += [one for one in others if settings["tag"] is None or settings["tag"] in summarize(one).tags]
    managers = list({os.path.realpath(one.experiment_dir): one for one in managers}.values())
    if len(managers) < 2 and not any(is_group(one.experiment_dir) for one in managers):
        had = ", ".join(one.experiment_dir for one in managers) or "none"
        raise ValueError(f"compare must have at least two experiments; got {had}: see ignite-recipes list")
    return dict(zip(folder_labels([one.experiment_dir for one in managers]), managers, strict=True))


def _best(found: Mapping[str, Summary], metric: str | None, mode: str | None) -> dict[str, Best | None]:
    """The best epoch of each, all by the same metric if they have one in common, else each by its own."""
    own = {label: summary.best for label, summary in found.items()}
    by = [(metric, mode)] if metric else [(one.metric, one.mode) for one in own.values() if one is not None]
    for name, direction in dict.fromkeys(by):
        asked = {"monitor": name, "mode": mode or direction}
        same = {label: best_epoch(summary.log or {}, asked) for label, summary in found.items()}
        if all(one is not None and one.metric == name for one in same.values()):
            return same
    if metric is not None:
        having = "; ".join(
            f"{label} has {', '.join(name for name in summary.log or {} if name != 'epoch') or 'none'}"
            for label, summary in found.items()
        )
        raise ValueError(
            f"--metric must be one that every experiment has, and --mode must say which end is better if "
            f"that is not known; got {metric!r}; {having}"
        )
    return own


def _facts(found: Mapping[str, Summary], best: Mapping[str, Best | None]) -> dict[str, Any]:
    first = next(iter(best.values()))
    recipes = {summary.settings.get("recipe") for summary in found.values()}  # whose losses are not comparable
    is_same = len(recipes) == 1 and all(
        one is not None and first and one.metric == first.metric for one in best.values()
    )
    measured = {label: found[label].at(one.epoch) if one else {} for label, one in best.items()}
    for values in measured.values():
        for name in (*CLOCK_COLUMNS, "learning_rate"):  # which say nothing of how good it is
            values.pop(name, None)
    brought = {
        label: one.value - first.value for label, one in best.items() if is_same and first and one and one is not first
    }
    return {
        "experiments": {label: summary.facts() for label, summary in found.items()},
        "best": {label: None if one is None else one._asdict() for label, one in best.items()},
        "differences": differences({label: summary.settings for label, summary in found.items()}),
        "measured_at_best": measured,
        "seconds": {label: sum((summary.log or {}).get("seconds", [])) for label, summary in found.items()},
        "metric": first.metric if is_same and first else None,
        "mode": first.mode if is_same and first else None,
        "brought": brought,
        "caution": CAUTION if any(brought.values()) else None,
    }


def _table(found: Mapping[str, Summary], facts: Mapping[str, Any], best: Mapping[str, Best | None]) -> list[str]:
    rows = [["", *found]]
    if any(summary.name for summary in found.values()):
        rows.append(["name", *(summary.name or "-" for summary in found.values())])
    if any(summary.tags for summary in found.values()):
        rows.append(["tags", *(", ".join(summary.tags) or "-" for summary in found.values())])
    for name, values in facts["differences"].items():
        rows.append([name, *(_cell(values[label]) if label in values else "-" for label in found)])
    if not facts["differences"]:
        rows.append(["settings", *["the same"] * len(found)])
    trained = [summary.epochs_trained for summary in found.values()]
    rows.append(["epochs trained", *("?" if number is None else str(number) for number in trained)])
    rows.append(["seconds", *(f"{facts['seconds'][label]:.4g}" for label in found)])
    rows.append(["best epoch", *("-" if one is None else str(one.epoch) for one in best.values())])
    measured = facts["measured_at_best"]
    for name in dict.fromkeys(name for values in measured.values() for name in values):
        rows.append([name, *(f"{measured[label][name]:.5g}" if name in measured[label] else "-" for label in found)])
    if facts["metric"] is not None:
        rows.append([f"{facts['metric']} against {next(iter(found))}", *(_brought(label, facts) for label in found)])
    return [*columns(rows), *([facts["caution"]] if facts["caution"] else [])]


def _brought(label: str, facts: Mapping[str, Any]) -> str:
    change = facts["brought"].get(label)
    if change is None:
        return "-"
    if change == 0:
        return "equal"
    return f"{change:+.4g}, {'better' if (change < 0) == (facts['mode'] == 'min') else 'worse'}"


def _cell(value: Any) -> str:
    return "none" if value is None else f"{value:g}" if isinstance(value, float) else str(value)

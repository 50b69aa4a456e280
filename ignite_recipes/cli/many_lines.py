"""What many runs came to, as lines to read: of their last line, of ``show`` and of ``compare``."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ignite_recipes.cli.listing import columns
from ignite_recipes.many import Runs

__all__ = ["comparison_table", "member_lines", "settings_table", "table_lines", "verdict_of"]

NLL = "val_nll"
"""What members that are autoencoders of an eBird file or the digits measure at their end, see ``cli/vae.py``."""


def verdict_of(runs: Runs) -> str:
    """The table, and in a sentence the best setting and where all of it is."""
    failed = sum(one.state == "failed" for one in runs.members)
    lost = f"; {failed} of {len(runs.members)} members failed, see {runs.folder}/members.csv" if failed else ""
    parts = [*table_lines(runs, runs.metric, *_in_known_units(runs)), ""]
    if len(runs.settings) > 1 and not runs.search:  # a trial is one run: nothing can be told apart by one
        parts += [*comparison_table(runs.compare().to_dicts()), ""]
    parts += [*([line, ""] if (line := _by_likelihood(runs)) else [])]
    measures = _ensemble(runs)
    return "\n".join(
        [
            *parts,
            f"{_best(runs)}{measures}{lost}; tables and members are in {runs.folder}, to read with: "
            f"ignite-recipes report {runs.folder}",
        ]
    )


def _in_known_units(runs: Runs) -> Sequence[str]:
    """A metric that is easier to read than the loss that decides: an accuracy, or an error in the target's units."""
    return [name for name in ("val_accuracy", "accuracy", "rmse") if name in runs.metrics and name != runs.metric][:1]


def table_lines(runs: Runs, *metrics: str) -> list[str]:
    """A row for each setting and metric."""
    return settings_table(runs.table(list(metrics) or None).to_dicts(), runs.over)


def settings_table(rows: Iterable[Mapping[str, Any]], over: str) -> list[str]:
    """The rows of :meth:`Runs.table`; ``over`` is what the numbers are of."""
    lines = [["setting", "metric", "mean", "std", over, "95% interval"]]
    for row in rows:
        interval = "-" if math.isnan(row["low"]) else f"{row['low']:.5g} to {row['high']:.5g}"
        lines.append(
            [row["setting"], row["metric"], _number(row["mean"]), _number(row["std"]), str(row["n"]), interval]
        )
    return columns(lines)


def comparison_table(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """The rows of :meth:`Runs.compare`."""
    lines = [["setting", "against", "difference", "interval", "pairs", ""]]
    for row in rows:
        interval = "-" if math.isnan(row["low"]) else f"{row['low']:.4g} to {row['high']:.4g}"
        difference = "-" if math.isnan(row["difference"]) else f"{row['difference']:+.4g}"
        lines.append([row["setting"], row["against"], difference, interval, str(row["n"]), row["verdict"]])
    return columns(lines)


def member_lines(runs: Runs) -> list[str]:
    """A row for each member."""
    rows = [["member", "state", "best epoch", runs.metric if runs.finished else "", ""]]
    for one in runs.members:
        outcome = one.outcome
        value = "-" if outcome is None else _number(outcome.measured.get(runs.metric, math.nan))
        epoch = "-" if outcome is None else f"{outcome.best_epoch or '-'} of {outcome.epochs_trained}"
        rows.append([one.name, one.state, epoch, value, one.error or ""])
    return columns(rows)


def _best(runs: Runs) -> str:
    label = runs.best_setting
    row: dict[str, Any] = next(row for row in runs.table(runs.metric).iter_rows(named=True) if row["setting"] == label)
    interval = "" if math.isnan(row["low"]) else f" ({row['low']:.5g} to {row['high']:.5g})"
    what = "trials" if runs.search else "settings"
    of = f"Best of {len(runs.settings)} {what} is {label}: " if len(runs.settings) > 1 else ""
    if runs.search:
        pruned = sum(one.state == "pruned" for one in runs.members)
        return f"{of}{runs.metric} {row['mean']:.5g}{f'; {pruned} were pruned' if pruned else ''}"
    return f"{of}{runs.metric} {row['mean']:.5g}{interval}, {_number_of(row['n'], runs.over)}"


def _by_likelihood(runs: Runs) -> str:
    """The setting of swept autoencoders with the best held-out likelihood, and those that may be as good."""
    if not runs.sweep or NLL not in runs.metrics:
        return ""
    rows = {row["setting"]: row for row in runs.table(NLL).to_dicts()}
    compared = runs.compare(NLL, mode="min").to_dicts()
    best = compared[0]["against"] if compared else next(iter(rows))
    as_good = [row["setting"] for row in compared if "is better" not in row["verdict"]]
    row = rows[best]
    interval = "" if math.isnan(row["low"]) else f" ({row['low']:.5g} to {row['high']:.5g})"
    told = f"; not told apart from it: {', '.join(as_good)}" if as_good else ""
    return (
        f"Chosen by the held-out -log p(x): {best}, {row['mean']:.5g} nats{interval}, "
        f"{_number_of(row['n'], runs.over)}{told}"
    )


def _ensemble(runs: Runs) -> str:
    """How good the mean of the members is, where that is known."""
    try:
        measures = runs.ensemble_measures()
    except ValueError:
        return ""
    named = next((name for name in ("accuracy", "rmse") if name in measures), None)
    if named is None or measures["members"] == 1:
        return ""
    unit = "%" if named == "accuracy" else ""
    of = "folds' " if runs.folds is not None else ""
    return (
        f"; the {of}ensemble on the {measures['rows']:.0f} rows that its members did not see: {named} "
        f"{measures[named]:.4g}{unit}"
    )


def _number_of(count: int, over: str) -> str:
    return f"of one {over.removesuffix('s')}" if count == 1 else f"mean of {count} {over}"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.5g}"

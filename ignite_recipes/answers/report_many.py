"""The report of many runs: settings compared, curves with a band, what the ensemble says of rows it did not see."""

from pathlib import Path
from typing import Any

from ignite_recipes.answers.measured import TITLES
from ignite_recipes.answers.report_page import Picture, Section, Table, write_page
from ignite_recipes.arguments import as_text
from ignite_recipes.experiments.provenance import read_provenance
from ignite_recipes.files import replace_file
from ignite_recipes.many import Runs
from ignite_recipes.many.writing import members_frame, predictions_file

__all__ = ["write_many_report"]

_SHOWN = 12  # metrics in the table


def write_many_report(runs: Runs, output: Path) -> Path:
    """One HTML page on an experiment of many runs.

    Raises:
        ValueError: if no member has ended yet.
    """
    metric, best = runs.metric, runs.best_setting
    sections = [
        _settings_section(runs),
        *([_comparison_section(runs)] if len(runs.settings) > 1 else []),
        _curves_section(runs),
        *_ensemble_sections(runs),
        _members_section(runs),
        _run_section(runs),
    ]
    row = next(row for row in runs.table(metric).iter_rows(named=True) if row["setting"] == best)
    of = f"Best of {len(runs.settings)} settings: {best}. " if len(runs.settings) > 1 else ""
    headline = f"{of}{metric} {row['mean']:.4g}, {_interval(row)} (mean of {row['n']} {runs.over})"
    subtitle = f"{runs.recipe}, {len(runs.finished)} of {len(runs.members)} members ended, in {runs.folder}"
    page = write_page(f"Report on {runs.folder.name}", subtitle, headline, sections)
    return replace_file(output, lambda file: file.write(as_text(page).encode()))


def _settings_section(runs: Runs) -> Section:
    shown = runs.metrics[:_SHOWN]
    rows = [
        [
            row["setting"],
            TITLES.get(row["metric"], row["metric"]),
            *(row[name] for name in ("mean", "std", "n", "low", "high")),
        ]
        for row in runs.table(shown).iter_rows(named=True)
    ]
    text = f"Each number is of the best epoch of a run, by {runs.metric}. {_how(runs)}"
    header = ["setting", "metric", "mean", "standard deviation", runs.over, "from", "to"]
    parts: list[Any] = [text, Table(header, rows)]
    for name in runs.swept_numbers:
        caption = f"Means over {runs.over}, with 95% intervals."
        parts.append(Picture.of(runs.plot_sweep(name), f"{runs.metric} against {name}.", caption))
    return Section("Settings", parts)


def _comparison_section(runs: Runs) -> Section:
    names = ("setting", "difference", "low", "high", "n", "p_value", "verdict")
    found = runs.compare()
    rows = [[row[name] for name in names] for row in found.iter_rows(named=True)]
    text = (
        f"Each setting minus the best one, {runs.best_setting}, on the same {runs.over}: effects on both settings are "
        "not in the difference. The intervals hold together with 95%, so that among many settings none seems different "
        "by chance (Bonferroni); p is that of each paired t-test by itself."
    )
    header = ["setting", f"difference in {runs.metric}", "from", "to", "pairs", "p", "verdict"]
    return Section("Can they be told apart?", [text, Table(header, rows)])


def _curves_section(runs: Runs) -> Section:
    text = "The mean over runs, in a band of a standard deviation to either side; a thin line is a run."
    drawn = [Picture.of(runs.plot(), f"Curves of {runs.metric} with a band for each setting.", text)]
    other = runs.metric.replace("val_", "train_", 1)
    if other != runs.metric and any(runs.curves(other).values()):
        drawn.append(Picture.of(runs.plot(other), f"Curves of {other} with a band for each setting."))
    return Section("Curves", [*drawn])


def _ensemble_sections(runs: Runs) -> list[Section]:
    """How good the mean of the members is."""
    facts = runs.facts()
    found = facts["ensembles"]
    if not found:
        return []
    names = [name for name in next(iter(found.values())) if name not in ("rows", "members")]
    rows = [
        [label, *(measures.get(name) for name in names), int(measures["rows"]), measures["members"]]
        for label, measures in found.items()
    ]
    text = (
        "The members of a setting as one model, the mean of their probabilities or numbers. Each row is predicted by "
        f"the members that did not train on it. All predictions are in {predictions_file(runs)}, those of the best "
        "setting's ensemble in averaged.csv; it predicts new data as model.safetensors."
    )
    header = ["setting", *(TITLES.get(name, name) for name in names), "rows", "members per row"]
    return [Section("The ensemble", [text, Table(header, rows)])]


def _members_section(runs: Runs) -> Section:
    frame = members_frame(runs)
    known = ["member", "state", "best_epoch", "epochs_trained", "seconds", *runs.metrics[:4], "error"]
    names = [
        name for name in known if name in frame.columns and (name != "error" or frame[name].null_count() < len(frame))
    ]
    rows = [[row[name] for name in names] for row in frame.iter_rows(named=True)]
    text = f"Each is an experiment of its own in {runs.folder}/members, which can be asked, continued and forked."
    return Section("Members", [text, Table(names, rows)])


def _run_section(runs: Runs) -> Section:
    starts = read_provenance(runs.folder)
    rows = [[name, "none" if value is None else str(value)] for name, value in runs.experiment.settings().items()]
    commands = [[one.get("started_at"), " ".join(map(str, one.get("command") or []))] for one in starts]
    parts: list[Any] = [Table(["setting", "value"], rows)]
    if commands:
        parts.append(Table(["started", "command"], commands, "Each start of it"))
    for entry in starts[-1:]:
        versions = ", ".join(f"{name} {version}" for name, version in (entry.get("versions") or {}).items())
        parts.append(Table(["", ""], [["versions", versions]]))
    return Section("What was run", parts)


def _how(runs: Runs) -> str:
    if runs.folds is None:
        return "Intervals are 95% of Student's t, over seeds."
    if len(runs.seeds) > 1:
        return f"A seed's number is its mean over {runs.folds} folds; intervals are 95% of Student's t, over seeds."
    if runs.by_time:
        return "Folds by time train on more and more rows; they are no repetitions, so there are no intervals."
    return (
        "Intervals are 95% of Student's t over the folds of one seed, and wider than for independent runs, since folds "
        "share rows to train on (C. Nadeau, Y. Bengio, 2003)."
    )


def _interval(row: dict[str, Any]) -> str:
    return "no interval" if row["low"] != row["low"] else f"{row['low']:.4g} to {row['high']:.4g}"

"""What came of many runs: read of their folders, so that it is the same during, after and long after the training."""

import math
import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ignite_recipes.arguments import listed
from ignite_recipes.experiments.manager import ExperimentManager, copy_experiment
from ignite_recipes.experiments.members import is_group, members_folder, read_plan
from ignite_recipes.experiments.summary import mode_of
from ignite_recipes.many.curves import curves_of, sweep_points
from ignite_recipes.many.member_run import MemberRun
from ignite_recipes.many.members_said import averaged_of, ensemble_of, measures_of, predictions_of
from ignite_recipes.many.outcome import read_outcome
from ignite_recipes.many.scores import best_of, comparison_rows, scores_of, table_rows
from ignite_recipes.many.statistics import CONFIDENCE
from ignite_recipes.models.file import Predictor
from ignite_recipes.models.measures import measure_mode
from ignite_recipes.optional import polars as pl
from ignite_recipes.plotting.histories import Experiment, find_experiment
from ignite_recipes.plotting.many_runs import is_number, plot_bands, plot_sweep

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["MemberRun", "Runs"]


class Runs:
    """The members of an experiment of many runs, and their common results.

    Args:
        experiment: its name, e.g. ``"exp7"``, the path of its folder, or its manager.
        runs_dir: where a name is looked for.

    Attributes:
        folder: the folder of the experiment.
        recipe: the recipe that trained its members.
        members: a ``MemberRun`` for each, in the order in which they were planned.
        sweep: the values of each swept setting.
        folds: how many there are; None without.
        search: the range of each searched setting, in words; empty without a search.

    Raises:
        FileNotFoundError: if there is no such experiment.
        ValueError: if it holds no members.

    >>> import tempfile, torch
    >>> from ignite_recipes import train_many, train_model_advanced
    >>> x = torch.linspace(-1, 1, 64)[:, None]
    >>> settings = {"epochs": 3, "device": "cpu", "batch_size": 16, "sweep": {"learning_rate": [0.01, 0.1]}}
    >>> settings["together"] = False  # quicker where there are few epochs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     make_model, data = lambda: torch.nn.Linear(1, 1), (x, 3 * x)
    ...     _ = train_many(train_model_advanced, make_model, data, data, seeds=3, experiment=folder, **settings)
    ...     runs = Runs("exp1", runs_dir=folder)
    ...     comparison = runs.compare()
    1/6 learning_rate=0.01_seed=0: val_loss ... at epoch 3 of 3
    ...
    >>> runs.best_setting, comparison["verdict"].to_list()
    ('learning_rate=0.1', ['learning_rate=0.1 is better'])
    """

    def __init__(self, experiment: Experiment, *, runs_dir: str | os.PathLike[str] = "runs") -> None:
        self.experiment: ExperimentManager = find_experiment(experiment, runs_dir)
        self.folder = Path(self.experiment.experiment_dir)
        if not is_group(self.folder):
            raise ValueError(f"{self.folder} holds no members: it is one run, or was not made by train_many")
        plan = read_plan(self.folder)
        errors: Mapping[str, str] = plan.get("errors") or {}
        inside = members_folder(self.folder)
        self.members = [
            MemberRun(one, inside / one.name, read_outcome(inside / one.name), errors.get(one.name))
            for one in plan["members"]
        ]
        self.recipe, self.folds = str(plan.get("recipe")), plan.get("folds")
        self.by_time = bool(plan.get("by_time"))
        self.sweep: dict[str, list[Any]] = dict(plan.get("sweep") or {})
        self.search: dict[str, str] = dict(plan.get("search") or {})

    def __repr__(self) -> str:
        return f"Runs({len(self.members)} members, {len(self.finished)} finished, in {self.folder})"

    @property
    def finished(self) -> list[MemberRun]:
        """The members that have ended as they should, by themselves or because a search has pruned them."""
        return [one for one in self.members if one.outcome is not None]

    @property
    def seeds(self) -> list[int]:
        """The seeds of the members, each once."""
        return list(dict.fromkeys(one.plan.seed for one in self.members))

    @property
    def settings(self) -> list[str]:
        """The names of the combinations of swept values, in their order; ``"all"`` if nothing is swept."""
        return list(dict.fromkeys(one.label for one in self.members))

    @property
    def metrics(self) -> list[str]:
        """The names of all that was measured; the monitor is first."""
        names = dict.fromkeys(name for one in self.finished if one.outcome for name in one.outcome.measured)
        first = [self.metric] if self.metric in names else []
        return [*first, *(name for name in names if name not in first)]

    @cached_property
    def metric(self) -> str:
        """By which the members' best epochs are the best; what the others are compared by unless you say otherwise.

        Raises:
            ValueError: if no member has ended yet.
        """
        known = [one.outcome.metric for one in self.finished if one.outcome and one.outcome.metric]
        if not known:
            raise ValueError(
                f"no member of {self.folder} has ended yet: continue it, with experiment={self.folder.name!r}"
            )
        return known[0]

    def mode(self, metric: str) -> str:
        """Whether a small or a large metric is better, ``"min"`` or ``"max"``.

        Raises:
            ValueError: if that is not known.
        """
        outcome = next((one.outcome for one in self.finished if one.outcome and one.outcome.metric == metric), None)
        if outcome is not None and outcome.mode is not None:
            return outcome.mode
        bare = metric.removeprefix("val_").removeprefix("train_")
        found = measure_mode(bare) or ("min" if metric.endswith("loss") else mode_of(metric))
        if found is None:
            raise ValueError(f"whether a small or a large {metric!r} is better is not known: pass mode='min' or 'max'")
        return found

    def scores(self, metric: str | None = None) -> dict[str, dict[int, float]]:
        """For each setting a number for each seed, with folds their mean; with one seed a number for each fold.

        A seed is left out if one of its folds has not ended. Members without the metric are left out too.

        Raises:
            ValueError: if no member has such a metric.
        """
        metric = self._known(metric)
        return scores_of(self.finished, self.settings, metric, self.folds, len(self.seeds))

    def table(self, metrics: str | Sequence[str] | None = None, *, confidence: float = CONFIDENCE) -> "pl.DataFrame":
        """Each setting and metric with the mean over seeds, its standard deviation and its interval.

        Args:
            metrics: the metrics to show; None are all, the monitor first.
            confidence: the confidence of the intervals.

        Returns:
            ``setting``, a column for each swept setting, ``metric``, ``mean``, ``std`` (with n - 1), ``n``, ``low`` and
            ``high``, of Student's t. The interval ends at the bounds of a metric whose bounds are known: accuracies at
            0 and 100 percent, F1 and AUROC at 0 and 1, R2 at 1, the mean absolute error at 0. Over one seed with folds
            n is their number, and the interval is wider because folds share rows (C. Nadeau, Y. Bengio, Machine
            Learning 52, 2003); folds by time have none. A search has a row for each trial, the best first.
        """
        names = self.metrics if metrics is None else [metrics] if isinstance(metrics, str) else list(metrics)
        order = self._best_first() if self.search else self.settings
        rows = []
        for name in names:
            found = self.scores(name)
            scores = {label: found[label] for label in order}
            rows += table_rows(scores, name, self._settings_by_label(), confidence, self.of_folds)
        return pl.DataFrame(rows, infer_schema_length=None)

    @property
    def best_setting(self) -> str:
        """The setting with the best mean of the monitor, among those with the most seeds."""
        return self._best(self.metric)

    @property
    def best_trial(self) -> MemberRun:
        """The best trial of a search, among those that were trained to their end.

        Raises:
            ValueError: if nothing was searched, or no trial has a finite number.
        """
        if not self.search:
            raise ValueError(f"{self.folder} holds no trials: they are of search_many; its best is best_setting")
        return self.of(self.best_setting)[0]

    def compare(
        self,
        metric: str | None = None,
        *,
        against: str | None = None,
        mode: str | None = None,
        confidence: float = CONFIDENCE,
    ) -> "pl.DataFrame":
        """Compare each setting with another over the seeds that both have, with a verdict.

        Args:
            metric: the metric to compare by; None is the monitor.
            against: the setting to compare with, as it is called in :attr:`settings`; None is the best one.
            mode: ``"min"`` or ``"max"``; None where it is known.
            confidence: that of all intervals together: each single one has more (Bonferroni).

        Returns:
            ``setting``, ``against``, ``metric``, ``difference`` (the first less the second), ``low``, ``high``, ``n``
            pairs, ``p_value`` of each paired t-test by itself, and the ``verdict`` in words.

        Raises:
            ValueError: if there is no such metric or setting.
        """
        metric = self._known(metric)
        scores = self.scores(metric)
        against = self._best(metric, mode) if against is None else against
        if against not in scores:
            raise ValueError(f"against must be one of {listed(scores)}; got {against!r}")
        rows = comparison_rows(scores, against, metric, mode or self.mode(metric), confidence, self.of_folds)
        kinds = {"setting": pl.String, "against": pl.String, "metric": pl.String, "difference": pl.Float64}
        kinds |= {"low": pl.Float64, "high": pl.Float64, "n": pl.Int64, "p_value": pl.Float64, "verdict": pl.String}
        return pl.DataFrame(rows, schema=kinds)

    @property
    def predictions(self) -> "pl.DataFrame | None":
        """The predictions of each member for its validation rows; None if the recipe predicts no rows.

        With folds these are the out-of-fold predictions: every row is predicted by members that did not see it.
        """
        return predictions_of(self.finished)

    def averaged(self, setting: str | None = None) -> "pl.DataFrame | None":
        """For each row the mean prediction of those members of a setting that did not train on it.

        Args:
            setting: as in :attr:`settings`; None is the best one.

        Returns:
            ``row``, ``truth``, ``prediction``, for classes ``p_<class>``, and the number of ``members`` that predicted
            it; None if the recipe predicts no rows.

        Raises:
            ValueError: if the members were validated on different data.
        """
        return averaged_of(self._finished_of(setting))

    def ensemble_measures(self, setting: str | None = None) -> dict[str, float]:
        """Measure the mean over members on rows that they did not train on; empty if the recipe predicts no rows.

        Args:
            setting: as in :meth:`averaged`.

        Returns:
            The measures of :func:`evaluate`, the number of ``rows``, and how many ``members`` a row has on average.
        """
        return measures_of(self.averaged(setting))

    def ensemble(self, setting: str | None = None, *, model: Any = None, device: Any = "cpu") -> Predictor:
        """The members of a setting as one model, which gives the mean of their probabilities or numbers.

        It predicts new data, is evaluated, and saved with :func:`save_model`, like any other.

        Args:
            setting: as in :attr:`settings`; None is the best one.
            model: a function that makes the architecture, if it is one of your own.
            device: where it predicts.

        Raises:
            ValueError: if no member of it has ended, or for autoencoders, whose dimensions have no common meaning.
            CheckpointError: if a member's model file is damaged, or of a model of your own and none is given.
        """
        members = self._finished_of(setting)
        if not members:
            raise ValueError(f"no member of {setting or self.best_setting!r} has ended: continue {self.folder}")
        return ensemble_of(members, model, device)

    def of(self, setting: str | None = None) -> list[MemberRun]:
        """The members of a setting; None is the best one.

        Raises:
            ValueError: if there is no such setting.
        """
        label = self.best_setting if setting is None else setting
        if label not in self.settings:
            raise ValueError(f"setting must be one of {listed(self.settings)}; got {label!r}")
        return [one for one in self.members if one.label == label]

    def take_out(self, member: str, base_dir: str | os.PathLike[str] | None = None) -> ExperimentManager:
        """Copy a member, with its checkpoints, to a new experiment, where it is continued by itself.

        Args:
            member: its name.
            base_dir: the folder of experiments to copy it to; None is the one that holds the whole.

        Raises:
            ValueError: if there is no such member, or it was not started.
        """
        found = next((one for one in self.members if one.name == member), None)
        if found is None or not found.folder.is_dir():
            begun = [one.name for one in self.members if one.folder.is_dir()]
            raise ValueError(f"member must be one that was started; got {member!r}, and there are {listed(begun)}")
        copy = copy_experiment(found.folder, self.folder.parent if base_dir is None else base_dir)
        return ExperimentManager(copy.parent, resume_exp=copy.name)

    def curves(self, metric: str | None = None) -> dict[str, list[dict[str, list[float]]]]:
        """For each setting, the logs of its members that have the metric, finished or not."""
        return curves_of(self.members, self.settings, self.metric if metric is None else metric)

    def plot(self, metric: str | None = None) -> "Figure":
        """Draw the curves: for each setting the mean over its runs, in a band of one standard deviation on each side.

        Args:
            metric: a column of the logs; None is the monitor.
        """
        metric = self.metric if metric is None else metric
        return plot_bands(self.curves(metric), metric)

    @property
    def swept_numbers(self) -> list[str]:
        """The settings that were swept over at least two numbers."""
        return [name for name, values in self.sweep.items() if len(values) > 1 and all(map(is_number, values))]

    def plot_sweep(self, name: str, metric: str | None = None) -> "Figure":
        """Draw a metric against a number that was swept: means over seeds with their intervals.

        Args:
            name: the name of the setting; a line for each combination of the others.
            metric: a metric that was measured; None is the monitor.

        Raises:
            ValueError: if it was not swept, or over other values than numbers.
        """
        if name not in self.swept_numbers:
            raise ValueError(f"name must be a number that was swept; got {name!r}, and there are {self.swept_numbers}")
        metric = self._known(metric)
        points = sweep_points(self.table(metric), name, self._settings_by_label())
        return plot_sweep(name, points, metric)

    def facts(self) -> dict[str, Any]:
        """All of it for scripts: members, tables, comparisons, the ensemble."""
        from ignite_recipes.many.writing import facts_of

        return facts_of(self)

    @property
    def over(self) -> str:
        """``"seeds"`` if a setting has a number for each seed; with one seed ``"folds"``."""
        return "folds" if self.folds is not None and len(self.seeds) == 1 else "seeds"

    @property
    def of_folds(self) -> int | None:
        """The number of folds that the scores are of; 0 for folds by time, None for seeds."""
        if self.over == "seeds":
            return None
        return 0 if self.by_time else self.folds

    def _finished_of(self, setting: str | None) -> list[MemberRun]:
        return [one for one in self.of(setting) if one.outcome is not None]

    def _known(self, metric: str | None) -> str:
        metric = self.metric if metric is None else metric
        if metric not in self.metrics:
            raise ValueError(
                f"metric must be one that members have; got {metric!r}, and there are {listed(self.metrics)}"
            )
        return metric

    def _best(self, metric: str, mode: str | None = None) -> str:
        pruned = {one.label for one in self.members if one.state == "pruned"}
        scores = {label: own for label, own in self.scores(metric).items() if label not in pruned}
        best = best_of(scores, mode or self.mode(metric))
        if best is None:
            raise ValueError(f"no setting of {self.folder} has a finite {metric}")
        return best

    def _best_first(self) -> list[str]:
        sign = -1 if self.mode(self.metric) == "max" else 1
        scores = self.scores(self.metric)
        values = {label: sign * next(iter(own.values()), math.nan) for label, own in scores.items()}
        return sorted(values, key=lambda label: (not math.isfinite(values[label]), values[label]))

    def _settings_by_label(self) -> dict[str, Mapping[str, Any]]:
        return {one.label: one.plan.settings for one in self.members}

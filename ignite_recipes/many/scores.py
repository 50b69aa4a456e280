"""From members to numbers: a score for each seed, a row for each setting, a row for each comparison."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ignite_recipes.many.statistics import Difference, fold_correction, paired_difference, spread
from ignite_recipes.metrics.named import known_bounds

__all__ = ["best_of", "comparison_rows", "scores_of", "table_rows"]


def scores_of(
    members: Iterable[Any], settings: Sequence[str], metric: str, folds: int | None, num_seeds: int
) -> dict[str, dict[int, float]]:
    """For each setting a number for each seed or, with one seed and folds, for each fold.

    Args:
        members: finished, each with ``plan``, ``label`` and ``outcome``.
        settings: the labels, in their order.
        metric: the number.
        folds: how many there are; the mean over all of them is the number of a seed.
        num_seeds: the number of seeds in the plan.
    """
    found: dict[str, dict[int, dict[int | None, float]]] = {label: {} for label in settings}
    for one in members:
        if metric in one.outcome.measured:
            found[one.label].setdefault(one.plan.seed, {})[one.plan.fold] = one.outcome.measured[metric]
    if folds is not None and num_seeds == 1:
        return {
            label: {fold or 0: value for own in by_seed.values() for fold, value in own.items()}
            for label, by_seed in found.items()
        }
    wanted = folds or 1
    return {
        label: {seed: math.fsum(own.values()) / wanted for seed, own in by_seed.items() if len(own) == wanted}
        for label, by_seed in found.items()
    }


def best_of(scores: Mapping[str, Mapping[int, float]], mode: str) -> str | None:
    """The setting with the best mean, among those with the most seeds; None if none has a finite one."""
    most = max(map(len, scores.values()), default=0)
    means = {
        label: math.fsum(own.values()) / len(own)
        for label, own in scores.items()
        if own and len(own) == most and all(map(math.isfinite, own.values()))
    }
    sign = -1 if mode == "max" else 1
    return min(means, key=lambda label: sign * means[label]) if means else None


def table_rows(
    scores: Mapping[str, Mapping[int, float]],
    metric: str,
    settings: Mapping[str, Mapping[str, Any]],
    confidence: float,
    of_folds: int | None,
) -> list[dict[str, Any]]:
    """A row for each setting; arguments as of :func:`comparison_rows`, ``settings`` the values by label."""
    rows = []
    for label, own in scores.items():
        found = spread(list(own.values()), confidence, correction=_correction(of_folds))
        row = {"setting": label, **{name: _cell(value) for name, value in settings[label].items()}, "metric": metric}
        ends = _within_bounds(_ends(found, of_folds), metric, own.values())
        rows.append({**row, "mean": found.mean, "std": found.std, "n": found.n, **ends})
    return rows


def _within_bounds(ends: dict[str, float], metric: str, values: Iterable[float]) -> dict[str, float]:
    """The interval without what the metric cannot be; as it is where its values show another metric of that name."""
    bounds = known_bounds(metric)
    if bounds is None or not all(bounds[0] <= value <= bounds[1] for value in values):
        return ends
    return {name: end if math.isnan(end) else min(max(end, bounds[0]), bounds[1]) for name, end in ends.items()}


def comparison_rows(
    scores: Mapping[str, Mapping[int, float]],
    against: str,
    metric: str,
    mode: str,
    confidence: float,
    of_folds: int | None,
) -> list[dict[str, Any]]:
    """Each setting against one of them, over the seeds or folds that both have.

    Args:
        scores: of :func:`scores_of`.
        against: the one to compare with.
        metric: that is compared.
        mode: ``"min"`` or ``"max"``.
        confidence: that all intervals hold together.
        of_folds: how many folds the scores are of; 0 if these are by time, None if the scores are of seeds.
    """
    others = [label for label in scores if label != against]
    each = 1 - (1 - confidence) / max(len(others), 1)
    rows = []
    for label in others:
        common = [key for key in scores[label] if key in scores[against]]
        first, second = ([scores[one][key] for key in common] for one in (label, against))
        found = paired_difference(first, second, each, correction=_correction(of_folds))
        p_value = math.nan if of_folds == 0 else found.p_value
        rows.append(
            {
                "setting": label,
                "against": against,
                "metric": metric,
                "difference": found.mean,
                **_ends(found, of_folds),
                "n": found.n,
                "p_value": p_value,
                "verdict": _verdict(found, label, against, mode, of_folds),
            }
        )
    return rows


def _verdict(found: Difference, label: str, against: str, mode: str, of_folds: int | None) -> str:
    if not found.n:
        return "not comparable: no seed in common"
    if math.isnan(found.mean):
        return "not comparable: a value is not finite"
    if of_folds == 0:
        return "not known: folds by time are no repetitions; use more seeds"
    if found.n < 2:
        return "not known: one seed only; use more"
    if found.mean == 0 and found.low == 0 == found.high:
        return "equal"
    if not found.is_certain:
        return "cannot be told apart"
    is_better = (found.mean < 0) == (mode == "min")
    return f"{label if is_better else against} is better"


def _ends(found: Any, of_folds: int | None) -> dict[str, float]:
    """The ends of the interval, which folds by time have none of: each trains on other amounts of other times."""
    return {"low": math.nan, "high": math.nan} if of_folds == 0 else {"low": found.low, "high": found.high}


def _correction(of_folds: int | None) -> float:
    return fold_correction(of_folds) if of_folds else 0.0


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)

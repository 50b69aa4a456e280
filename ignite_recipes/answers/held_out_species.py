"""How well the hidden half of held-out checklists is predicted, by a model and by what it must beat."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.row_sets import spaced_rows
from ignite_recipes.metrics.species import brier_scores, calibration_errors, ndcg_at_k, recall_at_k
from ignite_recipes.models.hidden_features import predict_hidden
from ignite_recipes.models.species_baselines import ease_weights, effort_regression, prevalence
from ignite_recipes.optional import needs
from ignite_recipes.optional import polars as pl

__all__ = ["HeldOutSpecies", "compare_on_hidden", "evaluate_held_out_species"]

_MOST_HELD_OUT = 5_000  # checklists that are predicted
_MOST_REGRESSED = 50_000  # that the regression learns from


class HeldOutSpecies(NamedTuple):
    """The result of :func:`evaluate_held_out_species`.

    Attributes:
        models: a row for each model: ``model``, the means over checklists
            ``recall@k`` and ``ndcg@k`` of each k, the means over species ``average_precision`` and ``brier``, and the
            ``calibration_error`` of all probabilities together. Null for scores that are not probabilities.
        species: a row for each model and species: ``model``, ``species``, on how many ``checklists`` it was hidden, on
            how many of these it was ``present``, and ``average_precision``, ``brier``, ``calibration_error``.
        checklists: how many were predicted.

    >>> HeldOutSpecies(None, None, 3).checklists
    3
    """

    models: "pl.DataFrame"
    species: "pl.DataFrame"
    checklists: int


def evaluate_held_out_species(
    model: nn.Module,
    train: Any,
    val: Any,
    species: Sequence[str] | None = None,
    *,
    effort: tuple[Any, Any] | None = None,
    hidden: float = 0.5,
    ks: Sequence[int] = (5, 10),
    penalty: float = 100.0,
    samples: int = 100,
    seed: int = 0,
) -> HeldOutSpecies:
    """Hide a random part of the species of held-out checklists, and predict it from the rest.

    Each species of each checklist is hidden with the same chance, whether it was seen or not; all models get the same
    checklists with the same species hidden. The hidden species are ranked within each checklist, and judged as
    probabilities within each species. The model predicts by :func:`predict_hidden`. It is compared with baselines of
    the same training checklists: the prevalence of each species; EASE, a linear model in closed form; and, if
    ``effort`` is given, a logistic regression of each species on it.

    Args:
        model: a :class:`VariationalAutoencoder` of the Bernoulli likelihood.
        train, val: rows (N, D) of 0 and 1, with the model's covariates after them: an array, a tensor, a CSR matrix or
            a :class:`RowDataset`. If there are more than 5,000 rows to predict, 5,000 are taken, evenly spaced.
        species: the names of the D features; by default those of ``train``, or their numbers.
        effort: covariates of ``train`` and ``val``, (N, C) each, for the regression; None takes the model's, if it has
            some.
        hidden: chance of a species to be hidden, in (0, 1).
        ks: lengths of the ranked lists.
        penalty: the penalty of EASE.
        samples: those of :func:`predict_hidden`.
        seed: the seed of the hidden half, and of the samples.

    Raises:
        ValueError: for a setting out of its range, values that are not 0 or 1, or another model.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> rows = torch.eye(6)[torch.arange(60) % 6]
    >>> found = evaluate_held_out_species(VariationalAutoencoder(6, 2, 8), rows, rows, ks=[2])
    >>> found.models.columns
    ['model', 'recall@2', 'ndcg@2', 'average_precision', 'brier', 'calibration_error']
    >>> found.models["model"].to_list()
    ['VAE', 'EASE', 'prevalence']

    References: H. Steck, arXiv:1905.03375 (EASE); D. Liang et al., arXiv:1802.05814 (the measures of ranks).
    """
    if not isinstance(hidden, (int, float)) or not 0 < hidden < 1:
        raise ValueError(f"hidden must be a chance in (0, 1); got {shown(hidden)}")
    for k in ks:
        whole_number(k, "ks")
    plain: Any = unwrap(model)
    known, asked = (part if isinstance(part, RowDataset) else RowDataset(part) for part in (train, val))
    count = known.num_features - getattr(plain, "covariates", 0)
    names = (known.feature_names or [str(k) for k in range(count)])[:count] if species is None else [*species]
    if len(names) != count or asked.num_features != known.num_features:
        raise ValueError(
            f"species must name the {count} features of train, and val have the same; got {len(names)} names, "
            f"{asked.num_features - (known.num_features - count)} features"
        )
    places = spaced_rows(len(asked), _MOST_HELD_OUT)
    rows = asked.__getitems__(places.tolist())
    present = _as_present(rows[:, :count])
    learned = np.concatenate([_as_present(block[:, :count]) for block in known.blocks()])
    rng = np.random.default_rng(seed)
    is_hidden = rng.random(present.shape) < hidden
    scores: dict[str, tuple[NDArray[Any], bool]] = {}
    chances = predict_hidden(model, rows, torch.from_numpy(is_hidden), samples=samples, seed=seed)
    scores["VAE"] = chances.double().numpy(), True
    scores["EASE"] = (present & ~is_hidden) @ ease_weights(learned, penalty), False
    if effort is None and count < known.num_features:
        effort = torch.cat([block[:, count:] for block in known.blocks()]).cpu().numpy(), rows[:, count:].cpu().numpy()
    elif effort is not None:
        effort = effort[0], np.asarray(effort[1])[places]
    if effort is not None:
        some = spaced_rows(len(known), _MOST_REGRESSED)
        regressed = effort_regression(np.asarray(effort[0])[some], learned[some], effort[1])
        scores["effort and season"] = regressed, True
    scores["prevalence"] = np.tile(prevalence(learned), (len(present), 1)), True
    return compare_on_hidden(scores, present, is_hidden, names, ks)


def compare_on_hidden(
    scores: Mapping[str, tuple[NDArray[Any], bool]],
    present: NDArray[np.bool_],
    is_hidden: NDArray[np.bool_],
    species: Sequence[str],
    ks: Sequence[int],
) -> HeldOutSpecies:
    """The tables of several models' scores of the same hidden species.

    Args:
        scores: by the name of a model scores (N, S), and whether they are probabilities.
        present: (N, S), what is true.
        is_hidden: (N, S), what was to be predicted.
        species: the S names.
        ks: lengths of the ranked lists.
    """
    rows, of_species = [], []
    hidden, there = is_hidden.sum(0), (present & is_hidden).sum(0)
    for name, (given, are_chances) in scores.items():
        row: dict[str, Any] = {"model": name}
        for k in ks:
            row[f"recall@{k}"] = _mean(recall_at_k(given, present, is_hidden, k))
            row[f"ndcg@{k}"] = _mean(ndcg_at_k(given, present, is_hidden, k))
        precision = _average_precisions(given, present, is_hidden)
        of_each: dict[str, Any] = {"average_precision": precision, "brier": None, "calibration_error": None}
        row |= {"average_precision": _mean(precision), "brier": None, "calibration_error": None}
        if are_chances:
            of_each["brier"] = brier_scores(given, present, is_hidden)
            of_each["calibration_error"] = calibration_errors(given, present, is_hidden)
            row["brier"] = _mean(of_each["brier"])
            flat = [array[is_hidden][:, None] for array in (given, present, is_hidden)]
            row["calibration_error"] = _mean(calibration_errors(flat[0], flat[1], flat[2]))
        rows.append(row)
        for k, one in enumerate(species):
            entry = {"model": name, "species": one, "checklists": int(hidden[k]), "present": int(there[k])}
            own = {key: None if values is None else _number(values[k]) for key, values in of_each.items()}
            of_species.append({**entry, **own})
    numbers = dict.fromkeys(("average_precision", "brier", "calibration_error"), pl.Float64)
    return HeldOutSpecies(
        pl.DataFrame(rows, schema_overrides=numbers),
        pl.DataFrame(of_species, schema_overrides=numbers, infer_schema_length=None),
        len(present),
    )


def _average_precisions(
    scores: NDArray[Any], present: NDArray[np.bool_], is_hidden: NDArray[np.bool_]
) -> NDArray[np.float64]:
    """The area under the curve of precision and recall of each species; NaN of one that is nowhere to be found."""
    with needs("tables"):
        from sklearn.metrics import average_precision_score

    found = np.full(scores.shape[1], np.nan)
    for column in np.flatnonzero((present & is_hidden).any(0)):
        rows = is_hidden[:, column]
        found[column] = average_precision_score(present[rows, column], scores[rows, column])
    return found


def _as_present(features: torch.Tensor) -> NDArray[np.bool_]:
    values = features.cpu().numpy()
    if not np.isin(values, (0, 1)).all():
        raise ValueError("species must be 0 or 1, absent or present, to be hidden and predicted; got other values")
    result: NDArray[np.bool_] = values == 1
    return result


def _mean(values: NDArray[Any]) -> float | None:
    return None if np.isnan(values).all() else float(np.nanmean(values))


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)

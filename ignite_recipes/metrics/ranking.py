"""The area under the ROC curve, from the scores of all samples."""

from typing import Any

import torch
from torch import Tensor

from ignite_recipes.metrics.labels import CLASSES, as_labels, check_labels, probabilities
from ignite_recipes.metrics.statistics import Statistic, exact_dtype

__all__ = ["area_under_roc", "auroc_of", "scores_and_labels"]


def scores_and_labels(outputs: Any, targets: Any, *, threshold: float, ignore_index: int) -> Statistic:
    """Scores (M, C) and labels of all samples; to be put one after the other. The threshold plays no part."""
    given = as_labels(outputs, targets, ignore_index)
    return Statistic(given.kind, (given.scores.clone(), given.labels, given.num_wrong))


def auroc_of(given: Statistic) -> Tensor:
    """The AUROC of class 1 for two classes; for more the mean of each against the rest; for columns their mean.

    Classes and columns of which all samples are alike have none and are left out of a mean; NaN if all are.
    """
    scores, labels, num_wrong = given.parts
    check_labels(given.kind, scores.shape[1], num_wrong)
    if given.kind == CLASSES:
        counts = labels >= 0
        scores, labels = scores[counts].to(exact_dtype(scores)), labels[counts]
        if scores.shape[1] == 2:
            return area_under_roc(scores[:, 1] - scores[:, 0], labels == 1)
        chances = probabilities(scores)
        each = [area_under_roc(chances[:, k], labels == k) for k in range(chances.shape[1])]
    else:
        columns = zip(scores.unbind(1), labels.unbind(1), strict=True)
        each = [area_under_roc(column[own >= 0], own[own >= 0] == 1) for column, own in columns]
    return torch.stack(each).nanmean()


def area_under_roc(scores: Tensor, is_positive: Tensor) -> Tensor:
    """The chance that a positive sample has a higher score than a negative one, ties counted as a half; 0-d.

    NaN if there are no two kinds of samples, or a score is NaN.

    >>> area_under_roc(torch.tensor([0.1, 0.4, 0.4, 0.9]), torch.tensor([False, False, True, True]))
    tensor(0.8750, dtype=torch.float64)

    Reference: H. Mann, D. Whitney, On a Test of Whether one of Two Random Variables is Stochastically Larger than the
    Other, 1947.
    """
    exact = exact_dtype(scores)
    num_positive = is_positive.sum().to(exact)
    num_negative = len(is_positive) - num_positive
    _, place, size = torch.unique(scores, return_inverse=True, return_counts=True)
    rank = size.cumsum(0) - (size - 1).to(exact) / 2  # from 1, the mean of those that tie
    above = rank[place].where(is_positive, 0).sum() - num_positive * (num_positive + 1) / 2
    area: Tensor = above / (num_positive * num_negative)
    return area.where(~scores.isnan().any(), torch.nan)

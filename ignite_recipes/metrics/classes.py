"""Accuracy, balanced accuracy and F1, from counts of right and wrong answers: exact, however samples are batched."""

from typing import Any

import torch
from torch import Tensor

from ignite_recipes.metrics.labels import CLASSES, Labels, as_labels, check_labels
from ignite_recipes.metrics.statistics import Statistic, exact_dtype

__all__ = ["accuracy_of", "balanced_accuracy_of", "class_counts", "f1_of"]


def class_counts(outputs: Any, targets: Any, *, threshold: float, ignore_index: int) -> Statistic:
    """True and false positives, false and true negatives of each class or column, (C, 4) int64; to be summed."""
    given = as_labels(outputs, targets, ignore_index)
    table = _of_classes(given) if given.kind == CLASSES else _of_columns(given, threshold)
    return Statistic(given.kind, (table, given.num_wrong))


def _of_classes(given: Labels) -> Tensor:
    counts = given.labels >= 0
    labels, guesses = given.labels.clamp(min=0), given.scores.argmax(1)
    nothing = torch.zeros(given.scores.shape[1], dtype=torch.int64, device=labels.device)
    right = nothing.scatter_add(0, labels, (counts & (guesses == labels)).long())
    there, guessed = (nothing.scatter_add(0, index, counts.long()) for index in (labels, guesses))
    wrong, missed = guessed - right, there - right
    return torch.stack([right, wrong, missed, counts.sum() - right - wrong - missed], dim=1)


def _of_columns(given: Labels, threshold: float) -> Tensor:
    guesses, yes, no = given.scores > threshold, given.labels == 1, given.labels == 0
    cells = (guesses & yes, guesses & no, ~guesses & yes, ~guesses & no)
    return torch.stack([cell.sum(0) for cell in cells], dim=1)


def accuracy_of(counts: Statistic) -> Tensor:
    """The percentage of right answers; of several columns that of all answers."""
    right, wrong, missed, rest = _columns(counts)
    if counts.kind == CLASSES:
        return 100 * right.sum() / (right + missed).sum()
    return 100 * (right + rest).sum() / (right + wrong + missed + rest).sum()


def balanced_accuracy_of(counts: Statistic) -> Tensor:
    """The mean, in percent, of the accuracies on the samples of each class that there are; over columns, their mean."""
    right, wrong, missed, rest = _columns(counts)
    of_yes = right / (right + missed)
    if counts.kind == CLASSES:
        return 100 * of_yes.nanmean()
    of_no = rest / (rest + wrong)
    return 100 * torch.stack([of_yes, of_no]).nanmean(0).nanmean()


def f1_of(counts: Statistic) -> Tensor:
    """``2 TP / (2 TP + FP + FN)``: of class 1 where there are two, else the mean over classes that occur."""
    right, wrong, missed, _ = _columns(counts)
    each = 2 * right / (2 * right + wrong + missed)
    return each[1] if counts.kind == CLASSES and len(each) == 2 else each.nanmean()


def _columns(counts: Statistic) -> tuple[Tensor, ...]:
    table, num_wrong = counts.parts
    check_labels(counts.kind, len(table), num_wrong)
    return table.to(exact_dtype(table)).unbind(1)

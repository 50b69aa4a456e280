"""Outputs and targets of classes, in one form for every metric of them."""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from ignite_recipes.metrics.statistics import exact_dtype

__all__ = ["CLASSES", "COLUMNS", "Labels", "as_labels", "check_labels", "check_tensors", "probabilities"]

CLASSES = "classes"
"""One task: each sample is of one of several classes."""
COLUMNS = "columns"
"""One or several tasks of two classes, each a column: yes or no."""


class Labels(NamedTuple):
    """M samples, or places of samples, as scores and labels; C classes or columns.

    Attributes:
        kind: :data:`CLASSES` or :data:`COLUMNS`.
        scores: (M, C).
        labels: int64, (M,) from 0 to C - 1, or (M, C) of 0 and 1; -1 does not count.
        num_wrong: (1,), how many targets are neither a label nor to be ignored.
    """

    kind: str
    scores: Tensor
    labels: Tensor
    num_wrong: Tensor


def as_labels(outputs: Any, targets: Any, ignore_index: int) -> Labels:
    """Outputs and targets as they are brought, without a look at their values.

    Raises:
        TypeError, ValueError: if they are not tensors, or their shapes and types make no task of classes.
    """
    outputs, targets = check_tensors(outputs, targets)
    if targets.dim() == 2 and targets.shape[1] == 1 and outputs.dim() == 2:
        targets = targets[:, 0]
    if outputs.dim() > 1 and outputs.shape[1] == 1:
        outputs = outputs[:, 0]
    if targets.dim() > 1 and targets.shape[1] == 1 and outputs.shape == targets[:, 0].shape:
        targets = targets[:, 0]
    if outputs.dim() > 1 and targets.shape == outputs.shape[:1] + outputs.shape[2:]:
        if targets.is_floating_point():
            raise ValueError(
                f"targets of {outputs.shape[1]} classes must be integers; got {targets.dtype}: pass targets.long()"
            )
        return _of_classes(outputs, targets, ignore_index)
    if outputs.shape == targets.shape:
        return _of_columns(outputs, targets, ignore_index)
    raise ValueError(
        "outputs and targets must be (N, C) and (N,) for classes, or of one shape, (N,) or (N, L), for labels that are "
        f"0 or 1; got {tuple(outputs.shape)} and {tuple(targets.shape)}"
    )


def check_tensors(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Two tensors of as many samples, detached."""
    for name, value in (("outputs", outputs), ("targets", targets)):
        if not isinstance(value, Tensor) or value.dim() == 0:
            got = type(value).__name__ if not isinstance(value, Tensor) else "a single number"
            raise TypeError(f"{name} must be a tensor of N samples; got {got}: give a function or an object instead")
    return outputs.detach(), targets.detach()


def _of_classes(outputs: Tensor, targets: Tensor, ignore_index: int) -> Labels:
    num_classes = outputs.shape[1]
    scores, labels = outputs.movedim(1, -1).reshape(-1, num_classes), targets.reshape(-1).long()
    is_label = (labels >= 0) & (labels < num_classes) & (labels != ignore_index)
    num_wrong = (~is_label & (labels != ignore_index)).sum(0, keepdim=True)
    return Labels(CLASSES, scores, labels.where(is_label, -1), num_wrong)


def _of_columns(outputs: Tensor, targets: Tensor, ignore_index: int) -> Labels:
    width = outputs.shape[1] if outputs.dim() > 1 else 1
    as_rows = [x.movedim(1, -1) if x.dim() > 1 else x for x in (outputs, targets)]
    scores, values = (x.reshape(-1, width) for x in as_rows)
    is_label = (values == 0) | (values == 1)
    num_wrong = (~is_label & (values != ignore_index)).sum().reshape(1)
    labels = torch.where(is_label, values == 1, -torch.ones((), dtype=torch.int64, device=values.device))
    return Labels(COLUMNS, scores, labels, num_wrong)


def check_labels(kind: str, num_classes: int, num_wrong: Tensor) -> None:
    """Raise ValueError if a target was no label; the host waits here, where a value is read anyway."""
    if wrong := int(num_wrong.sum()):
        allowed = "0 or 1" if kind == COLUMNS else f"classes from 0 to {num_classes - 1}"
        raise ValueError(f"targets must be {allowed}; got {wrong} that are not")


def probabilities(scores: Tensor) -> Tensor:
    """(M, C) scores as probabilities of C classes; those that are some already, as they are."""
    exact = scores.to(exact_dtype(scores))
    is_given = ((exact >= 0).all() & (exact <= 1).all()) & ((exact.sum(1) - 1).abs() < 1e-3).all()
    return exact if bool(is_given) else exact.softmax(1)

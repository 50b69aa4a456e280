"""Mean absolute error and R2, of all samples."""

from typing import Any

import torch
from torch import Tensor

from ignite_recipes.metrics.labels import check_tensors
from ignite_recipes.metrics.statistics import Statistic, exact_dtype

__all__ = ["NUMBERS", "absolute_errors", "mean_absolute_error_of", "r2_of", "spreads"]

NUMBERS = "numbers"
"""The kind of a task whose targets are not classes."""


def _as_numbers(outputs: Any, targets: Any) -> tuple[Tensor, Tensor]:
    """Two tensors (N, K), K numbers of each sample; (N,) and (N, 1) mean the same.

    Raises:
        ValueError: if they are of different shapes.
    """
    outputs, targets = check_tensors(outputs, targets)
    shapes = tuple(outputs.shape), tuple(targets.shape)
    outputs, targets = (x[:, None] if x.dim() == 1 else x for x in (outputs, targets))
    if outputs.shape != targets.shape:
        raise ValueError(
            f"outputs and targets must be numbers of one shape, (N,) or (N, K); got {shapes[0]} and {shapes[1]}"
        )
    exact = exact_dtype(outputs)
    return outputs.to(exact).flatten(1), targets.to(exact).flatten(1)


def absolute_errors(outputs: Any, targets: Any, *, threshold: float, ignore_index: int) -> Statistic:
    """Their sum and their number, (2,); to be summed."""
    outputs, targets = _as_numbers(outputs, targets)
    total = (outputs - targets).abs().sum()
    return Statistic(NUMBERS, (torch.stack([total, total.new_full((), outputs.numel())]),))


def mean_absolute_error_of(given: Statistic) -> Tensor:
    """The mean of ``|output - target|`` over all numbers, in the units of the targets."""
    total, count = given.parts[0].unbind()
    return total / count


def spreads(outputs: Any, targets: Any, *, threshold: float, ignore_index: int) -> Statistic:
    """A row (1, 4, K) for the batch: samples, mean and squared deviations of targets, squared errors; kept one by one.

    Sums of squares of all targets would lose the digits that targets with a large mean differ in.
    """
    outputs, targets = _as_numbers(outputs, targets)
    mean = targets.mean(0)
    rows = [torch.full_like(mean, len(targets)), mean]
    rows += [(targets - mean).square().sum(0), (outputs - targets).square().sum(0)]
    return Statistic(NUMBERS, (torch.stack(rows)[None],))


def r2_of(given: Statistic) -> Tensor:
    """``1 - squared errors / squared deviations from the mean``, averaged over the K numbers of a sample.

    Numbers that are the same in all targets have none and are left out of the average; NaN if all are.

    Reference: T. Chan, G. Golub, R. LeVeque, Algorithms for Computing the Sample Variance, 1983, for the means.
    """
    n, means, deviations, errors = given.parts[0].unbind(1)  # (batches, K) each
    mean = (n * means).sum(0) / n.sum(0)
    total = (deviations + n * (means - mean).square()).sum(0)
    return (1 - errors.sum(0) / total).where(total > 0, torch.nan).nanmean()

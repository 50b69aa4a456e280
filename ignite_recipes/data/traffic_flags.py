"""Transmission flags from probabilities: the threshold that suits them, and how many transmissions to expect."""

import numbers
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic import to_tensor

__all__ = ["HALF", "TransmissionCounts", "count_probabilities", "expected_transmissions", "flag_threshold"]

HALF = 0.5
"""The threshold where there is nothing to choose it by."""


class TransmissionCounts(NamedTuple):
    """The expected numbers of transmissions in N windows.

    >>> TransmissionCounts(torch.tensor([1.5]), torch.tensor([0]), torch.tensor([3])).high.tolist()
    [3]
    """

    expected: Tensor
    """(N,) float64, the sum of the probabilities."""
    low: Tensor
    """(N,) int64, the lower end of the interval; it belongs to it."""
    high: Tensor
    """(N,) int64, the upper end; it belongs to it."""


def flag_threshold(chances: Any, sent: Any) -> float:
    """The probability above which to expect a transmission so that the flags' F1 is the greatest.

    Choose it on windows that the model was not trained on, and not on those on which the result is measured. Rare
    transmissions seldom get a probability above one half, so a threshold of 0.5 misses most of them.

    Args:
        chances: (N,) or (N, T), the probability of each sample's transmission, in [0, 1].
        sent: flags of the same shape, 1 where the sample was transmitted, else 0.

    Returns:
        A number in (0, 1), half way between the two probabilities that it separates. Of several thresholds with the
        greatest F1 it is the highest, which expects the fewest transmissions. 0.5 if nothing was transmitted, since F1
        is then 0 with any threshold.

    Raises:
        ValueError: if the shapes differ, there is nothing in them, or they hold anything else.

    >>> flag_threshold([0.1, 0.2, 0.4, 0.3], [0, 1, 1, 0])
    0.15000000000000002
    """
    given, truth = (to_tensor(name, each) for name, each in (("chances", chances), ("sent", sent)))
    if given.shape != truth.shape or not given.numel():
        raise ValueError(
            f"chances and sent must have one shape, of at least one sample; got {tuple(given.shape)} and "
            f"{tuple(truth.shape)}: take both from the same windows"
        )
    p, flags = given.cpu().double().flatten().numpy(), truth.cpu().double().flatten().numpy()
    _check_chances(p)
    if wrong := np.count_nonzero((flags != 0) & (flags != 1)):
        raise ValueError(f"sent must hold flags, 0 or 1; got {wrong} other numbers")
    order = np.argsort(-p, kind="stable")
    p, hits = p[order], np.cumsum(flags[order])
    # Thresholds that can be told apart: between two different probabilities, or below the lowest.
    lower = np.append(p[1:], 0.0)
    ends = np.flatnonzero((p > lower) & (lower < 1))
    if not hits[-1] or not len(ends):
        return HALF
    f1 = 2 * hits[ends] / (ends + 1 + hits[-1])
    best = ends[int(np.argmax(f1))]  # the first of equal ones, so the highest threshold
    middle = (p[best] + lower[best]) / 2
    if middle < p[best] and middle > 0:
        return float(middle)
    return float(max(lower[best], np.nextafter(0.0, 1.0)))  # neighbours: nothing lies between them


def count_probabilities(chances: Any) -> Tensor:
    """The probability of each number of transmissions in a window, if its samples are independent: (N, T + 1).

    The Poisson-binomial distribution, exactly: one sample after the other is convolved with what is known of those
    before it, in float64; T (T + 1) / 2 products a window.

    Args:
        chances: (N, T), the probability of each sample's transmission, in [0, 1].

    Raises:
        ValueError: for another shape, or probabilities outside [0, 1].

    >>> count_probabilities([[0.5, 0.5]]).tolist()
    [[0.25, 0.5, 0.25]]

    Reference: Y. H. Wang, On the number of successes in independent trials, 1993.
    """
    p = to_tensor("chances", chances).double()
    if p.ndim != 2 or not p.shape[1]:
        raise ValueError(f"chances must be (windows, samples of the target); got {tuple(p.shape)}")
    _check_chances(p.cpu().numpy())
    found = torch.zeros(len(p), p.shape[1] + 1, dtype=p.dtype, device=p.device)
    found[:, 0] = 1
    for k, sent in enumerate(p.T, start=1):
        one_more = found[:, :k] * sent[:, None]
        found[:, : k + 1] *= 1 - sent[:, None]
        found[:, 1 : k + 1] += one_more
    return found


def expected_transmissions(chances: Any, confidence: float = 0.95) -> TransmissionCounts:
    """The number of transmissions to expect in each window, and an interval for it.

    The interval is exact for samples that are independent given their probabilities: below it and above it lie at most
    ``(1 - confidence) / 2`` each. Samples of one window are not quite that: a transmission makes the next one less
    probable, and a window as a whole is busy or calm. :func:`backtest` says how often the interval holds the truth.

    Args:
        chances: (N, T), the probability of each sample's transmission, in [0, 1].
        confidence: the part of the windows whose number lies in the interval, at least; in (0, 1).

    Raises:
        ValueError: for another shape, or probabilities outside their range.

    >>> counts = expected_transmissions([[0.5, 0.5, 0.5, 0.5], [1.0, 1.0, 0.0, 0.0]], confidence=0.8)
    >>> counts.expected.tolist(), counts.low.tolist(), counts.high.tolist()
    ([2.0, 2.0], [1, 2], [3, 2])
    """
    if not isinstance(confidence, numbers.Real) or not 0 < confidence < 1:
        raise ValueError(f"confidence must be a probability, in (0, 1); got {shown(confidence)}")
    found = count_probabilities(chances)
    tail = (1 - confidence) / 2
    rounding = 1e-12  # of sums that are a tail exactly
    below = found.cumsum(1)  # (N, T + 1), of at most k
    above = found.flip(1).cumsum(1).flip(1)  # of at least k
    # The least number with more than a tail up to it, and the greatest with more than a tail from it on.
    low = (below <= tail + rounding).sum(1)
    high = (above > tail + rounding).sum(1) - 1
    return TransmissionCounts(to_tensor("chances", chances).double().sum(1), low, high)


def _check_chances(p: Any) -> None:
    if wrong := int(np.count_nonzero(~((p >= 0) & (p <= 1)))):
        raise ValueError(
            f"chances must be probabilities, in [0, 1]; got {wrong} other numbers: take the sigmoid of logits"
        )

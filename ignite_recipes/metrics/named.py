"""The metrics that have a name: functions of all outputs and targets, which batches and ranks can be added up for."""

import math
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from typing import NamedTuple

from torch import Tensor

from ignite_recipes.metrics.classes import accuracy_of, balanced_accuracy_of, class_counts, f1_of
from ignite_recipes.metrics.errors import absolute_errors, mean_absolute_error_of, r2_of, spreads
from ignite_recipes.metrics.ranking import auroc_of, scores_and_labels
from ignite_recipes.metrics.statistics import Statistic

__all__ = ["IGNORED_LABEL", "NamedMetric", "canonical", "known_bounds", "known_mode", "metric_names", "named_metric"]

IGNORED_LABEL = -100  # torch's label for "does not count"


class NamedMetric(NamedTuple):
    """A metric of :func:`~ignite_recipes.named_metric`: call it with outputs and targets of any number of samples.

    Attributes:
        name: e.g. ``"f1"``.
        mode: ``"max"`` if more is better, or ``"min"``.
        statistic: what it keeps of the outputs and targets of a batch, on their device; the host waits for nothing.
        fold: how those of batches become one: ``"sum"`` or ``"cat"``.
        value: the value of the statistic of all samples, a 0-d tensor; NaN where it is not defined.
        when_undefined: what the samples must have for it to be defined.
        bounds: the least and the largest value that it can have.
    """

    name: str
    mode: str
    statistic: Callable[..., Statistic]
    fold: str
    value: Callable[[Statistic], Tensor]
    when_undefined: str
    bounds: tuple[float, float] = (-math.inf, math.inf)

    def __call__(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """The value for these samples, a 0-d tensor.

        Raises:
            TypeError, ValueError: for outputs and targets that it is not made for.
        """
        return self.value(self.statistic(outputs, targets))


_SAMPLES = "it needs samples with a label"
_PERCENT, _PART = (0.0, 100.0), (0.0, 1.0)
_KNOWN: Mapping[str, NamedMetric] = {
    known.name: known
    for known in (
        NamedMetric("accuracy", "max", class_counts, "sum", accuracy_of, _SAMPLES, _PERCENT),
        NamedMetric("balanced_accuracy", "max", class_counts, "sum", balanced_accuracy_of, _SAMPLES, _PERCENT),
        NamedMetric("f1", "max", class_counts, "sum", f1_of, "it needs samples of the class, or guesses of it", _PART),
        NamedMetric("auroc", "max", scores_and_labels, "cat", auroc_of, "it needs samples of both classes", _PART),
        NamedMetric("mae", "min", absolute_errors, "sum", mean_absolute_error_of, "it needs a sample", (0.0, math.inf)),
        NamedMetric("r2", "max", spreads, "cat", r2_of, "it needs targets that differ", (-math.inf, 1.0)),
    )
}
_ALIASES = {
    "acc": "accuracy",
    "bacc": "balanced_accuracy",
    "f1_score": "f1",
    "auc": "auroc",
    "roc_auc": "auroc",
    "mean_absolute_error": "mae",
    "r2_score": "r2",
}


def metric_names() -> tuple[str, ...]:
    """The names of :func:`named_metric`, without their aliases.

    >>> metric_names()
    ('accuracy', 'balanced_accuracy', 'f1', 'auroc', 'mae', 'r2')
    """
    return tuple(_KNOWN)


def named_metric(name: str, *, threshold: float = 0.0, ignore_index: int = IGNORED_LABEL) -> NamedMetric:
    """A metric by its name: a function of (outputs, targets) that gives a 0-d tensor.

    ===================== =============== ==================================================================
    name                  aliases         value
    ===================== =============== ==================================================================
    ``accuracy``          acc             percent of right answers
    ``balanced_accuracy`` bacc            percent, the mean of the accuracies on each class
    ``f1``                f1_score        0 to 1; of class 1 of two, else the mean over classes that occur
    ``auroc``             roc_auc, auc    0 to 1; of class 1 of two, else the mean of each against the rest
    ``mae``               (see below)     mean of ``|output - target|``, in the targets' units
    ``r2``                r2_score        1 is perfect, 0 as good as the mean; the mean over several numbers
    ===================== =============== ==================================================================

    ``mean_absolute_error`` is ``mae`` too. Outputs and targets of classes may be:

    - several classes: outputs (N, C, ...), C at least 2, scores of any kind whose largest is the answer; targets
      (N, ...) or (N, 1), integers from 0 to C - 1. For AUROC of more than two the scores are taken as logits, unless
      all rows are probabilities that add up to 1;
    - two classes with one output: outputs and targets (N,) or (N, 1), targets 0 or 1 of any type; the answer is class 1
      where the output is above the ``threshold``;
    - several labels, each yes or no: outputs and targets (N, L); accuracy is that of all N x L answers, the others are
      means over the labels for which they are defined.

    Args:
        name: the name of the metric or an alias; capitals, spaces and hyphens do not matter.
        threshold: for one output, or several labels: 0 for logits, 0.5 for probabilities.
        ignore_index: samples whose target is this one do not count.

    Raises:
        ValueError: for an unknown name, with the nearest one.

    >>> import torch
    >>> f1 = named_metric("f1")
    >>> f1(torch.tensor([2.0, -1.0, 0.5]), torch.tensor([1, 0, 0]))  # one logit for each sample
    tensor(0.6667, dtype=torch.float64)
    >>> named_metric("mae").mode
    'min'
    """
    known = _known(name)
    if known is None:
        near = get_close_matches(canonical(name), [*_KNOWN, *_ALIASES], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"a metric that is given by its name must be one of {', '.join(_KNOWN)}; got {name!r}{hint}")
    return known._replace(statistic=partial(known.statistic, threshold=threshold, ignore_index=ignore_index))


def canonical(name: str) -> str:
    """A name in the spelling of ours: small letters, with underscores.

    >>> canonical("Balanced accuracy"), canonical("F1")
    ('balanced_accuracy', 'f1')
    """
    return "_".join(name.lower().replace("-", " ").split())


def known_mode(name: str) -> str | None:
    """Which way the metric of this name or alias is better; None if there is none.

    >>> known_mode("roc_auc"), known_mode("mae"), known_mode("my_metric")
    ('max', 'min', None)
    """
    known = _known(name)
    return None if known is None else known.mode


_BEGINNINGS = ("train_", "val_", "test_")
_VIEWS = ("classification_", "transmission_", "context_")  # of the traffic recipe's outputs


def known_bounds(name: str) -> tuple[float, float] | None:
    """The least and the largest value that a metric of this name can have; None where that is not known.

    >>> known_bounds("val_accuracy"), known_bounds("val_classification_f1"), known_bounds("val_loss")
    ((0.0, 100.0), (0.0, 1.0), None)
    """
    for beginnings in (_BEGINNINGS, _VIEWS):
        name = next((name.removeprefix(one) for one in beginnings if name.startswith(one)), name)
    known = _known(name)
    return None if known is None else known.bounds


def _known(name: str) -> NamedMetric | None:
    own = canonical(name)
    return _KNOWN.get(_ALIASES.get(own, own))

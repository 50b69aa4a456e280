"""How good a prediction of traffic is, next to some that need no training."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.arguments import shown
from ignite_recipes.data.traffic import TrafficArrays
from ignite_recipes.data.traffic_units import check_traffic_units

__all__ = ["baseline_reports", "quadratic_kappa", "traffic_report"]


def traffic_report(
    outputs: tuple[Tensor, Tensor, Tensor, Tensor], arrays: TrafficArrays, threshold: float = 0.5
) -> dict[str, float]:
    """The measures of this field for a prediction of N windows.

    Args:
        outputs: path (N, T, F), traffic (N, 1), class logits (N, classes) and transmission logits (N, T), as of
            :class:`~ignite_recipes.models.traffic.TrafficPredictor`.
        arrays: the eight arrays of the windows.
        threshold: the probability above which a transmission is predicted, in (0, 1).

    Returns:
        ``traffic_mse``; ``accuracy`` and quadratic weighted ``kappa`` of the class, the latter 0 if it is undefined, as
        with one class only; ``precision``, ``recall`` and ``f1`` of the flags, which are 0 if they are undefined.

    Raises:
        ValueError: if the outputs are not of these windows, the threshold is not a probability, or the arrays'
            traffic and classes are not in their units, as for training.

    >>> windows = TrafficArrays(*[torch.zeros(2, 1, 1)] * 3, *[torch.tensor([[0.0], [1.0]])] * 4, torch.zeros(2, 1, 1))
    >>> outputs = (windows.targets, torch.tensor([[0.0], [0.5]]), torch.eye(2), torch.tensor([[1.0], [2.0]]))
    >>> traffic_report(outputs, windows)
    {'traffic_mse': 0.125, 'accuracy': 1.0, 'kappa': 1.0, 'precision': 0.5, 'recall': 1.0, 'f1': 0.666...}
    """
    if not 0 < threshold < 1:
        raise ValueError(f"threshold must be a probability, in (0, 1); got {shown(threshold)}")
    _, traffic, class_logits, transmission_logits = outputs
    flags = transmission_logits > math.log(threshold / (1 - threshold))
    return _report(traffic, class_logits.argmax(1, keepdim=True), flags, arrays)


def baseline_reports(train: TrafficArrays, val: TrafficArrays) -> dict[str, dict[str, float]]:
    """The reports of three predictions that need no training, on the windows to validate on.

    ``last window`` expects the source's traffic again, and the number of transmissions that is nearest to it.
    ``mean`` expects the average traffic of the windows to train on, and the number nearest to that. ``always
    transmit`` expects every sample to be transmitted. Each expects all flags of a window where its traffic is
    above 0.5, else none: the eight arrays do not hold the flags of the source.

    Args:
        train: the eight arrays whose mean is taken.
        val: the eight arrays to predict.

    Raises:
        ValueError: if traffic or classes are not in their units, as for training.

    >>> windows = TrafficArrays(*[torch.zeros(2, 1, 1)] * 3, *[torch.tensor([[0.0], [1.0]])] * 4, torch.zeros(2, 1, 1))
    >>> {name: report["traffic_mse"] for name, report in baseline_reports(windows, windows).items()}
    {'last window': 0.0, 'mean': 0.25, 'always transmit': 0.5}
    """
    check_traffic_units(train)
    mean = train.target_traffic.double().mean().float().expand_as(val.source_traffic)
    guesses = {"last window": val.source_traffic, "mean": mean, "always transmit": torch.ones_like(val.source_traffic)}
    len_target = val.transmissions.shape[1]
    return {
        name: _report(traffic, (traffic * len_target).round(), (traffic > 0.5).expand_as(val.transmissions), val)
        for name, traffic in guesses.items()
    }


def _report(traffic: Tensor, classes: Tensor, flags: Tensor, arrays: TrafficArrays) -> dict[str, float]:
    pairs = {
        "traffic": (traffic, arrays.target_traffic),
        "class": (classes, arrays.target_class),
        "transmissions": (flags, arrays.transmissions),
    }
    for name, (predicted, truth) in pairs.items():
        if predicted.shape != truth.shape:
            raise ValueError(
                f"the {name} predicted must be of shape {tuple(truth.shape)}, as the arrays'; got "
                f"{tuple(predicted.shape)}: predict exactly the windows that are reported on"
            )
    check_traffic_units(arrays)
    predicted_class, true_class = _numbers(classes), _numbers(arrays.target_class)
    is_sent = arrays.transmissions.to(flags.device) > 0.5
    hits, predicted_flags, true_flags = (int(x.sum()) for x in (flags & is_sent, flags, is_sent))
    error = traffic.double() - arrays.target_traffic.to(traffic.device).double()
    return {
        "traffic_mse": error.square().mean().item(),
        "accuracy": float((predicted_class == true_class).mean()),
        "kappa": quadratic_kappa(true_class, predicted_class),
        "precision": hits / max(predicted_flags, 1),
        "recall": hits / max(true_flags, 1),
        "f1": 2 * hits / max(predicted_flags + true_flags, 1),
    }


def quadratic_kappa(truth: NDArray[Any], predicted: NDArray[Any]) -> float:
    """How far two raters agree on whole numbers (N,): 1 less their mean squared distance over that of independent ones.

    Cohen's kappa with quadratic weights; 0 where it is undefined, as with one number only.

    >>> quadratic_kappa(np.array([0, 1, 2]), np.array([0, 2, 1])), quadratic_kappa(np.ones(3), np.ones(3))
    (0.5, 0.0)

    Reference: J. Cohen, Weighted Kappa, 1968; J. Fleiss, J. Cohen, 1973, for the form in means and variances.
    """
    expected = truth.var() + predicted.var() + (truth.mean() - predicted.mean()) ** 2
    return float(1 - np.square(truth - predicted).mean() / expected) if expected > 0 else 0.0


def _numbers(classes: Tensor) -> Any:
    return classes.detach().to("cpu", torch.int64).flatten().numpy()

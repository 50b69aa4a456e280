"""A module whose outputs are the means of those of several modules."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.models.traffic import TrafficPrediction, TrafficPredictor

__all__ = ["MeanOfModels", "mean_scores"]

_OF_TRAFFIC = ("input_size", "output_size", "num_classes", "len_source", "degree", "dt")


class MeanOfModels(nn.Module):
    """The mean of what some models of the same task say.

    Args:
        models: each gives (N, K); copies of them are kept. :class:`TrafficPredictor` works too.
        of_classes: whether the outputs are scores of K classes; of these the probabilities are averaged, and their
            logarithms returned, which are scores again. Otherwise the outputs themselves are averaged.

    >>> sure, unsure = nn.Linear(1, 2), nn.Linear(1, 2)
    >>> for model, score in ((sure, 20.0), (unsure, 0.0)):
    ...     _ = nn.init.zeros_(model.weight), model.bias.data.copy_(torch.tensor([score, 0.0]))
    >>> MeanOfModels([sure, unsure], of_classes=True)(torch.zeros(1, 1)).softmax(1).round(decimals=3)
    tensor([[0.7500, 0.2500]], grad_fn=<RoundBackward1>)
    """

    def __init__(self, models: Sequence[nn.Module], *, of_classes: bool) -> None:
        super().__init__()
        if not models:
            raise ValueError("an ensemble must have at least one model; got none")
        self.models = nn.ModuleList(copy.deepcopy(model) for model in models)
        self.of_classes = of_classes
        if isinstance(models[0], TrafficPredictor):
            for name in _OF_TRAFFIC:
                setattr(self, name, getattr(models[0], name))

    def forward(self, *inputs: Any) -> Any:
        """As of each model."""
        found = [model(*inputs) for model in self.models]
        if isinstance(found[0], TrafficPrediction):
            paths, traffic, classes, flags = (torch.stack(parts) for parts in zip(*found, strict=True))
            return TrafficPrediction(
                paths.mean(0), traffic.mean(0), mean_scores(classes), torch.logit(flags.sigmoid().mean(0), eps=1e-7)
            )
        outputs = torch.stack(found)
        return mean_scores(outputs) if self.of_classes else outputs.mean(0)


def mean_scores(scores: Tensor) -> Tensor:
    """The logarithms of the mean probabilities of M models, (M, N, K) -> (N, K)."""
    return torch.logsumexp(scores.log_softmax(2), 0) - math.log(len(scores))

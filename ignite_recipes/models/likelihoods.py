"""What a decoder's outputs say of a vector: the probability of the vector, and the vector to be expected.

Each likelihood is a few functions of the ``outputs`` of the decoder, real numbers (..., D) before any link, and of the
vectors, (..., D). All log-probabilities are complete, with the terms that do not depend on the outputs, so that they
can be compared with each other and with those of other programs.

=================== ========================= =============================== ====================================
name                vectors                   outputs                         scale
=================== ========================= =============================== ====================================
bernoulli           in [0, 1]                 logits                          none
multinomial         not negative              logits of the features' shares  none
gaussian            any                       means                           standard deviations
poisson             counts                    logarithms of the rates         none
negative_binomial   counts                    logarithms of the means         r: the variance is mean + mean^2 / r
=================== ========================= =============================== ====================================
"""

import math
from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, normalize

__all__ = ["LIKELIHOODS", "Likelihood", "likelihood_named"]

_LARGEST = torch.finfo(torch.float32).max


class Likelihood(ABC):
    """The probability of a vector, given a decoder's outputs.

    Attributes:
        name: by which it is asked for.
        support: the vectors that have a probability, in words.
        least, most, is_whole: the same in numbers.
        has_scale: whether it has a scale for each feature in addition to the outputs.
        bounds: what noisy vectors are clamped to; None leaves a side open.
    """

    name: ClassVar[str]
    support: ClassVar[str]
    least: ClassVar[float] = 0.0
    most: ClassVar[float] = _LARGEST
    is_whole: ClassVar[bool] = False
    has_scale: ClassVar[bool] = False
    bounds: ClassVar[tuple[float | None, float | None]] = (0.0, None)

    def __repr__(self) -> str:
        return self.name

    @abstractmethod
    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        """The log-probability of the vectors ``x``, in nats, summed over their features: (..., D), (..., D) -> (...,).

        Args:
            outputs: the outputs of the decoder, before any link.
            x: the vectors.
            log_scale: (D,), the logarithms of the scales, of a likelihood that has them; None are scales of 1.
        """

    @abstractmethod
    def mean(self, outputs: Tensor) -> Tensor:
        """The vector to be expected: (..., D) -> (..., D). A multinomial's is that of one count, its shares."""

    def total_loss(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        """Minus the log-probability of all vectors together, 0-d."""
        return -self.log_prob(outputs, x, log_scale).sum()

    def encoder_input(self, x: Tensor) -> Tensor:
        """What the encoder is fed with, of a size that a network can take: (..., D) -> (..., D)."""
        return x

    def outside(self, x: Tensor) -> Tensor:
        """Where a vector has no probability, NaN included: (..., D) -> (..., D), bool."""
        outside = ~((x >= self.least) & (x <= self.most))
        return outside | (x != x.floor()) if self.is_whole else outside

    def covers(self, x: Tensor) -> bool:
        """Whether every vector has a probability; the host waits for it."""
        low, high = x.float().aminmax()
        return bool(low >= self.least and high <= self.most) and not (self.is_whole and bool((x != x.floor()).any()))


class Bernoulli(Likelihood):
    """Features are there with a probability; values between 0 and 1 count as such probabilities themselves."""

    name, support, most, bounds = "bernoulli", "in [0, 1]", 1.0, (0.0, 1.0)

    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        cross_entropy = binary_cross_entropy_with_logits(outputs, x.expand_as(outputs), reduction="none")
        return -cross_entropy.sum(-1)

    def total_loss(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        return binary_cross_entropy_with_logits(outputs, x, reduction="sum")

    def mean(self, outputs: Tensor) -> Tensor:
        return torch.sigmoid(outputs)


class Multinomial(Likelihood):
    """A vector's counts are spread over the features (D. Liang et al., arXiv:1802.05814, Mult-VAE).

    The encoder sees vectors of length 1, as there. The coefficient, which their loss leaves out, is in it.
    """

    name, support = "multinomial", "at least 0"

    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        coefficient = torch.lgamma(x.sum(-1) + 1) - torch.lgamma(x + 1).sum(-1)
        return coefficient + (x * log_softmax(outputs, -1)).sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        return torch.softmax(outputs, -1)

    def encoder_input(self, x: Tensor) -> Tensor:
        return normalize(x, dim=-1)


class Gaussian(Likelihood):
    """Features vary around their means with one standard deviation each (O. Rybkin et al., arXiv:2006.13202)."""

    name, support, least, has_scale, bounds = "gaussian", "finite", -_LARGEST, True, (None, None)

    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        log_scale = outputs.new_zeros(()) if log_scale is None else log_scale
        deviation = (x - outputs) * torch.exp(-log_scale)
        return (-0.5 * deviation.square() - log_scale - 0.5 * math.log(2 * math.pi)).sum(-1)

    def mean(self, outputs: Tensor) -> Tensor:
        return outputs


class _OfCounts(Likelihood):
    support, is_whole = "whole numbers of at least 0", True

    def mean(self, outputs: Tensor) -> Tensor:
        return torch.exp(outputs)

    def encoder_input(self, x: Tensor) -> Tensor:
        return torch.log1p(x)  # a network learns badly from counts over several orders of magnitude


class Poisson(_OfCounts):
    """Counts whose variance is their mean."""

    name = "poisson"

    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        return (x * outputs - torch.exp(outputs) - torch.lgamma(x + 1)).sum(-1)


class NegativeBinomial(_OfCounts):
    """Counts that vary more than a Poisson's, with one r for each feature (R. Lopez et al., scVI, 2018)."""

    name, has_scale = "negative_binomial", True

    def log_prob(self, outputs: Tensor, x: Tensor, log_scale: Tensor | None = None) -> Tensor:
        log_r = outputs.new_zeros(()) if log_scale is None else log_scale
        r = torch.exp(log_r)
        total = torch.logaddexp(outputs, log_r)
        coefficient = torch.lgamma(x + r) - torch.lgamma(r) - torch.lgamma(x + 1)
        return (coefficient + r * (log_r - total) + x * (outputs - total)).sum(-1)


LIKELIHOODS: dict[str, Likelihood] = {
    each.name: each for each in (Bernoulli(), Multinomial(), Gaussian(), Poisson(), NegativeBinomial())
}
"""All of them, by their names."""


def likelihood_named(name: str) -> Likelihood:
    """The likelihood of a name.

    Raises:
        ValueError: if there is none, naming those that there are.

    >>> likelihood_named("poisson").log_prob(torch.zeros(3), torch.tensor([0.0, 1.0, 2.0]))  # rates of 1
    tensor(-3.6931)
    """
    if not isinstance(name, str) or name not in LIKELIHOODS:
        raise ValueError(f"likelihood must be one of {', '.join(LIKELIHOODS)}; got {name!r}")
    return LIKELIHOODS[name]

"""What a trained variational autoencoder is worth: its likelihood, and what its latent space says of the vectors."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.data.vectors import read_vectors
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators, seed_torch
from ignite_recipes.models.vae import features_of
from ignite_recipes.models.vae_losses import kl_divergences, log_importance_weights

__all__ = [
    "ACTIVE_VARIANCE",
    "ImportanceBound",
    "LatentMeasures",
    "importance_weighted_nll",
    "latent_measures",
    "unit_variances",
]

ACTIVE_VARIANCE = 0.01
"""A latent dimension is active if its means vary over the vectors by more (Y. Burda et al., arXiv:1509.00519)."""

_NUMBERS = 1 << 22  # decoded at a time
_PAIRS = 1 << 22  # of a sample and a distribution, compared at a time
_MOST_ROWS = 4096  # of which the mutual information is estimated, by all pairs


class ImportanceBound(NamedTuple):
    """The result of :func:`importance_weighted_nll`, in nats per vector.

    Attributes:
        nll: an upper bound of -log p(x), the mean over the vectors.
        standard_error: the standard error of that mean, as the vectors vary; NaN for one vector.
        sampling_error: the standard error of that mean, as the samples vary, for the same vectors; NaN for one sample.
        of_each: (N,), the bound of each vector, float64.

    >>> ImportanceBound(89.8, 0.2, 0.01, torch.zeros(3)).nll
    89.8
    """

    nll: float
    standard_error: float
    sampling_error: float
    of_each: Tensor


class LatentMeasures(NamedTuple):
    """The result of :func:`latent_measures`.

    Attributes:
        kl_of_each: (Z,), the mean divergence of each latent dimension from the prior, in nats.
        variances: (Z,), those of the latent means over the vectors.
        active_units: dimensions whose variance is above 0.01.
        mutual_information: between vector and latent sample, in nats, at most log of the number of vectors.
        marginal_kl: the divergence of the mixture of all latent distributions from the prior, in nats; with the former
            it makes the mean divergence.

    >>> LatentMeasures(torch.ones(2), torch.ones(2), 2, 1.5, 0.5).active_units
    2
    """

    kl_of_each: Tensor
    variances: Tensor
    active_units: int
    mutual_information: float
    marginal_kl: float


@torch.no_grad()
def importance_weighted_nll(model: nn.Module, data: Any, samples: int = 5000, *, seed: int = 0) -> ImportanceBound:
    """The importance-weighted bound of -log p(x), which gets closer to it with every sample.

    For each vector it is -log of the mean over K samples z of q(z | x) of p(x | z) p(z) / q(z | x). Samples are drawn
    and decoded in blocks of a bounded size, and their weights are summed in log space, in double precision, so that
    many samples, or very different ones, are not a problem.

    Args:
        model: a :class:`VariationalAutoencoder`, or a module with ``encode(x)``, which gives mean and log-variance
            (N, Z), and ``log_likelihood(x, z)`` for (N, D) and (K, N, Z); evaluated as in inference.
        data: the vectors: a tensor or an array (N, D), a frame, a data set or a loader, read in its order.
        samples: K, for each vector.
        seed: the seed of the samples; no other generator is moved.

    Raises:
        TypeError: for a model without these methods.
        ValueError: if there is no vector, or no sample.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> model = VariationalAutoencoder(3, 2, 8)
    >>> bound = importance_weighted_nll(model, torch.eye(3), samples=100)
    >>> bound.nll > 0, bound.of_each.shape
    (True, torch.Size([3]))

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov, Importance Weighted Autoencoders, arXiv:1509.00519. The sampling
    error is by the delta method.
    """
    plain, samples = _checked(model, "log_likelihood"), whole_number(samples, "samples")
    of_each, errors = [], []
    with _encoded(plain, data, seed) as batches:
        for x, mean, log_variance in batches:
            log_sum, log_squares = _sums(plain, x, mean, log_variance, samples)
            of_each.append(math.log(samples) - log_sum.cpu())
            relative = torch.expm1(log_squares - 2 * log_sum + math.log(samples)).clamp(min=0)  # variance of a weight
            errors.append((relative / max(samples - 1, 1)).cpu())
    found, squared = torch.cat(of_each), torch.cat(errors)
    n = len(found)
    return ImportanceBound(
        found.mean().item(),
        found.std().item() / math.sqrt(n) if n > 1 else math.nan,
        squared.sum().sqrt().item() / n if samples > 1 else math.nan,
        found,
    )


def _sums(model: Any, x: Tensor, mean: Tensor, log_variance: Tensor, samples: int) -> tuple[Tensor, Tensor]:
    """The logarithms of the sums of the weights and of their squares: (N, ...) -> (N,), (N,)."""
    block = max(1, _NUMBERS // max(x.numel(), 1))
    log_sum = torch.full((len(x),), -math.inf, device=x.device, dtype=_exact(x))
    log_squares = log_sum.clone()
    for start in range(0, samples, block):
        noise = torch.randn((min(block, samples - start), *mean.shape), device=x.device)
        log_p, log_ratio = log_importance_weights(model, x, mean, log_variance, noise)
        log_weights = (log_p + log_ratio).to(log_sum)
        log_sum = torch.logaddexp(log_sum, torch.logsumexp(log_weights, 0))
        log_squares = torch.logaddexp(log_squares, torch.logsumexp(2 * log_weights, 0))
    return log_sum, log_squares


@torch.no_grad()
def latent_measures(model: nn.Module, data: Any, *, seed: int = 0) -> LatentMeasures:
    """Measures of the latent space: active units, divergences, mutual information.

    The mean divergence from the prior is the mutual information between vectors and latent samples, plus the divergence
    of all latent distributions together. The mutual information is estimated with one sample of each vector, compared
    with the distributions of all, of at most 4,096 vectors, evenly spaced in the data.

    Args:
        model: a :class:`VariationalAutoencoder`, or a module with ``encode(x)``, which gives mean and log-variance.
        data: the vectors, as in :func:`importance_weighted_nll`.
        seed: the seed of the samples; no other generator is moved.

    Raises:
        TypeError, ValueError: as :func:`importance_weighted_nll`.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> found = latent_measures(VariationalAutoencoder(3, 2, 8), torch.eye(3))
    >>> found.kl_of_each.shape, found.active_units in (0, 1, 2)
    (torch.Size([2]), True)

    Reference: active units: Y. Burda et al., arXiv:1509.00519; mutual information: M. Hoffman, M. Johnson, ELBO
    surgery, 2016.
    """
    with _encoded(_checked(model), data, seed) as batches:
        parts = [(mean.double().cpu(), log_variance.double().cpu()) for _, mean, log_variance in batches]
        mean, log_variance = (torch.cat(column) for column in zip(*parts, strict=True))
        kl = kl_divergences(mean, log_variance)
        rows = torch.linspace(0, len(mean) - 1, min(len(mean), _MOST_ROWS)).long()
        information = _mutual_information(mean[rows], log_variance[rows])
    variances = unit_variances(mean)
    return LatentMeasures(
        kl.mean(0).float(),
        variances.float(),
        int((variances > ACTIVE_VARIANCE).sum()),
        information,
        kl.sum(1).mean().item() - information,
    )


def unit_variances(mean: Tensor) -> Tensor:
    """The variances of the latent means over the vectors: (N, Z) -> (Z,)."""
    return mean.var(0, correction=0)


def _mutual_information(mean: Tensor, log_variance: Tensor) -> float:
    """The mean of log q(z | x) - log q(z), z being a sample of each vector's distribution: (N, Z), (N, Z) -> nats."""
    n = len(mean)
    noise = torch.randn(mean.shape, dtype=mean.dtype)
    z = mean + torch.exp(0.5 * log_variance) * noise
    precision = torch.exp(-log_variance)
    of_each = (mean.square() * precision + log_variance).sum(1)
    total = 0.0
    for start in range(0, n, max(1, _PAIRS // n)):
        part = z[start : start + max(1, _PAIRS // n)]
        squares = part.square() @ precision.T - 2 * part @ (mean * precision).T + of_each  # (block, N)
        total += torch.logsumexp(-0.5 * squares, 1).sum().item()
    own = -0.5 * (noise.square() + log_variance).sum()
    return (own.item() - total) / n + math.log(n)


def _checked(model: nn.Module, *also: str) -> Any:
    plain = unwrap(model)
    if missing := [name for name in ("encode", *also) if not callable(getattr(plain, name, None))]:
        raise TypeError(
            f"model must have a method {missing[0]}, e.g. a VariationalAutoencoder; got {type(plain).__name__}"
        )
    return plain


@contextmanager
def _encoded(model: Any, data: Any, seed: int) -> Iterator[Iterator[tuple[Tensor, Tensor, Tensor]]]:
    """The vectors in blocks, each with mean and log-variance; what is drawn in the block begins with the seed."""
    vectors = read_vectors(data).flatten(1)
    place = next(model.parameters())
    likelihood = getattr(model, "likelihood", None)
    if likelihood is not None and not likelihood.covers(features_of(model, vectors)):
        raise ValueError(f"vectors must be {likelihood.support}, of the model's likelihood {likelihood}; got others")
    with preserve_generators(place.device), in_evaluation_mode(model):
        seed_torch(seed, place.device)

        def encode() -> Iterator[tuple[Tensor, Tensor, Tensor]]:
            for part in torch.split(vectors, max(1, min(1024, _NUMBERS // vectors.shape[1]))):
                x = part.to(place.device)
                mean, log_variance = model.encode(x.to(place))
                yield x, mean.float(), log_variance.float()

        yield encode()


def _exact(like: Tensor) -> torch.dtype:
    return torch.float32 if like.device.type == "mps" else torch.float64

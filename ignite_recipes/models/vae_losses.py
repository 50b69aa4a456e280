"""What a variational autoencoder minimises: the negative evidence lower bound, and its variants."""

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from ignite_recipes.devices import without_autocast
from ignite_recipes.models.likelihoods import likelihood_named

__all__ = ["importance_weighted_losses", "kl_divergences", "log_importance_weights", "vae_losses"]


def kl_divergences(mean: Tensor, log_variance: Tensor) -> Tensor:
    """The divergence of each latent dimension from N(0, 1), in nats: (N, Z), (N, Z) -> (N, Z)."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)


def vae_losses(
    reconstruction: Tensor,
    target: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    logits: bool = False,
    likelihood: str = "bernoulli",
    log_scale: Tensor | None = None,
    kl_weight: float | Tensor = 1.0,
    free_bits: float = 0.0,
) -> dict[str, Tensor]:
    """The negative evidence lower bound and its two terms, in nats per vector.

    ``recon_loss`` is the binary cross-entropy summed over the features, or minus another log-likelihood; ``kl_loss``
    the divergence of the latent distribution from N(0, 1) summed over its dimensions, both averaged over the N
    vectors; ``loss`` is their sum. Computed in float32, also under autocast.

    Args:
        reconstruction: probabilities (N, D), or logits (``logits=True``), which are faster and exact also if a
            probability rounds to 0 or 1. For another likelihood than ``"bernoulli"`` the decoder's outputs before the
            link function, e.g. a Poisson's log-rates.
        target: the clean vectors (N, D), in [0, 1] or as the likelihood needs them.
        mean, log_variance: those of the latent distribution (N, Z).
        logits: whether ``reconstruction`` holds logits.
        likelihood: its name, as in :class:`VariationalAutoencoder`.
        log_scale: logarithms of a Gaussian's standard deviations or a negative binomial's r (D,); None are 1.
        kl_weight: the weight of the divergence in ``loss`` (beta); ``kl_loss`` is without it.
        free_bits: nats by which each latent dimension may diverge, on average over the vectors, at no cost.

    >>> zeros = torch.zeros(1, 2)
    >>> losses = vae_losses(zeros, zeros, zeros, zeros, logits=True)
    >>> {name: round(value.item(), 4) for name, value in losses.items()}
    {'loss': 1.3863, 'recon_loss': 1.3863, 'kl_loss': 0.0}

    Reference: I. Higgins et al., beta-VAE, 2017; free bits: D. Kingma et al., arXiv:1606.04934, appendix C.8.
    """
    if reconstruction.shape != target.shape or mean.shape != log_variance.shape or len(mean) != len(target):
        shapes = ", ".join(str(tuple(x.shape)) for x in (reconstruction, target, mean, log_variance))
        raise ValueError(f"reconstruction and target must be (N, D), mean and log_variance (N, Z); got {shapes}")
    of_data = likelihood_named(likelihood)
    n = len(target)
    with without_autocast(target.device):  # torch refuses probabilities under it on CUDA
        mean, log_variance = mean.float(), log_variance.float()
        outputs, target = reconstruction.float(), target.float()
        if likelihood == "bernoulli" and not logits:
            fit = binary_cross_entropy(outputs, target, reduction="sum") / n
        else:
            fit = of_data.total_loss(outputs, target, log_scale) / n
        of_each = kl_divergences(mean, log_variance)
        divergence = of_each.sum() / n
        cost = of_each.mean(0).clamp(min=free_bits).sum() if free_bits else divergence
        if isinstance(kl_weight, Tensor) or kl_weight != 1:
            cost = kl_weight * cost
        return {"loss": fit + cost, "recon_loss": fit, "kl_loss": divergence}


def log_importance_weights(
    model: Any, target: Tensor, mean: Tensor, log_variance: Tensor, noise: Tensor
) -> tuple[Tensor, Tensor]:
    """The terms log p(x | z) and log p(z) - log q(z | x) of samples of the latent distribution, in nats: (K, N) each.

    Args:
        model: with ``log_likelihood(x, z)``.
        target: x, (N, D).
        mean, log_variance: of q(z | x), (N, Z).
        noise: of N(0, 1), (K, N, Z), which the samples are made of.
    """
    z = mean + torch.exp(0.5 * log_variance) * noise
    return model.log_likelihood(target, z), 0.5 * (noise.square() + log_variance - z.square()).sum(-1)


def importance_weighted_losses(
    model: Any, inputs: Tensor, target: Tensor, samples: int, *, kl_weight: float | Tensor = 1.0
) -> dict[str, Tensor]:
    """The negative importance-weighted bound of K samples for each vector, in nats per vector.

    ``loss`` is -log of the mean of the weights p(x, z) / q(z | x), ``recon_loss`` and ``kl_loss`` are the two terms of
    the evidence lower bound, as :func:`vae_losses` has them, with ``recon_loss`` over all samples. With 1 sample the
    bound is the evidence lower bound, with more it is nearer to log p(x).

    Args:
        model: with ``encode(x)`` and ``log_likelihood(x, z)``.
        inputs: that are encoded, (N, D).
        target: the clean vectors, (N, D).
        samples: K.
        kl_weight: of log p(z) - log q(z | x) in the weights.

    Reference: Y. Burda, R. Grosse, R. Salakhutdinov, arXiv:1509.00519.
    """
    mean, log_variance = model.encode(inputs)
    with without_autocast(target.device):
        mean, log_variance = mean.float(), log_variance.float()
        noise = torch.randn((samples, *mean.shape), device=mean.device)
        log_p, log_ratio = log_importance_weights(model, target, mean, log_variance, noise)
        if isinstance(kl_weight, Tensor) or kl_weight != 1:
            log_ratio = kl_weight * log_ratio
        bound = torch.logsumexp(log_p + log_ratio, 0) - math.log(samples)
        divergence = kl_divergences(mean, log_variance).sum(-1).mean()
        return {"loss": -bound.mean(), "recon_loss": -log_p.mean(), "kl_loss": divergence}

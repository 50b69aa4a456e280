"""What a variational autoencoder says of the features of a vector that it was not shown."""

from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators, seed_torch
from ignite_recipes.models.vae import VariationalAutoencoder, features_of

__all__ = ["predict_hidden"]

_WIDER = 2.0  # variance of the proposals, of the encoder's: it takes hidden features for absent ones and is too sure
_NUMBERS = 1 << 23  # decoded at a time
_LEAST = 1e-7  # of a probability in float32


@torch.no_grad()
def predict_hidden(model: nn.Module, rows: Tensor, is_hidden: Tensor, *, samples: int = 100, seed: int = 0) -> Tensor:
    """The probability that each feature is 1, given the features of its vector that are not hidden.

    The encoder gets the vector with zeros in the hidden places. Samples z of its distribution are weighted by p(visible
    features | z) p(z) / q(z), and their decoded probabilities are averaged. The encoder only proposes; hidden features
    have no effect on the weights, so that a missing feature never counts as absent.

    Args:
        model: a :class:`VariationalAutoencoder` of the Bernoulli likelihood, evaluated as in inference.
        rows: (N, D), or (N, D + C) with covariates, which stay visible. Values in hidden places are not read.
        is_hidden: (N, D).
        samples: samples for each vector.
        seed: the seed of the samples; no other generator is moved.

    Returns:
        (N, D), on the CPU; for visible features too, by the same samples.

    Raises:
        ValueError: for another model or likelihood, or shapes that do not go together.

    >>> model = VariationalAutoencoder(3, latent_dimension=2, hidden_dimension=8)
    >>> predict_hidden(model, torch.eye(3), torch.eye(3).bool(), samples=10).shape
    torch.Size([3, 3])
    """
    plain, samples = unwrap(model), whole_number(samples, "samples")
    if not isinstance(plain, VariationalAutoencoder) or plain.likelihood.name != "bernoulli":
        raise ValueError(
            "hidden features are predicted by a VariationalAutoencoder of the likelihood bernoulli; got "
            f"{getattr(plain, 'likelihood', type(plain).__name__)}"
        )
    if rows.dim() != 2 or rows.shape[1] != plain.row_dimension or is_hidden.shape != features_of(plain, rows).shape:
        raise ValueError(
            f"rows must be (N, {plain.row_dimension}) and is_hidden (N, {plain.input_dimension}); got "
            f"{tuple(rows.shape)} and {tuple(is_hidden.shape)}"
        )
    place = next(plain.parameters()).device
    block = max(1, _NUMBERS // (samples * max(plain.input_dimension, plain.hidden_dimension)))
    found = []
    with preserve_generators(place), in_evaluation_mode(plain):
        seed_torch(seed, place)
        for part, hidden in zip(torch.split(rows, block), torch.split(is_hidden.bool(), block), strict=True):
            found.append(_predicted(plain, part.to(place).float(), hidden.to(place), samples).cpu())
    return torch.cat(found)


def _predicted(model: Any, rows: Tensor, hidden: Tensor, samples: int) -> Tensor:
    x = features_of(model, rows).masked_fill(hidden, 0.0)
    covariates = model.covariates_of(rows)
    mean, log_variance = model.encode(x if covariates is None else torch.cat([x, covariates], 1))
    variance = _WIDER * log_variance.exp()
    noise = torch.randn(samples, *mean.shape, device=mean.device)
    z = mean + variance.sqrt() * noise  # (K, N, Z)
    chances = model.decode(z, covariates).clamp(_LEAST, 1 - _LEAST)  # (K, N, D)
    fit = x * chances.log() + (1 - x) * torch.log1p(-chances)
    log_weights = fit.masked_fill(hidden, 0.0).sum(-1)
    log_weights += 0.5 * (noise.square() + variance.log() - z.square()).sum(-1)  # log p(z) - log q(z)
    return torch.einsum("kn,knd->nd", log_weights.softmax(0), chances)

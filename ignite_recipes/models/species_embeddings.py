"""Where species lie in the latent space of a model of checklists, and which are near to each other."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.vae import VariationalAutoencoder

__all__ = ["nearest_rows", "species_embeddings"]


@torch.no_grad()
def species_embeddings(model: nn.Module, embeddings: Tensor) -> Tensor:
    """How much each feature's decoder output rises with each latent dimension, over the given vectors: (D, Z).

    It is the least-squares slope of the output before the link (for Bernoulli features the log-odds) on the latent
    means, per standard deviation of the means; covariates are held at their means. For a linear decoder these are its
    weights times the deviations; a dimension that is not used has slopes near 0. Features whose rows have the same
    direction rise and fall together from vector to vector.

    Args:
        model: a :class:`VariationalAutoencoder`, evaluated as in inference.
        embeddings: latent means (N, Z) of vectors, such as :func:`extract_embeddings` gives.

    Raises:
        TypeError: for another model.
        ValueError: if the embeddings are not (N, Z), or fewer than two.

    >>> linear = VariationalAutoencoder(3, latent_dimension=2, num_layers=0)
    >>> means = torch.randn(50, 2)
    >>> slopes = linear.decoder_network[0].weight * means.std(0, correction=0)
    >>> torch.allclose(species_embeddings(linear, means), slopes, atol=1e-5)
    True
    """
    plain: Any = unwrap(model)
    if not isinstance(plain, VariationalAutoencoder):
        raise TypeError(f"model must be a VariationalAutoencoder; got {type(plain).__name__}")
    if embeddings.dim() != 2 or embeddings.shape[1] != plain.latent_dimension or len(embeddings) < 2:
        raise ValueError(
            f"embeddings must be (N, {plain.latent_dimension}), at least two rows; got shape {tuple(embeddings.shape)}"
        )
    place = next(plain.parameters())
    deviation = embeddings.double().std(0, correction=0)
    scaled = (embeddings.double() - embeddings.double().mean(0)) / deviation.clamp(min=1e-12)
    size = plain.latent_dimension
    gram, moments = torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, plain.input_dimension).double()
    with in_evaluation_mode(plain):
        for part, own in zip(torch.split(embeddings, 4096), torch.split(scaled, 4096), strict=True):
            outputs = plain.outputs(part.to(place)).double().cpu()
            gram += own.T @ own
            moments += own.T @ outputs
    slopes: Tensor = torch.linalg.lstsq(gram, moments, driver="gelsd").solution
    return slopes.T.float()


def nearest_rows(rows: Any, count: int = 5) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each row the others with the nearest directions, by the cosine: numbers (N, count) and cosines (N, count).

    Args:
        rows: (N, Z).
        count: the number of other rows, the nearest first; all there are if they are fewer.

    >>> numbers, cosines = nearest_rows([[1.0, 0.0], [2.0, 0.1], [0.0, 1.0]], 1)
    >>> numbers[:, 0].tolist()
    [1, 0, 1]
    """
    points = np.asarray(rows, dtype=np.float64)
    count = min(whole_number(count, "count"), len(points) - 1)
    units = points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-12)
    cosines = units @ units.T
    np.fill_diagonal(cosines, -np.inf)
    order = np.argsort(-cosines, axis=1, kind="stable")[:, :count]
    return order, np.take_along_axis(cosines, order, 1)

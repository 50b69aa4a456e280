"""What a report says of a variational autoencoder: losses, reconstructions, a map, what each dimension tells."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.answers.inputs import Inputs
from ignite_recipes.answers.measured import bootstrap
from ignite_recipes.answers.report_page import Picture, Section, Table
from ignite_recipes.answers.report_tables import measure_table, sentence
from ignite_recipes.models import VectorEmbedder
from ignite_recipes.plotting import plot_latent, plot_reconstructions
from ignite_recipes.plotting.diagnostics import draw_divergences

__all__ = ["vector_sections"]

PAIRS = 10
ACTIVE = 0.01  # nats: a dimension with less tells nothing of its vector


def vector_sections(
    predictor: VectorEmbedder, inputs: Inputs, image_shape: tuple[int, int] | None = None, labels: Any = None
) -> tuple[str, list[Section]]:
    """What stands first on the page, and the sections.

    Args:
        predictor: the model.
        inputs: the vectors.
        image_shape: (H, W), if they are images.
        labels: (N,) kinds to colour the map by.
    """
    vectors = predictor.vectors(inputs.data)
    losses = {name: value.double().numpy() for name, value in predictor.losses_of_each(vectors).items()}
    each = np.column_stack(list(losses.values()))
    measures = {name: _mean_of(k) for k, name in enumerate(losses)}
    found = bootstrap(measures, np.zeros(len(each)), each)
    mean, log_variance, _ = predictor.distribution(vectors)
    divergences = _divergences(mean, log_variance)
    active = int((divergences > ACTIVE).sum())
    headline = (
        f"Negative evidence lower bound {sentence(found['loss'], ' nats')} per vector on {len(vectors)} vectors; "
        f"{active} of {len(divergences)} latent dimensions are used."
    )
    rows = [[k + 1, float(divergences[k]), float(mean[:, k].std(correction=0))] for k in np.argsort(-divergences)]
    shown = plot_reconstructions(
        predictor.model, vectors, PAIRS, image_shape, feature_names=None if image_shape else predictor.feature_names
    )
    sections = [
        Section("Measures", measure_table(predictor, found, len(vectors))),
        Section("Reconstructions", [Picture.of(shown, "Vectors, and below each what the model makes of it.")]),
        Section(
            "Latent map",
            [Picture.of(plot_latent(mean, labels=labels), "The latent means of the vectors, as points in a plane.")],
        ),
        Section(
            "Latent dimensions",
            [
                f"The divergence of each dimension from the prior: how many nats it tells of a vector. {active} of "
                f"{len(divergences)} tell more than {ACTIVE} nats.",
                Picture.of(
                    draw_divergences(divergences), "The divergence of each latent dimension, the largest first."
                ),
                Table(["dimension", "KL divergence, nats", "deviation of the means"], rows),
            ],
        ),
    ]
    return headline, sections


def _divergences(mean: Tensor, log_variance: Tensor) -> NDArray[np.float64]:
    """The divergence of each dimension from N(0, 1), the mean over the vectors: (N, Z), (N, Z) -> (Z,), nats."""
    kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance)
    return np.asarray(kl.double().mean(0))


def _mean_of(column: int) -> Any:
    return lambda truth, each: float(each[:, column].mean())

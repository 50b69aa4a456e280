"""A variational autoencoder with the names of its inputs: embeddings and reconstructions of new vectors."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ignite_recipes.arguments import listed
from ignite_recipes.data.frames import is_frame
from ignite_recipes.data.vectors import read_vectors
from ignite_recipes.engine.modes import in_evaluation_mode
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.randomness import preserve_generators, seed_torch
from ignite_recipes.models.inference import InferenceProgram
from ignite_recipes.models.likelihoods import LIKELIHOODS, Likelihood
from ignite_recipes.models.names import checked_features, checked_units
from ignite_recipes.models.vae import decoded, features_of, row_width
from ignite_recipes.models.vae_losses import kl_divergences
from ignite_recipes.models.vae_measures import importance_weighted_nll, latent_measures
from ignite_recipes.optional import polars as pl

__all__ = ["WHAT", "VectorEmbedder"]

WHAT = ("embeddings", "reconstruction", "both")
_BATCH = 4096


class VectorEmbedder:
    """Embeds and reconstructs vectors with a variational autoencoder, without randomness.

    The vectors are in [0, 1], or fit the model's likelihood.

    Args:
        model: a :class:`VariationalAutoencoder`, or a module with ``embed`` and ``decode`` as it has them.
        feature_names: the names of the D inputs, e.g. species, and of the covariates of a model that has some: the
            columns of a frame are then found by their names.
        units: the units of inputs, by name.

    >>> from ignite_recipes import VariationalAutoencoder
    >>> embedder = VectorEmbedder(VariationalAutoencoder(3, latent_dimension=2), feature_names=["Crow", "Kite", "Owl"])
    >>> embedder.predict(torch.zeros(2, 3)).columns
    ['z1', 'z2']
    >>> embedder.predict(torch.zeros(2, 3), what="reconstruction").columns
    ['r_Crow', 'r_Kite', 'r_Owl']
    """

    kind: ClassVar[str] = "vectors"
    class_names: ClassVar[None] = None

    def __init__(
        self, model: nn.Module, *, feature_names: Sequence[str] | None = None, units: Mapping[str, str] | None = None
    ) -> None:
        self.model, self.units = model, checked_units(units)
        self.trained: dict[str, Any] = {}
        self.feature_names = checked_features(feature_names, row_width(model))

    def vectors(self, data: Any) -> Tensor:
        """The vectors (N, D) of a frame by its columns' names, or of other data as they are.

        Raises:
            ValueError: naming columns that are missing, or if the vectors are not (N, D), or do not fit the model's
                likelihood.
        """
        if is_frame(data) and self.feature_names is not None:
            if missing := [name for name in self.feature_names if name not in data.columns]:
                raise ValueError(f"the table must have the model's columns; missing: {listed(missing)}")
            data = data[self.feature_names]
        vectors = read_vectors(data).flatten(1)
        width = row_width(self.model)
        if width not in (None, vectors.shape[1]):
            raise ValueError(f"vectors must have the model's {width} features; got {vectors.shape[1]}")
        likelihood = self._likelihood
        features = features_of(unwrap(self.model), vectors)
        if not likelihood.covers(features):
            raise ValueError(
                f"vectors must be {likelihood.support}; got {features.min().item():g} to {features.max().item():g}: "
                "scale them as for the training"
            )
        return vectors

    @torch.no_grad()
    def distribution(self, vectors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and log-variance (N, Z) of vectors (N, D), and what the means are decoded to (N, D)."""
        model: Any = unwrap(self.model)
        place = next(model.parameters())
        parts = []
        with in_evaluation_mode(model):
            for part in torch.split(vectors, _BATCH):
                rows = part.to(place)
                mean, log_variance = model.encode(rows)
                parts.append([x.float().cpu() for x in (mean, log_variance, decoded(model, rows, mean))])
        mean, log_variance, expected = (torch.cat(column) for column in zip(*parts, strict=True))
        return mean, log_variance, expected

    def predict(self, data: Any, what: str = "embeddings") -> "pl.DataFrame":
        """The embedding of each vector, its reconstruction, or both, in the data's order.

        Args:
            data: vectors: a tensor or an array (N, D), a frame, a data set or a loader.
            what: ``"embeddings"``, the latent means ``z1``, ``z2``, ...; ``"reconstruction"``, the probabilities
                ``r_<feature>`` that the means are decoded to, or expected counts, by the likelihood; or ``"both"``.

        Raises:
            ValueError: as :meth:`vectors`, or for another ``what``.
        """
        if what not in WHAT:
            raise ValueError(f"what must be one of {', '.join(WHAT)}; got {what!r}")
        mean, _, expected = self.distribution(self.vectors(data))
        columns: dict[str, Any] = {}
        if what != "reconstruction":
            columns |= {f"z{k + 1}": mean[:, k].numpy() for k in range(mean.shape[1])}
        if what != "embeddings":
            names = (self.feature_names or [str(k) for k in range(expected.shape[1])])[: expected.shape[1]]
            columns |= {f"r_{name}": column for name, column in zip(names, expected.numpy().T, strict=True)}
        return pl.DataFrame(columns)

    @torch.no_grad()
    def evaluate(self, data: Any, *, importance_samples: int | None = None) -> dict[str, float]:
        """The losses of vectors, in nats per vector: ``loss, recon_loss, kl_loss``.

        The latent samples of each vector are drawn with one seed, so that two evaluations agree.

        Args:
            data: the vectors.
            importance_samples: for each vector, to measure more: ``nll``, the importance-weighted bound of -log p(x),
                ``nll_standard_error`` and ``nll_sampling_error``, see :func:`importance_weighted_nll`, and of the
                latent space ``active_units``, ``mutual_information``, ``marginal_kl`` and ``kl_z1``, ``kl_z2``, ...,
                see :func:`latent_measures`.
        """
        vectors = self.vectors(data)
        losses = self.losses_of_each(vectors)
        found = {name: float(value.double().mean()) for name, value in losses.items()}
        if importance_samples is None:
            return found
        bound = importance_weighted_nll(self.model, vectors, importance_samples)
        latent = latent_measures(self.model, vectors)
        return {
            **found,
            "nll": bound.nll,
            "nll_standard_error": bound.standard_error,
            "nll_sampling_error": bound.sampling_error,
            "active_units": float(latent.active_units),
            "mutual_information": latent.mutual_information,
            "marginal_kl": latent.marginal_kl,
            **{f"kl_z{k + 1}": value for k, value in enumerate(latent.kl_of_each.tolist())},
        }

    @property
    def _likelihood(self) -> Likelihood:
        return getattr(unwrap(self.model), "likelihood", LIKELIHOODS["bernoulli"])

    @torch.no_grad()
    def losses_of_each(self, vectors: Tensor) -> dict[str, Tensor]:
        """``loss, recon_loss, kl_loss`` of each vector, (N,) each."""
        model: Any = unwrap(self.model)
        place = next(model.parameters())
        found: dict[str, list[Tensor]] = {"loss": [], "recon_loss": [], "kl_loss": []}
        with preserve_generators(place.device), in_evaluation_mode(model):
            seed_torch(0)
            for part in torch.split(vectors, _BATCH):
                x = part.to(place)
                if self._likelihood.name == "bernoulli":
                    reconstruction, mean, log_variance = model(x)
                    fit = nn.functional.binary_cross_entropy(
                        reconstruction.float(), features_of(model, x).float(), reduction="none"
                    ).sum(1)
                else:
                    mean, log_variance = model.encode(x)
                    fit = -model.log_likelihood(x, model.reparameterize(mean, log_variance))
                kl = kl_divergences(mean, log_variance).sum(1)
                for name, value in {"loss": fit + kl, "recon_loss": fit, "kl_loss": kl}.items():
                    found[name].append(value.float().cpu())
        return {name: torch.cat(parts) for name, parts in found.items()}

    def description(self) -> dict[str, Any]:
        """Nothing beyond what every model file holds."""
        return {}

    @classmethod
    def from_description(cls, model: nn.Module, description: Mapping[str, Any]) -> "VectorEmbedder":
        """Made again of a model file."""
        return cls(model, feature_names=description["feature_names"], units=description["units"])

    def program(self) -> tuple[nn.Module, tuple[Tensor, ...], list[str]]:
        """The deterministic part of the model, two vectors, and what it gives for them."""
        model: Any = unwrap(self.model)
        return InferenceProgram(model), (torch.rand(2, row_width(model) or 0),), ["embeddings", "reconstructions"]

"""A variational autoencoder for vectors, such as the species lists of birding checklists."""

import itertools
import math
from numbers import Real
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import dropout, softplus

from ignite_recipes.arguments import shown, whole_number
from ignite_recipes.devices import without_autocast
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.models.likelihoods import Likelihood, likelihood_named

__all__ = ["VariationalAutoencoder", "decoded", "features_of", "row_width"]

_LEAST_LOG_SCALE = -6.0  # of a scale that is learned: a feature that never varies would let it go to 0


class VariationalAutoencoder(nn.Module):
    """Three hidden layers each way, ReLU, a Gaussian latent space and Bernoulli outputs, by default.

    Args:
        input_dimension: D, features of a vector.
        latent_dimension: Z, dimensions of the latent space.
        hidden_dimension: width of every hidden layer.
        likelihood: the distribution of a vector given the outputs: ``"bernoulli"`` for vectors in [0, 1],
            ``"multinomial"`` for counts or 0/1 whose shares matter, as Mult-VAE, ``"gaussian"`` for real numbers,
            ``"poisson"`` or ``"negative_binomial"`` for counts.
        scale: the scale of every feature, positive: a Gaussian's standard deviation, in the units of the data, or a
            negative binomial's r, whose variance is mean + mean^2 / r. None learns one for each feature.
        num_layers: hidden layers each way; with 0 it is linear, and with Gaussian outputs of a fixed scale its marginal
            likelihood is known: N(b, W W^T + scale^2 I).
        input_dropout: share of the features that the encoder does not see in training, drawn for each vector;
            the decoder predicts them all.
        covariates: C, numbers that encoder and decoder get with each vector and that are not modelled, such as the
            effort and the season of a checklist. They are the columns after the features, in rows (N, D + C), which
            replace the vectors (N, D) everywhere; NaN means that one is unknown. See :meth:`standardize_covariates`.

    Attributes:
        row_dimension: D + C, columns of the model's input.

    Raises:
        ValueError: if a dimension is below 1, or another setting is out of its range.

    >>> model = VariationalAutoencoder(467, 16, 512)
    >>> reconstruction, mean, log_variance = model(torch.zeros(4, 467))
    >>> reconstruction.shape, mean.shape, log_variance.shape
    (torch.Size([4, 467]), torch.Size([4, 16]), torch.Size([4, 16]))
    >>> counts = VariationalAutoencoder(3, 2, 8, likelihood="negative_binomial")
    >>> counts.sample(1).shape, counts.scale.shape
    (torch.Size([1, 3]), torch.Size([3]))

    Reference: D. Kingma, M. Welling, Auto-Encoding Variational Bayes, arXiv:1312.6114; of the linear one J. Lucas et
    al., Don't Blame the ELBO!, arXiv:1911.02469.
    """

    log_scale: Tensor
    covariate_mean: Tensor
    covariate_deviation: Tensor

    def __init__(
        self,
        input_dimension: int,
        latent_dimension: int = 16,
        hidden_dimension: int = 512,
        *,
        likelihood: str = "bernoulli",
        scale: float | None = None,
        num_layers: int = 3,
        input_dropout: float = 0.0,
        covariates: int = 0,
    ) -> None:
        super().__init__()
        sizes = {"input": input_dimension, "latent": latent_dimension, "hidden": hidden_dimension}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name}_dimension must be at least 1; got {size}")
        self.likelihood = likelihood_named(likelihood)
        _check(self.likelihood, scale, input_dropout)
        self.input_dimension, self.latent_dimension = input_dimension, latent_dimension
        self.hidden_dimension, self.num_layers = hidden_dimension, whole_number(num_layers, "num_layers", at_least=0)
        self.input_dropout, self.fixed_scale = input_dropout, scale
        self.covariates = whole_number(covariates, "covariates", at_least=0)
        self.row_dimension = input_dimension + covariates
        hidden = [hidden_dimension] * num_layers
        last, given = (hidden_dimension if hidden else self.row_dimension), latent_dimension + covariates
        self.encoder_network = nn.Sequential(*_layers(self.row_dimension, *hidden))
        self.latent_mean_layer = nn.Linear(last, latent_dimension)
        self.latent_log_variance_layer = nn.Linear(last, latent_dimension)
        self.decoder_network = nn.Sequential(
            *_layers(given, *hidden), nn.Linear(hidden[0] if hidden else given, input_dimension)
        )
        if covariates:
            self.register_buffer("covariate_mean", torch.zeros(covariates))
            self.register_buffer("covariate_deviation", torch.ones(covariates))
        if self.likelihood.has_scale:
            if scale is None:
                self.log_scale = nn.Parameter(torch.zeros(input_dimension))
            else:
                self.register_buffer("log_scale", torch.full((input_dimension,), math.log(scale)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Initialise: He et al. (arXiv:1502.01852) before a ReLU, Glorot elsewhere, biases 0, variances and scales 1.

        torch's own default shrinks the signal in each of the six hidden layers, and the latent space then
        stays unused for the first epochs (digits, 50 epochs: 25.1 nats, against 24.6 so).
        """
        outputs = (self.latent_mean_layer, self.latent_log_variance_layer, self.decoder_network[-1])
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                if layer in outputs:
                    nn.init.xavier_uniform_(layer.weight)
                else:
                    nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)
        nn.init.zeros_(self.latent_log_variance_layer.weight)
        if self.likelihood.has_scale and self.fixed_scale is None:
            nn.init.zeros_(self.log_scale)

    def arguments(self) -> dict[str, Any]:
        """The arguments that make this architecture again, by name; default settings are left out."""
        names = ("input_dimension", "latent_dimension", "hidden_dimension")
        settings = {
            "likelihood": (self.likelihood.name, "bernoulli"),
            "scale": (self.fixed_scale, None),
            "num_layers": (self.num_layers, 3),
            "input_dropout": (self.input_dropout, 0.0),
            "covariates": (self.covariates, 0),
        }
        changed = {name: value for name, (value, default) in settings.items() if value != default}
        return {**{name: getattr(self, name) for name in names}, **changed}

    def forward(self, x: Tensor, *, logits: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruct ``x`` (N, D) through a random sample of its latent distribution.

        Args:
            x: vectors that have a probability by the likelihood, by default those in [0, 1].
            logits: give the decoder's outputs as they are, before the sigmoid or another link, for a loss that is
                exact there.

        Returns:
            The reconstruction (N, D), the vectors to be expected, by default in [0, 1]; mean and log-variance of the
            latent distribution (N, Z).
        """
        mean, log_variance = self.encode(x)
        outputs = self.outputs(self.reparameterize(mean, log_variance), self.covariates_of(x))
        return outputs if logits else self.likelihood.mean(outputs), mean, log_variance

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent distribution: (N, D) -> (N, Z), (N, Z)."""
        if not isinstance(x, Tensor) or x.dim() == 0:
            raise TypeError(f"x must be a tensor (N, D) of vectors; got {type(x).__name__}")
        if x.shape[-1] != self.row_dimension:
            also = f" and {self.covariates} covariates, (N, D + C)" if self.covariates else ", (N, D)"
            raise ValueError(f"x must have {self.input_dimension} features{also}; got shape {tuple(x.shape)}")
        features = self.likelihood.encoder_input(features_of(self, x))
        if self.input_dropout:
            features = dropout(features, self.input_dropout, self.training)
        hidden = self.encoder_network(self._told(features, self.covariates_of(x)))
        return self.latent_mean_layer(hidden), self.latent_log_variance_layer(hidden)

    def decode(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """The vectors to be expected, by default the probabilities of the features: (N, Z) -> (N, D).

        Args:
            z: latent vectors.
            covariates: (N, C), of a model that has some; None are their means.
        """
        return self.likelihood.mean(self.outputs(z, covariates))

    def outputs(self, z: Tensor, covariates: Tensor | None = None) -> Tensor:
        """The decoder's outputs before the link, by default log-odds; arguments as of :meth:`decode`."""
        outputs: Tensor = self.decoder_network(self._told(z, covariates))
        return outputs

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """The log-probability of x given z, in nats, in float32 also under autocast: (..., D), (..., Z) -> (...,)."""
        outputs = self.outputs(z, self.covariates_of(x))
        with without_autocast(outputs.device):
            features = features_of(self, x).float()
            return self.likelihood.log_prob(outputs.float(), features, self.current_log_scale)

    def covariates_of(self, x: Tensor) -> Tensor | None:
        """The last columns of rows: (..., D + C) -> (..., C); None for a model without covariates."""
        return x[..., self.input_dimension :] if self.covariates else None

    @torch.no_grad()
    def standardize_covariates(self, covariates: Tensor) -> None:
        """Keep the means and deviations of the training rows' covariates, which scale all rows: call it once, first.

        They are part of the weights. A covariate that is not known, NaN, counts as the mean.

        Args:
            covariates: (N, C), with NaN where one is not known.

        Raises:
            ValueError: if they are not (N, C), or one is infinite.
        """
        if covariates.dim() != 2 or not self.covariates or covariates.shape[1] != self.covariates:
            raise ValueError(f"covariates must be (N, {self.covariates}); got shape {tuple(covariates.shape)}")
        if covariates.isinf().any():
            raise ValueError("covariates must be finite, or NaN where one is not known; got an infinite one")
        values = covariates.double()
        mean = values.nanmean(0).nan_to_num()
        deviation = (values - mean).square().nanmean(0).sqrt().nan_to_num()
        self.covariate_mean.copy_(mean)
        self.covariate_deviation.copy_(deviation.where(deviation > 0, 1.0))

    def _told(self, values: Tensor, covariates: Tensor | None) -> Tensor:
        """Values (..., F), and after them the standardised covariates, if the model has some."""
        if not self.covariates:
            return values
        if covariates is None:
            scaled = values.new_zeros(self.covariates)
        else:
            scaled = (covariates - self.covariate_mean) / self.covariate_deviation
            scaled = scaled.where(~scaled.isnan(), 0.0).to(values.dtype)
        return torch.cat([values, scaled.expand(*values.shape[:-1], self.covariates)], -1)

    @property
    def current_log_scale(self) -> Tensor | None:
        """The logarithms of the scales (D,), which are kept above exp(-6); None if the likelihood has none."""
        if not self.likelihood.has_scale:
            return None
        if self.fixed_scale is not None:
            return self.log_scale
        return _LEAST_LOG_SCALE + softplus(self.log_scale - _LEAST_LOG_SCALE)

    @property
    def scale(self) -> Tensor | None:
        """The scales (D,), fixed or learned; None if the likelihood has none."""
        log_scale = self.current_log_scale
        return None if log_scale is None else log_scale.exp()

    def reparameterize(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """A sample, ``mean + exp(log_variance / 2) * N(0, 1)``, that gradients pass through."""
        return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)

    def embed(self, x: Tensor) -> Tensor:
        """The latent means, an embedding without randomness: (N, D) -> (N, Z)."""
        return self.encode(x)[0]

    @torch.no_grad()
    def sample(self, n: int, covariates: Tensor | None = None) -> Tensor:
        """Expected values of ``n`` new vectors, drawn from the prior, by default probabilities: (n, D).

        Args:
            n: the number of vectors.
            covariates: (C,) or (n, C), of a model that has some; None are their means.
        """
        parameter = self.latent_mean_layer.weight
        z = torch.randn(n, self.latent_dimension, device=parameter.device, dtype=parameter.dtype)
        return self.decode(z, covariates)


def row_width(model: nn.Module) -> int | None:
    """The columns that a model takes, its covariates included; None of a module that does not say."""
    plain = unwrap(model)
    width: int | None = getattr(plain, "row_dimension", getattr(plain, "input_dimension", None))
    return width


def features_of(model: nn.Module, x: Tensor) -> Tensor:
    """What a model models of rows, without covariates: (..., D + C) -> (..., D); all of them of another module."""
    return x[..., : model.input_dimension] if getattr(model, "covariates", 0) else x


def decoded(model: Any, x: Tensor, z: Tensor) -> Tensor:
    """What latent vectors of rows x are decoded to, with the rows' covariates: (N, D + C), (N, Z) -> (N, D)."""
    result: Tensor = model.decode(z, model.covariates_of(x)) if getattr(model, "covariates", 0) else model.decode(z)
    return result


def _check(likelihood: Likelihood, scale: float | None, input_dropout: float) -> None:
    if scale is not None and not likelihood.has_scale:
        raise ValueError(f"scale is for a gaussian or a negative_binomial; {likelihood} has none: leave it out")
    if scale is not None and not (isinstance(scale, (float, Real)) and 0 < scale < math.inf):
        raise ValueError(f"scale must be a positive number, or None to learn one; got {shown(scale)}")
    if not isinstance(input_dropout, (float, Real)) or not 0 <= input_dropout < 1:
        raise ValueError(f"input_dropout must be in [0, 1), a share of the features; got {shown(input_dropout)}")


def _layers(*sizes: int) -> list[nn.Module]:
    return [layer for i, o in itertools.pairwise(sizes) for layer in (nn.Linear(i, o), nn.ReLU())]

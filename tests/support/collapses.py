"""Autoencoders that are built so that their latent space collapses, and others that use it."""

from functools import cache, partial

import torch
from torch import nn

from ignite_recipes import (
    LatentMonitor,
    TrainEvents,
    VariationalAutoencoder,
    latent_measures,
    load_digits_matrix,
    train_variational_autoencoder,
)

EPOCHS = 25


@cache
def digits():
    """Images of digits, in [0, 1], dark or bright: (1000, 64)."""
    return load_digits_matrix()[0][:1000]


def drawn(n, d, seed=0):
    return torch.rand(n, d, generator=torch.Generator().manual_seed(seed))


@cache
def coins():
    """Features that do not depend on each other: (1000, 20)."""
    return (drawn(1000, 20) < 0.3).float()


@cache
def patterns():
    """Noisy copies of four patterns: (1000, 20)."""
    kinds = drawn(4, 20, 1).round()[torch.arange(1000) % 4]
    return (kinds - (drawn(1000, 20) < 0.1).float()).abs()


@cache
def chains():
    """Features that mostly repeat the one before, which a decoder that sees it need not be told: (1000, 20)."""
    changes = (drawn(1000, 20, 2) < 0.1).float()
    return changes.cumsum(1) % 2


@cache
def counts(*, vary):
    """Counts of 20 kinds, whose rates vary together or not: (1000, 20)."""
    rates = torch.full((1000, 20), 3.0)
    if vary:
        rates = rates * torch.where(torch.arange(1000)[:, None] % 2 == 0, 1.0, torch.linspace(0.1, 3, 20))
    return torch.poisson(rates, generator=torch.Generator().manual_seed(0))


@cache
def normals(*, vary=1.0):
    """Real numbers with three factors in common: (1000, 10)."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randn(1000, 3, generator=generator) @ torch.randn(3, 10, generator=generator)
    return vary * factors + 0.5 * torch.randn(1000, 10, generator=generator)


def model(x, latent=8, hidden=64, **settings):
    return VariationalAutoencoder(x.shape[1], latent, hidden, **settings)


class SeesTheVector(nn.Module):
    """A decoder that is given each feature's predecessor besides the latent sample, as of text (S. Bowman et al.)."""

    def __init__(self, size, latent=4):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(size, 32), nn.ReLU(), nn.Linear(32, 2 * latent))
        self.before, self.of_latent = nn.Linear(size, size), nn.Linear(latent, size)

    def encode(self, x):
        mean, log_variance = self.encoder(x).chunk(2, 1)
        return mean, log_variance

    def forward(self, x):
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        earlier = torch.cat([torch.zeros_like(x[:, :1]), x[:, :-1]], 1)
        return torch.sigmoid(self.before(earlier) + self.of_latent(z)), mean, log_variance


def torchs_own(x):
    """Initialised as torch does, which begins slowly."""
    made = model(x, num_layers=1)
    for layer in made.modules():
        if isinstance(layer, nn.Linear):
            layer.reset_parameters()
    return made


def train(data, make=model, settings=None, of_model=None):
    """The latent measures of each epoch, on all vectors, and the epochs of the monitor's alarms."""
    torch.manual_seed(0)
    x = data()
    train_x, val_x = x[:700], x[700:]
    made = make(x, **(of_model or {}))
    found = LatentMonitor(val_x)
    facts = []

    class Facts:
        def attach(self, trainer):
            trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: facts.append(latent_measures(made, x)))

    train_variational_autoencoder(
        made, list(train_x.split(35)), [val_x], print_every=None, seed=0, handlers=[found, Facts()],
        **{"num_epochs": EPOCHS, "noise_std": 0.0, **(settings or {})},
    )  # fmt: skip
    return facts, found.alarms


def of(**settings):
    return settings


# Of each: the vectors, the model, the settings of the recipe, those of the model.
COLLAPSING = {
    "beta 20": (digits, model, of(beta=20)),
    "beta 50": (digits, model, of(beta=50)),
    "beta 300": (digits, model, of(beta=300)),
    "a warm-up to beta 50": (digits, model, of(beta=50, kl_epochs=5)),
    "a slow warm-up to beta 300, noisy": (digits, model, of(beta=300, kl_epochs=8, noise_std=0.1)),
    "beta 30, one layer": (digits, model, of(beta=30, learning_rate=0.01), of(num_layers=1)),
    "coins, Gaussian": (coins, model, of(learning_rate=0.01), of(likelihood="gaussian")),
    "coins": (coins, model, of(learning_rate=0.01)),
    "coins, one layer": (coins, model, of(learning_rate=0.01), of(num_layers=1, hidden=16)),
    "coins, multinomial": (coins, model, of(learning_rate=3e-3), of(likelihood="multinomial", hidden=16)),
    "counts, Poisson": (partial(counts, vary=False), model, of(learning_rate=0.01), of(likelihood="poisson")),
    "counts, negative binomial": (
        partial(counts, vary=False), model, of(learning_rate=0.01), of(likelihood="negative_binomial")
    ),
    "linear, too large a scale": (
        normals, model, of(learning_rate=0.03), of(likelihood="gaussian", scale=20.0, num_layers=0)
    ),
    "linear, small factors": (
        partial(normals, vary=0.01), model, of(learning_rate=0.01), of(likelihood="gaussian", scale=1.0, num_layers=0)
    ),
    "deep, too large a scale": (normals, model, of(learning_rate=0.01), of(likelihood="gaussian", scale=30.0)),
    "deep, small factors": (
        partial(normals, vary=0.01), model, of(learning_rate=0.01), of(likelihood="gaussian", scale=1.0)
    ),
    "a decoder that sees the vector": (chains, lambda x: SeesTheVector(20), of(learning_rate=0.02)),
    "the same, small": (chains, lambda x: SeesTheVector(20, latent=1), of(learning_rate=0.02, beta=1.5)),
    "nothing but noise comes in": (digits, model, of(noise_std=1000.0, learning_rate=3e-3)),
    "weights that decay": (digits, model, of(weight_decay=3.0)),
}  # fmt: skip

HEALTHY = {
    "digits": (digits, model, of()),
    "noisy": (digits, model, of(noise_std=0.3)),
    "beta 0.2": (digits, model, of(beta=0.2)),
    "beta 1.5": (digits, model, of(beta=1.5)),
    "a warm-up": (digits, model, of(kl_epochs=5)),
    "cycles": (digits, model, of(kl_epochs=20, kl_cycles=4)),
    "free bits": (digits, model, of(free_bits=0.1)),
    "importance samples": (digits, model, of(importance_samples=5)),
    "a small learning rate": (digits, model, of(learning_rate=1e-4)),
    "a large learning rate": (digits, model, of(learning_rate=5e-3)),
    "one dimension": (digits, model, of(), of(latent=1)),
    "forty dimensions, warmed up": (digits, model, of(kl_epochs=10), of(latent=40)),
    "narrow, one layer": (digits, model, of(kl_epochs=10), of(hidden=16, num_layers=1)),
    "one layer": (digits, model, of(), of(num_layers=1)),
    "torch's own initial weights, one layer": (digits, torchs_own, of()),
    "patterns": (patterns, model, of()),
    "shares": (patterns, model, of(), of(likelihood="multinomial")),
    "counts": (partial(counts, vary=True), model, of(), of(likelihood="poisson")),
    "counts that vary more": (partial(counts, vary=True), model, of(), of(likelihood="negative_binomial")),
    "linear": (normals, model, of(learning_rate=0.01), of(likelihood="gaussian", num_layers=0)),
}

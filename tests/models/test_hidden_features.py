"""Hidden features are predicted by the model's own probability, given the visible ones alone."""

import math

import pytest
import torch
from torch import nn

from ignite_recipes import VariationalAutoencoder, predict_hidden


def a_model(dimension=5, **settings):
    torch.manual_seed(0)
    model = VariationalAutoencoder(dimension, latent_dimension=1, hidden_dimension=8, num_layers=0, **settings)
    nn.init.normal_(model.decoder_network[0].weight, std=2.0)
    return model


def exact(model, rows, hidden):
    """By a fine grid over the only latent dimension."""
    z = torch.linspace(-8, 8, 4001)[:, None]
    chances = model.decode(z).double().detach()  # (G, D)
    prior = torch.exp(-0.5 * z[:, 0].double() ** 2)
    found = []
    for x, is_hidden in zip(rows.double(), hidden, strict=True):
        likelihood = torch.where(x > 0, chances, 1 - chances)[:, ~is_hidden].prod(1)
        weights = prior * likelihood
        found.append((weights[:, None] * chances).sum(0) / weights.sum())
    return torch.stack(found)


def test_it_is_the_exact_conditional_probability():
    model, rows = a_model(), (torch.rand(12, 5, generator=torch.Generator().manual_seed(1)) < 0.5).float()
    hidden = torch.rand(12, 5, generator=torch.Generator().manual_seed(2)) < 0.5
    found = predict_hidden(model, rows, hidden, samples=20_000)
    assert (found - exact(model, rows, hidden)).abs().max() < 0.02


def test_what_is_hidden_is_not_read():
    model, rows = a_model(), torch.eye(5)
    hidden = torch.ones(5, 5, dtype=torch.bool).tril()
    changed = torch.where(hidden, 1 - rows, rows)
    assert torch.equal(predict_hidden(model, rows, hidden), predict_hidden(model, changed, hidden))


def test_nothing_is_moved_and_the_seed_decides():
    model, rows, hidden = a_model().train(), torch.eye(5), torch.eye(5).bool()
    before = torch.get_rng_state()
    first = predict_hidden(model, rows, hidden, samples=10)
    assert torch.equal(before, torch.get_rng_state())
    assert model.training
    assert torch.equal(first, predict_hidden(model, rows, hidden, samples=10))
    assert not torch.equal(first, predict_hidden(model, rows, hidden, samples=10, seed=1))


def test_covariates_stay_visible():
    model = a_model(covariates=2)
    rows = torch.cat([torch.eye(5), torch.zeros(5, 2)], 1)
    other = torch.cat([torch.eye(5), torch.ones(5, 2)], 1)
    hidden = torch.ones(5, 5, dtype=torch.bool)
    assert not torch.allclose(predict_hidden(model, rows, hidden), predict_hidden(model, other, hidden), atol=0.01)


@pytest.mark.parametrize("what", ["rows", "hidden", "likelihood", "model", "samples"])
def test_what_does_not_go_together_is_refused(what):
    model, rows, hidden, samples = a_model(), torch.eye(5), torch.eye(5).bool(), 10
    if what == "rows":
        rows = torch.zeros(5, 6)
    if what == "hidden":
        hidden = hidden[:, 1:]
    if what == "likelihood":
        model = VariationalAutoencoder(5, 1, 8, likelihood="poisson")
    if what == "model":
        model = nn.Linear(5, 5)
    if what == "samples":
        samples = 0
    with pytest.raises(ValueError, match=r"must be|are predicted by"):
        predict_hidden(model, rows, hidden, samples=samples)
    assert math.isfinite(predict_hidden(a_model(), torch.eye(5), torch.eye(5).bool(), samples=1).sum())

"""The autoencoder has the documented architecture, and its loss is the closed form."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Normal, kl_divergence

from ignite_recipes import VariationalAutoencoder, vae_losses

MODEL = VariationalAutoencoder(6, 3, 16)


def test_it_has_three_hidden_layers_each_way():
    model = VariationalAutoencoder(467, 16, 512)
    linear = [m for m in model.modules() if isinstance(m, torch.nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [
        (467, 512),
        (512, 512),
        (512, 512),
        (512, 16),
        (512, 16),
        (16, 512),
        (512, 512),
        (512, 512),
        (512, 467),
    ]


def test_shapes_and_range():
    reconstruction, mean, log_variance = MODEL(torch.rand(5, 6))
    assert (reconstruction.shape, mean.shape, log_variance.shape) == ((5, 6), (5, 3), (5, 3))
    assert reconstruction.ge(0).all()
    assert reconstruction.le(1).all()
    assert MODEL.sample(4).shape == (4, 6)
    assert not MODEL.sample(4).requires_grad


def test_logits_are_what_the_sigmoid_makes_the_reconstruction_of():
    x = torch.rand(5, 6)
    torch.manual_seed(1)
    logits = MODEL(x, logits=True)[0]
    torch.manual_seed(1)
    assert torch.equal(torch.sigmoid(logits), MODEL(x)[0])


def test_embeddings_are_the_means_and_have_no_randomness():
    x = torch.rand(5, 6)
    assert torch.equal(MODEL.embed(x), MODEL.embed(x))
    assert torch.equal(MODEL.embed(x), MODEL.encode(x)[0])


def test_reparameterized_samples_have_the_distribution_that_is_asked_for():
    mean, log_variance = torch.full((20000, 1), 2.0), torch.full((20000, 1), math.log(0.25))
    z = MODEL.reparameterize(mean, log_variance)
    assert z.mean().item() == pytest.approx(2.0, abs=0.02)
    assert z.std().item() == pytest.approx(0.5, abs=0.02)


@given(n=st.integers(1, 5), d=st.integers(1, 6), z=st.integers(1, 4), seed=st.integers(0, 99))
def test_the_loss_is_the_closed_form_of_its_distributions(n, d, z, seed):
    generator = torch.Generator().manual_seed(seed)
    logits, target = torch.randn(n, d, generator=generator), torch.rand(n, d, generator=generator).round()
    mean, log_variance = torch.randn(n, z, generator=generator), torch.randn(n, z, generator=generator)
    losses = vae_losses(logits, target, mean, log_variance, logits=True)
    fit = -Bernoulli(logits=logits).log_prob(target).sum() / n
    divergence = kl_divergence(Normal(mean, (0.5 * log_variance).exp()), Normal(0.0, 1.0)).sum() / n
    torch.testing.assert_close(losses["recon_loss"], fit)
    torch.testing.assert_close(losses["kl_loss"], divergence)
    torch.testing.assert_close(losses["loss"], fit + divergence)
    by_probability = vae_losses(torch.sigmoid(logits), target, mean, log_variance)
    torch.testing.assert_close(by_probability["loss"], losses["loss"])


def test_the_loss_does_not_depend_on_the_batch_size():
    rows = [torch.rand(3, 6) for _ in range(4)]
    once = vae_losses(*rows)["loss"]
    twice = vae_losses(*(torch.cat([row, row]) for row in rows))["loss"]
    torch.testing.assert_close(once, twice)


def test_the_loss_is_computed_in_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        outputs = MODEL(torch.rand(4, 6), logits=True)
        assert outputs[0].dtype == torch.bfloat16
        losses = vae_losses(outputs[0], torch.rand(4, 6), *outputs[1:], logits=True)
    assert {value.dtype for value in losses.values()} == {torch.float32}


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, 0, 1), (1, 1, 0)])
def test_dimensions_must_be_positive(sizes):
    with pytest.raises(ValueError, match="_dimension must be at least 1; got 0"):
        VariationalAutoencoder(*sizes)

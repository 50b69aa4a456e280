"""Weights, free bits and importance samples change the loss as their papers say."""

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ignite_recipes import VariationalAutoencoder, vae_losses
from ignite_recipes.models.vae_losses import importance_weighted_losses

DRAW = torch.Generator().manual_seed(0)
MEAN, LOG_VARIANCE = torch.randn(8, 3, generator=DRAW), torch.randn(8, 3, generator=DRAW)
OUTPUTS, X = torch.randn(8, 4, generator=DRAW), torch.rand(8, 4, generator=DRAW).round()


def losses(**settings):
    return vae_losses(OUTPUTS, X, MEAN, LOG_VARIANCE, logits=True, **settings)


@pytest.mark.parametrize("beta", [0.0, 0.3, 4.0])
def test_the_divergence_is_weighted_in_the_loss_and_nowhere_else(beta):
    plain, weighted = losses(), losses(kl_weight=beta)
    torch.testing.assert_close(weighted["loss"], plain["recon_loss"] + beta * plain["kl_loss"])
    assert weighted["kl_loss"] == plain["kl_loss"]
    assert losses(kl_weight=torch.tensor(beta))["loss"] == weighted["loss"]


def test_free_bits_are_what_each_dimension_costs_at_least():
    kl = kl_divergence(Normal(MEAN, (0.5 * LOG_VARIANCE).exp()), Normal(0.0, 1.0)).mean(0)
    bound = kl.sort().values[1].item() + 0.01  # two of the three dimensions are below it
    expected = losses()["recon_loss"] + kl.clamp(min=bound).sum()
    torch.testing.assert_close(losses(free_bits=bound)["loss"], expected)
    torch.testing.assert_close(losses(free_bits=bound)["kl_loss"], kl.sum())


def test_dimensions_within_their_free_bits_have_no_gradient():
    mean = torch.zeros(4, 2).requires_grad_()
    with torch.no_grad():
        mean[:, 1] = 3.0
    vae_losses(torch.zeros(4, 2), torch.zeros(4, 2), mean, torch.zeros(4, 2), logits=True, free_bits=0.5)[
        "loss"
    ].backward()
    assert mean.grad[:, 0].tolist() == [0] * 4
    assert (mean.grad[:, 1] > 0).all()


def model_and_vectors(name):
    torch.manual_seed(1)
    return VariationalAutoencoder(4, 2, 8, likelihood=name), torch.randint(0, 2, (6, 4)).float()


@pytest.mark.parametrize("name", ["bernoulli", "multinomial", "gaussian", "poisson", "negative_binomial"])
def test_one_importance_sample_is_the_lower_bound_on_average_and_more_are_tighter(name):
    model, x = model_and_vectors(name)
    again = x.repeat(5000, 1)  # each vector many times, for the average over samples
    with torch.no_grad():
        settings = {"likelihood": name, "log_scale": model.current_log_scale}
        outputs, mean, log_variance = model(again, logits=True)
        elbo = vae_losses(outputs, again, mean, log_variance, logits=True, **settings)["loss"].item()
        one = importance_weighted_losses(model, again, again, 1)["loss"].item()
        many = {key: value.item() for key, value in importance_weighted_losses(model, x, x, 5000).items()}
    assert one == pytest.approx(elbo, rel=0.01)
    assert many["loss"] < elbo
    assert many["recon_loss"] + many["kl_loss"] == pytest.approx(elbo, rel=0.02)


@pytest.mark.parametrize("samples", [1, 7])
def test_weights_that_are_all_the_same_have_their_mean(samples):
    model, x = model_and_vectors("bernoulli")
    with torch.no_grad():
        for weight in (model.latent_mean_layer.weight, model.decoder_network[-1].weight):
            weight.zero_()  # each z is of the prior, and says nothing of x
        losses = importance_weighted_losses(model, x, x, samples)
    torch.testing.assert_close(losses["loss"], losses["recon_loss"])
    assert losses["kl_loss"] == 0


def test_a_weight_of_nothing_leaves_the_samples_likelihoods():
    model, x = model_and_vectors("bernoulli")
    torch.manual_seed(2)
    found = importance_weighted_losses(model, x, x, 1, kl_weight=torch.tensor(0.0))
    torch.testing.assert_close(found["loss"], found["recon_loss"])

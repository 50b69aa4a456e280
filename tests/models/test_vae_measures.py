"""The bound is the closed form where there is one, and the latent measures are those of simple cases."""

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from ignite_recipes import ImportanceBound, VariationalAutoencoder, importance_weighted_nll, latent_measures
from ignite_recipes.models import vae_measures

X = torch.randn(300, 5, generator=torch.Generator().manual_seed(3))


def linear(scale=0.7, seed=0):
    """A linear Gaussian autoencoder, and the exact -log p(x) of each vector of X."""
    torch.manual_seed(seed)
    model = VariationalAutoencoder(5, 2, num_layers=0, likelihood="gaussian", scale=scale).double()
    decoder = model.decoder_network[-1]
    nn.init.normal_(decoder.bias)
    w, b = decoder.weight.detach().numpy(), decoder.bias.detach().numpy()
    marginal = stats.multivariate_normal(b, w @ w.T + scale**2 * np.eye(5))
    return model.float(), torch.tensor(-marginal.logpdf(X.numpy()))


def know_posterior(model):
    """Let the encoder give the exact posterior, N(M^-1 W^T (x - b), sigma^2 M^-1), made diagonal by a rotation of W."""
    with torch.no_grad():
        decoder, sigma = model.decoder_network[-1], model.fixed_scale
        u, s, _ = torch.linalg.svd(decoder.weight, full_matrices=False)
        decoder.weight.copy_(u * s)
        precision = s.square() / sigma**2 + 1
        model.latent_mean_layer.weight.copy_((u * s).T / sigma**2 / precision[:, None])
        model.latent_mean_layer.bias.copy_(-model.latent_mean_layer.weight @ decoder.bias)
        model.latent_log_variance_layer.bias.copy_(-precision.log())


def test_with_the_exact_posterior_one_sample_is_exact():
    model, exact = linear()
    know_posterior(model)
    bound = importance_weighted_nll(model, X, samples=1)
    torch.testing.assert_close(bound.of_each, exact, atol=1e-4, rtol=1e-5)
    assert math.isnan(bound.sampling_error)


@pytest.mark.parametrize("seed", range(3))
def test_with_another_encoder_the_bound_comes_to_a_thousandth_of_the_closed_form(seed):
    model, exact = linear(seed=seed)
    know_posterior(model)
    with torch.no_grad():  # an encoder that is wrong in mean and variance
        model.latent_mean_layer.bias += 0.3
        model.latent_log_variance_layer.bias += 0.5
    bound = importance_weighted_nll(model, X, samples=20_000)
    assert bound.nll == pytest.approx(exact.mean().item(), abs=1e-3)
    assert bound.sampling_error < 1e-3
    assert bound.standard_error == pytest.approx(exact.std().item() / math.sqrt(300), rel=0.01)
    few = importance_weighted_nll(model, X, samples=2)
    assert few.nll > bound.nll  # a bound
    assert few.sampling_error > bound.sampling_error


def test_the_sampling_error_is_how_much_other_samples_change_the_mean():
    model, _ = linear()
    know_posterior(model)
    with torch.no_grad():
        model.latent_mean_layer.bias += 0.3
    found = [importance_weighted_nll(model, X[:40], samples=200, seed=seed) for seed in range(40)]
    assert np.std([bound.nll for bound in found]) == pytest.approx(found[0].sampling_error, rel=0.35)


def test_weights_far_below_what_a_float_can_hold_are_summed_all_the_same():
    model, exact = linear(scale=0.01)  # -log p(x) in the thousands
    know_posterior(model)
    bound = importance_weighted_nll(model, X, samples=50)
    assert exact.mean() > 2000
    assert bound.nll == pytest.approx(exact.mean().item(), rel=1e-4)


def test_how_the_samples_are_parted_changes_nothing_but_the_draws(monkeypatch):
    model, exact = linear()
    know_posterior(model)
    monkeypatch.setattr(vae_measures, "_NUMBERS", 300)
    bound = importance_weighted_nll(model, X, samples=7)
    torch.testing.assert_close(bound.of_each, exact, atol=1e-4, rtol=1e-5)


def test_it_repeats_itself_and_moves_no_generator():
    model, _ = linear()
    state = torch.get_rng_state()
    first, second = (importance_weighted_nll(model, X, samples=10) for _ in range(2))
    assert first.nll == second.nll
    assert torch.equal(torch.get_rng_state(), state)
    assert model.training
    assert isinstance(first, ImportanceBound)
    assert importance_weighted_nll(model, X, samples=10, seed=1).nll != first.nll


class Told(nn.Module):
    """Encodes the k-th of N vectors, which is k, as it was told."""

    def __init__(self, mean, log_variance):
        super().__init__()
        self.mean, self.log_variance = nn.Parameter(mean), log_variance

    def encode(self, x):
        rows = x[:, 0].long()
        return self.mean[rows], self.log_variance[rows]


def measures_of(mean, log_variance):
    return latent_measures(Told(mean, log_variance), torch.arange(len(mean)).float()[:, None])


def test_vectors_that_are_told_apart_share_log_n_nats_with_their_samples():
    found = measures_of(100 * torch.arange(50.0)[:, None], torch.zeros(50, 1))
    assert found.mutual_information == pytest.approx(math.log(50), abs=1e-6)
    assert found.active_units == 1
    assert found.kl_of_each.item() == pytest.approx(found.mutual_information + found.marginal_kl, rel=1e-6)


def test_a_collapsed_space_says_nothing():
    found = measures_of(torch.zeros(50, 3), torch.zeros(50, 3))
    assert (found.active_units, found.kl_of_each.tolist()) == (0, [0, 0, 0])
    assert found.mutual_information == pytest.approx(0, abs=1e-9)
    assert found.marginal_kl == pytest.approx(0, abs=1e-9)


def test_what_all_vectors_have_in_common_is_no_information():
    found = measures_of(torch.full((50, 2), 3.0), torch.zeros(50, 2))
    assert found.active_units == 0
    assert found.kl_of_each.tolist() == [4.5, 4.5]
    assert found.mutual_information == pytest.approx(0, abs=1e-9)
    assert found.marginal_kl == pytest.approx(9, rel=1e-6)


def test_of_a_gaussian_channel_the_information_is_shannons():
    torch.manual_seed(0)
    signal, noise = 2.0, 0.5  # standard deviations
    found = measures_of(signal * torch.randn(4000, 1), torch.full((4000, 1), 2 * math.log(noise)))
    assert found.mutual_information == pytest.approx(0.5 * math.log(1 + signal**2 / noise**2), abs=0.05)


def test_an_active_unit_is_one_whose_means_vary_by_more_than_a_hundredth():
    spread = torch.tensor([[-1.0], [1.0]]) * torch.tensor([0.0, 0.099, 0.101, 1.0])
    assert measures_of(spread, torch.zeros(2, 4)).active_units == 2


def test_models_and_data_that_do_not_fit_are_refused():
    model, _ = linear()
    with pytest.raises(TypeError, match=r"a method encode.*got Linear"):
        latent_measures(nn.Linear(2, 2), X)
    with pytest.raises(TypeError, match=r"a method log_likelihood"):
        importance_weighted_nll(Told(torch.zeros(1, 1), torch.zeros(1, 1)), X)
    with pytest.raises(ValueError, match="samples must be a whole number"):
        importance_weighted_nll(model, X, samples=0)
    with pytest.raises(ValueError, match="at least one vector"):
        importance_weighted_nll(model, X[:0])
    counts = VariationalAutoencoder(5, 2, 8, likelihood="poisson")
    with pytest.raises(ValueError, match="whole numbers"):
        importance_weighted_nll(counts, X)

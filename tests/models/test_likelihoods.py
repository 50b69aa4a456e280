"""Each likelihood is the one of torch's distributions, or scipy's, and says which vectors it is of."""

import copy
import math
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import distributions

from ignite_recipes import VariationalAutoencoder
from ignite_recipes.models.likelihoods import LIKELIHOODS, Likelihood, likelihood_named

# Outputs of a decoder, and log-scales, to the distribution that they mean.
SAME = {
    "bernoulli": lambda outputs, log_scale: distributions.Independent(distributions.Bernoulli(logits=outputs), 1),
    "gaussian": lambda outputs, log_scale: distributions.Independent(distributions.Normal(outputs, log_scale.exp()), 1),
    "poisson": lambda outputs, log_scale: distributions.Independent(distributions.Poisson(outputs.exp()), 1),
    "negative_binomial": lambda outputs, log_scale: distributions.Independent(
        distributions.NegativeBinomial(log_scale.exp(), logits=outputs - log_scale), 1
    ),
}


def drawn(seed, n, d):
    generator = torch.Generator().manual_seed(seed)
    outputs = torch.randn(n, d, generator=generator, dtype=torch.float64)
    return outputs, torch.randn(d, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", SAME)
@given(n=st.integers(1, 5), d=st.integers(1, 6), seed=st.integers(0, 99))
def test_log_probability_and_mean_are_those_of_torchs_distribution(name, n, d, seed):
    outputs, log_scale = drawn(seed, n, d)
    likelihood, same = likelihood_named(name), SAME[name](outputs, log_scale)
    x = same.sample()
    torch.testing.assert_close(likelihood.log_prob(outputs, x, log_scale), same.log_prob(x))
    torch.testing.assert_close(likelihood.mean(outputs), same.mean)
    torch.testing.assert_close(likelihood.total_loss(outputs, x, log_scale), -same.log_prob(x).sum())
    assert likelihood.covers(x)


@given(n=st.integers(1, 5), d=st.integers(2, 6), seed=st.integers(0, 99), total=st.integers(0, 20))
def test_the_multinomial_is_scipys(n, d, seed, total):
    outputs, _ = drawn(seed, n, d)
    shares = torch.softmax(outputs, -1).numpy()
    x = torch.from_numpy(np.random.default_rng(seed).multinomial(total, shares)).double()
    found = LIKELIHOODS["multinomial"].log_prob(outputs, x)
    expected = [float(stats.multinomial.logpmf(row, total, p)) for row, p in zip(x.numpy(), shares, strict=True)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(LIKELIHOODS["multinomial"].mean(outputs).sum(-1), torch.ones(n, dtype=torch.float64))


def test_the_negative_binomial_is_scipys_too():
    log_mean, log_r, x = 0.7, -0.4, 5.0
    r, mean = math.exp(log_r), math.exp(log_mean)
    found = LIKELIHOODS["negative_binomial"].log_prob(*(torch.tensor([v]).double() for v in (log_mean, x, log_r)))
    assert found.item() == pytest.approx(stats.nbinom.logpmf(x, r, r / (r + mean)))


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_samples_are_broadcast_against_the_vectors(name):
    outputs, x, log_scale = torch.randn(7, 3, 4), torch.ones(3, 4), torch.zeros(4)
    likelihood = LIKELIHOODS[name]
    found = likelihood.log_prob(outputs, x, log_scale)
    assert found.shape == (7, 3)
    torch.testing.assert_close(found[5], likelihood.log_prob(outputs[5], x, log_scale))


@pytest.mark.parametrize(
    ("name", "inside", "outside"),
    [
        ("bernoulli", [0.0, 0.3, 1.0], [-0.1, 1.1, math.nan]),
        ("multinomial", [0.0, 0.3, 9.0], [-1.0, math.inf, math.nan]),
        ("gaussian", [-1e30, 0.0, 9.5], [math.inf, -math.inf, math.nan]),
        ("poisson", [0.0, 1.0, 1e6], [0.5, -1.0, math.nan]),
        ("negative_binomial", [0.0, 1.0, 1e6], [0.5, math.inf, math.nan]),
    ],
)
def test_it_knows_which_vectors_have_a_probability(name, inside, outside):
    likelihood = LIKELIHOODS[name]
    for value in inside:
        assert likelihood.covers(torch.tensor([[0.0, value]]))
    for value in outside:
        x = torch.tensor([[0.0, value]])
        assert not likelihood.covers(x)
        assert likelihood.outside(x).tolist() == [[False, True]]


def test_an_encoder_is_fed_with_what_has_a_size_that_a_network_can_take():
    x = torch.tensor([[3.0, 0.0, 4.0], [0.0, 0.0, 0.0]])
    expected = {"multinomial": torch.tensor([[0.6, 0.0, 0.8], [0.0, 0.0, 0.0]])}
    expected |= dict.fromkeys(["poisson", "negative_binomial"], torch.log1p(x))
    for name, likelihood in LIKELIHOODS.items():
        torch.testing.assert_close(likelihood.encoder_input(x), expected.get(name, x))
        model = VariationalAutoencoder(3, 2, 8, likelihood=name)
        hidden = model.encoder_network(expected.get(name, x))
        torch.testing.assert_close(model.encode(x)[0], model.latent_mean_layer(hidden))


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match=r"one of bernoulli, multinomial, .*; got 'normal'"):
        likelihood_named("normal")
    with pytest.raises(ValueError, match="got 3"):
        VariationalAutoencoder(2, likelihood=3)


def test_what_a_likelihood_lacks_is_told_when_it_is_made():
    class Half(Likelihood):
        name, support = "half", "any"

        def mean(self, outputs):
            return outputs

    with pytest.raises(TypeError, match="log_prob"):
        Half()


@pytest.mark.parametrize("name", LIKELIHOODS)
def test_a_copied_likelihood_is_of_the_same_kind(name):
    likelihood = LIKELIHOODS[name]
    for copied in (copy.deepcopy(likelihood), pickle.loads(pickle.dumps(likelihood))):
        assert type(copied) is type(likelihood)


@pytest.mark.parametrize("name", ["gaussian", "negative_binomial"])
def test_a_scale_is_learned_for_each_feature_or_fixed_for_all(name):
    learned = VariationalAutoencoder(3, 2, 8, likelihood=name)
    assert learned.scale.tolist() == pytest.approx([1, 1, 1], abs=0.01)
    assert learned.log_scale.requires_grad
    fixed = VariationalAutoencoder(3, 2, 8, likelihood=name, scale=0.5)
    assert fixed.scale.tolist() == pytest.approx([0.5] * 3)
    assert "log_scale" not in dict(fixed.named_parameters())
    with torch.no_grad():
        learned.log_scale.fill_(-1000)
    assert learned.scale.min() >= math.exp(-6)  # a feature that never varies must not let it go to 0
    assert VariationalAutoencoder(3, 2, 8).scale is None


@pytest.mark.parametrize(
    "settings",
    [{"scale": 1.0}, {"likelihood": "gaussian", "scale": 0.0}, {"likelihood": "gaussian", "scale": math.nan},
     {"input_dropout": 1.0}, {"input_dropout": -0.1}, {"num_layers": -1}, {"num_layers": 1.5}],
)  # fmt: skip
def test_settings_of_the_model_are_checked(settings):
    with pytest.raises(ValueError, match=next(reversed(settings))):
        VariationalAutoencoder(4, 2, 8, **settings)


@pytest.mark.parametrize("num_layers", [0, 1, 2])
def test_layers_are_as_many_as_asked_for(num_layers):
    model = VariationalAutoencoder(5, 2, 8, num_layers=num_layers)
    linear = [layer for layer in model.encoder_network if isinstance(layer, torch.nn.Linear)]
    assert len(linear) == num_layers
    assert model(torch.ones(3, 5))[0].shape == (3, 5)


def test_dropped_inputs_are_dropped_in_training_only():
    model = VariationalAutoencoder(50, 2, 8, input_dropout=0.5)
    x = torch.ones(4, 50)
    assert not torch.equal(model.embed(x), model.embed(x))
    model.eval()
    assert torch.equal(model.embed(x), model.embed(x))

"""The variants of the VAE recipe learn, resume exactly, run as one program, and say what they cannot do."""

import logging

import pytest
import torch
from support.equality import equal, weights
from support.interpreted import interpreted
from torch import nn
from torch.utils.data import DataLoader

from ignite_recipes import VariationalAutoencoder, read_checkpoint, train_variational_autoencoder
from ignite_recipes.engine import step_program
from ignite_recipes.recipes import vae, vae_loss

DRAW = torch.Generator().manual_seed(0)
BITS = torch.rand(48, 6, generator=DRAW).round()
COUNTS = torch.poisson(3 * torch.rand(48, 6, generator=DRAW), generator=DRAW)
REALS = 5 * torch.randn(48, 6, generator=DRAW)
DATA = {
    "bernoulli": BITS, "multinomial": COUNTS, "gaussian": REALS, "poisson": COUNTS, "negative_binomial": COUNTS,
}  # fmt: skip
VARIANTS = {
    "beta": {"beta": 0.5},
    "warm-up": {"kl_epochs": 3},
    "cycles": {"kl_epochs": 4, "kl_cycles": 2, "beta": 2.0},
    "free bits": {"free_bits": 0.1},
    "importance samples": {"importance_samples": 3},
    "importance samples, warm-up": {"importance_samples": 3, "kl_epochs": 3},
    "weight decay": {"weight_decay": 0.01},
}


def train(name="bernoulli", *, seed=0, model=None, of_model=None, x=None, **settings):
    x = DATA[name] if x is None else x
    torch.manual_seed(seed)
    model = model or VariationalAutoencoder(6, 2, 8, likelihood=name, **(of_model or {}))
    settings = {"num_epochs": 4, "print_every": None, "seed": 5, **settings}
    history = train_variational_autoencoder(model, DataLoader(x[:32], 8, shuffle=True), [x[32:]], **settings)
    return model, history


@pytest.mark.parametrize("name", DATA)
def test_every_likelihood_learns(name):
    _, history = train(name, num_epochs=30, learning_rate=0.01, noise_std=0.0)
    assert history["train_loss"][-1] < history["train_loss"][0] - 0.3
    assert history["val_loss"][-1] == pytest.approx(history["val_recon_loss"][-1] + history["val_kl_loss"][-1])


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_that_is_resumed_equals_the_uninterrupted_run(tmp_path, variant):
    settings = VARIANTS[variant]
    whole, expected = train(num_epochs=6, **settings)
    train(num_epochs=2, checkpoint_dir=tmp_path, **settings)
    resumed, history = train(seed=9, num_epochs=6, resume_from=tmp_path / "checkpoint_epoch_2.pt", **settings)
    assert history == expected
    assert equal(weights(whole), weights(resumed))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_variant_differs_from_the_plain_run(variant):
    plain, _ = train()
    other, _ = train(**VARIANTS[variant])
    assert not equal(weights(plain), weights(other))


def test_the_weight_of_the_divergence_is_in_the_checkpoint(tmp_path):
    train(num_epochs=2, checkpoint_dir=tmp_path, kl_epochs=4)
    parts = read_checkpoint(tmp_path / "checkpoint_epoch_2.pt")["run"]["parts"]
    assert parts["kl_schedule"] == {"position": 1.75}  # of the last step


@pytest.mark.parametrize("changed", [{"beta": 2.0}, {"kl_epochs": 5}, {"free_bits": 0.2}, {"importance_samples": 2}])
def test_a_run_is_resumed_with_its_own_variant(tmp_path, changed):
    train(num_epochs=2, checkpoint_dir=tmp_path)
    with pytest.raises(ValueError, match=f"{next(iter(changed))} is .*, the run's is"):
        train(resume_from=tmp_path / "checkpoint_epoch_2.pt", **changed)


def test_validation_has_the_bound_itself_whatever_is_minimised():
    _, history = train(beta=0.0, num_epochs=2)
    assert history["train_loss"] == history["train_recon_loss"]
    assert history["val_loss"][0] == pytest.approx(history["val_recon_loss"][0] + history["val_kl_loss"][0])
    _, history = train(beta=1.0, free_bits=9.0, num_epochs=2)
    assert history["train_loss"][0] == pytest.approx(history["train_recon_loss"][0] + 18)
    assert history["val_loss"][0] == pytest.approx(history["val_recon_loss"][0] + history["val_kl_loss"][0])


def test_no_patience_is_used_up_while_the_divergence_is_warmed_up():
    settings = {"patience": 1, "num_epochs": 12, "learning_rate": 1e-9, "noise_std": 0.0}  # which improves by chance
    _, plain = train(**settings)
    _, warmed = train(kl_epochs=6, **settings)
    assert len(plain["val_loss"]) < 6
    assert len(warmed["val_loss"]) > 6


@pytest.fixture
def programs(monkeypatch):
    """Programs that are made, and run without a compiler."""
    made = []

    def make(traced, arguments):
        made.append(traced)
        return interpreted(traced, arguments)

    monkeypatch.setattr(step_program, "compile_for_host", make)
    return made


def check_program(name, variant, caplog):
    settings = VARIANTS[variant]
    _, expected = train(name, **settings)
    caplog.set_level(logging.WARNING)
    _, history = train(name, compile="step", **settings)
    assert [r.getMessage() for r in caplog.records if "one operation after the other" in r.getMessage()] == []
    assert history["train_loss"] == pytest.approx(expected["train_loss"], rel=1e-3)
    assert history["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-3)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_step_that_is_one_program_trains_as_an_eager_one(variant, caplog, programs):
    check_program("bernoulli", variant, caplog)
    assert len(programs) == 1  # also where the weight changes


@pytest.mark.parametrize("name", DATA)
def test_so_does_one_of_every_likelihood(name, caplog, programs):
    check_program(name, "warm-up", caplog)
    assert len(programs) == 1


@pytest.mark.slow  # torch's compiler
@pytest.mark.parametrize("name", DATA)
def test_a_compiled_step_of_every_likelihood_trains_as_an_eager_one(name, caplog):
    check_program(name, "importance samples, warm-up", caplog)


REFUSED = {
    "another likelihood than the model's": ({"likelihood": "poisson"}, "the model's own, bernoulli"),
    "an unknown likelihood": ({"likelihood": "normal"}, "one of bernoulli"),
    "a negative weight": ({"beta": -1}, "beta must be"),
    "a weight that is no number": ({"beta": float("nan")}, "beta must be"),
    "a negative warm-up": ({"kl_epochs": -1}, "kl_epochs must be"),
    "no cycles": ({"kl_epochs": 2, "kl_cycles": 0}, "kl_cycles must be"),
    "cycles without a length": ({"kl_cycles": 2}, "kl_cycles=2 must have epochs"),
    "negative free bits": ({"free_bits": -0.1}, "free_bits must be"),
    "no samples": ({"importance_samples": 0}, "importance_samples must be"),
    "half a sample": ({"importance_samples": 1.5}, "importance_samples must be"),
    "free bits of importance samples": ({"importance_samples": 2, "free_bits": 0.1}, "leave one of them out"),
    "negative decay": ({"weight_decay": -1.0}, "weight_decay"),
}  # fmt: skip


@pytest.mark.parametrize(("settings", "message"), REFUSED.values(), ids=REFUSED)
def test_what_makes_no_sense_is_refused_before_it_trains(settings, message):
    model = VariationalAutoencoder(6, 2, 8)
    before = weights(model)
    with pytest.raises(ValueError, match=message):
        train(model=model, **settings)
    assert equal(weights(model), before)


@pytest.mark.parametrize(
    ("name", "bad", "message"),
    [
        ("bernoulli", 1.5, r"must be in \[0, 1\]; got 1.5 at row 1, feature 2"),
        ("multinomial", -1.0, "must be at least 0; got -1"),
        ("gaussian", float("inf"), "must be finite; got inf"),
        ("poisson", 0.5, "must be whole numbers of at least 0; got 0.5 .*'poisson'"),
        ("negative_binomial", -2.0, "must be whole numbers of at least 0; got -2"),
    ],
)
def test_data_that_the_likelihood_is_not_of_are_refused(name, bad, message):
    x = DATA[name].clone()
    x[33, 2] = bad
    with pytest.raises(ValueError, match=message):
        train(name, x=x)


class Own(nn.Module):
    """A user's model that gives what its likelihood says: log-rates here."""

    def __init__(self):
        super().__init__()
        self.encoder, self.decoder = nn.Linear(6, 4), nn.Linear(2, 6)

    def forward(self, x):
        mean, log_variance = self.encoder(x.log1p()).chunk(2, 1)
        return self.decoder(mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)), mean, log_variance


def test_a_model_of_ones_own_is_trained_by_a_likelihood_without_scales():
    _, history = train("poisson", model=Own(), likelihood="poisson", num_epochs=20, learning_rate=0.01)
    assert history["train_loss"][-1] < history["train_loss"][0] - 0.5
    with pytest.raises(ValueError, match="has scales"):
        train("gaussian", model=Own(), likelihood="gaussian")
    with pytest.raises(ValueError, match=r"Own has no encode"):
        train("poisson", model=Own(), likelihood="poisson", importance_samples=2)


def test_more_importance_samples_give_a_tighter_bound():
    (_, few), (_, many) = (train(num_epochs=1, importance_samples=k, learning_rate=1e-9) for k in (1, 100))
    assert many["val_loss"][0] < few["val_loss"][0] - 0.1  # of the same weights


def test_a_collapse_is_said_in_the_log(caplog):
    caplog.set_level(logging.WARNING)
    train(beta=500.0, num_epochs=40, learning_rate=0.01)
    assert any("the latent space is collapsing" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(("name", "settings"), [("bernoulli", {"importance_samples": 2}), ("gaussian", {})])
def test_a_sharded_model_is_not_asked_for_what_is_no_forward_pass(monkeypatch, name, settings):
    for module in (vae, vae_loss):
        monkeypatch.setattr(module, "is_sharded", lambda model: True)
    with pytest.raises(ValueError, match="whole model"):
        train(name, **settings)
    train("multinomial")  # without the monitor, which calls encode

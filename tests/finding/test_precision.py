"""A trial of both precisions changes nothing of the run that follows: no bit, no generator, no batch, no file."""

import copy
import math
import os
import random

import numpy as np
import pytest
import torch
from support.equality import equal, weights
from support.small_recipes import every_recipe
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import GradientClipper, NonFiniteGuard, create_trainer, run_state
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.finding import precision as finding

X = torch.rand(24, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(finding, "STEPS", 2)
    monkeypatch.setattr(finding, "ROUNDS", 2)


def mean_of_squares(model, inputs, batch):
    return {"loss": model(inputs).square().mean()}


def trainer_of(model=None, loss_fn=mean_of_squares, policy="raise", **settings):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5)) if model is None else model
    trainer = create_trainer(model, torch.optim.Adam(model.parameters(), 0.1), loss_fn, seed=5, **settings)
    GradientClipper(1.0).attach(trainer)
    NonFiniteGuard(policy).attach(trainer)
    return trainer


def loader_of():
    return DataLoader(TensorDataset(X), 8, shuffle=True, generator=torch.Generator().manual_seed(1))


@every_recipe
@pytest.mark.parametrize("fastest", ["float32", "bfloat16"])
def test_a_recipe_trains_as_if_it_had_been_told_what_was_found(recipe, fastest, monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "has_bfloat16", lambda device: True)
    really = finding.seconds_per_step

    def seconds_per_step(trainer, loader):
        assert really(trainer, loader).keys() == {"float32", "bfloat16"}
        return {"float32": 2.0, "bfloat16": 1.0 if fastest == "bfloat16" else 3.0}

    monkeypatch.setattr(finding, "seconds_per_step", seconds_per_step)
    found = []
    for precision in ("auto", fastest):
        os.mkdir(tmp_path / precision)
        monkeypatch.chdir(tmp_path / precision)
        model, history, _ = recipe(1, precision=precision)
        found.append((weights(model), history))
    assert equal(found[0][0], found[1][0])
    assert found[0][1] == found[1][1]


@pytest.mark.parametrize("settings", [{}, {"accumulation_steps": 2}], ids=["plain", "accumulated"])
def test_the_trainer_its_generators_and_those_of_the_loader_are_as_they_were(settings):
    trainer, loader = trainer_of(**settings), loader_of()
    trainer.run(loader, max_epochs=1)
    for parameter in trainer.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before = copy.deepcopy(run_state(trainer))
    states = [torch.get_rng_state(), loader.generator.get_state()]
    python, numpy = random.getstate(), np.random.get_state()[1].tolist()
    finding.seconds_per_step(trainer, loader)
    assert first_difference(before, run_state(trainer)) is None
    assert equal(states, [torch.get_rng_state(), loader.generator.get_state()])
    assert (python, numpy) == (random.getstate(), np.random.get_state()[1].tolist())
    assert all(torch.equal(p.grad, torch.ones_like(p)) for p in trainer.model.parameters())


def test_a_step_that_changes_its_batch_changes_a_copy():
    batches = [X.clone()]

    def in_place(model, inputs, batch):
        return {"loss": model(inputs.mul_(0.5)).square().mean()}

    finding.seconds_per_step(trainer_of(loss_fn=in_place), batches)
    assert torch.equal(batches[0], X)


def test_each_round_computes_in_its_own_precision_and_a_given_one_does_not_count():
    seen = []

    class Noted(nn.Linear):
        def forward(self, x):
            seen.append(torch.is_autocast_enabled("cpu"))
            return super().forward(x)

    trainer = trainer_of(Noted(4, 1))
    finding.seconds_per_step(trainer, [X])
    steps = finding.WARM_UP + finding.STEPS + 1
    assert seen == ([False] * steps + [True] * steps) * 2
    assert trainer.updates.first.precision is None


def test_no_other_round_begins_when_the_time_is_up(monkeypatch):
    monkeypatch.setattr(finding, "ENOUGH_SECONDS", -1.0)
    calls = []
    monkeypatch.setattr(finding, "_timed", lambda trainer, batch, dtype: calls.append(dtype) or (lambda: 1.0))
    assert finding.seconds_per_step(trainer_of(), [X]) == {"float32": 1.0, "bfloat16": 1.0}
    assert calls == [None, torch.bfloat16]


def test_the_quickest_round_counts(monkeypatch):
    times = iter([3.0, 2.0, 1.0, 4.0])
    monkeypatch.setattr(finding, "_timed", lambda trainer, batch, dtype: lambda: next(times))
    assert finding.seconds_per_step(trainer_of(), [X]) == {"float32": 1.0, "bfloat16": 2.0}


def test_what_fails_in_a_later_round_is_left_out_with_what_was_measured_before(monkeypatch):
    rounds = []

    def timed(trainer, batch, dtype):
        rounds.append(dtype)
        if rounds.count(torch.bfloat16) == 2:
            raise FloatingPointError
        return lambda: 1.0

    monkeypatch.setattr(finding, "_timed", timed)
    assert finding.seconds_per_step(trainer_of(), [X]) == {"float32": 1.0}
    assert rounds == [None, torch.bfloat16] * 2  # there is nothing left to compare with


def test_a_step_that_is_not_finite_in_bfloat16_is_left_out():
    def overflows(model, inputs, batch):
        loss = model(inputs).square().mean()
        return {"loss": loss / 0 if torch.is_autocast_enabled("cpu") else loss}

    assert finding.seconds_per_step(trainer_of(loss_fn=overflows), [X]).keys() == {"float32"}


def test_nor_does_a_dropped_step_count_as_a_quick_one(caplog):
    def overflows(model, inputs, batch):
        loss = model(inputs).square().mean()
        return {"loss": loss / 0 if torch.is_autocast_enabled("cpu") or inputs.isnan().any() else loss}

    seconds = finding.seconds_per_step(trainer_of(loss_fn=overflows, policy="skip"), [X])
    assert seconds.keys() == {"float32"}
    assert len(caplog.records) == 1
    assert finding.seconds_per_step(trainer_of(loss_fn=overflows, policy="skip"), [X * math.nan]) == {
        "float32": math.inf
    }


def test_an_iterator_is_refused_before_a_batch_of_it_is_gone():
    batches = iter([X, X + 1])
    with pytest.raises(TypeError, match="gives them once"):
        finding.seconds_per_step(trainer_of(), batches)
    assert torch.equal(next(batches), X)


def test_lazy_layers_get_the_weights_that_the_run_would_give_them():
    trained = []
    for is_tried in (True, False):
        torch.manual_seed(4)
        trainer = trainer_of(nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 1)))
        if is_tried:
            finding.seconds_per_step(trainer, loader_of())
        trainer.run(loader_of(), max_epochs=1)
        trained.append(weights(trainer.model))
    assert equal(*trained)


def test_an_empty_loader_is_told():
    with pytest.raises(ValueError, match="at least one batch"):
        finding.seconds_per_step(trainer_of(), [])


@pytest.mark.parametrize(
    ("machine", "x86", "arm", "expected"),
    [
        ("x86_64", True, True, True),
        ("x86_64", False, True, False),
        ("aarch64", False, True, True),
        ("aarch64", True, False, False),
    ],
)
def test_which_processors_compute_in_bfloat16(machine, x86, arm, expected, monkeypatch):
    monkeypatch.setattr(finding.platform, "machine", lambda: machine)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: x86)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda: arm)
    assert finding.has_bfloat16(torch.device("cpu")) is expected
    assert not finding.has_bfloat16(torch.device("mps"))


def test_the_quickest_step_counts_but_for_the_first_ones_and_the_last():
    clock = finding._Clock()
    clock.times = [0.0, 1.0, 6.0, 9.0, 9.5]  # two to warm up, two that count, one more
    assert clock.seconds() == 3.0

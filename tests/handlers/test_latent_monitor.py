"""It warns of every latent space that collapses, soon, and of none that is used; and only looks."""

import logging

import pytest
import torch
from support.collapses import COLLAPSING, HEALTHY, train
from torch import nn

from ignite_recipes import LatentMonitor, VariationalAutoencoder

X = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)).round()


def collapsed():
    torch.manual_seed(0)
    model = VariationalAutoencoder(4, 2, 8)
    nn.init.zeros_(model.latent_mean_layer.weight)
    return model


def looks(monitor, used, trainer):
    """What the monitor is told, epoch after epoch: whether the latent space is used."""
    monitor.attach(trainer, collapsed())
    for epoch, is_used in enumerate(used, start=1):
        trainer.state.epoch = epoch
        nn.init.constant_(monitor._model.latent_mean_layer.weight, float(is_used))
        monitor(trainer)
    return monitor.alarms


@pytest.mark.parametrize(
    ("used", "alarms"),
    [
        ([1, 1, 1, 1], []),
        ([1, 0, 1, 0], []),  # one epoch is not enough
        ([1, 0, 0, 0, 0], [3]),  # once
        ([0, 0, 1, 0, 0], [2, 5]),  # and again
    ],
)
def test_it_warns_once_for_each_collapse(task, used, alarms):
    assert looks(LatentMonitor(X), used, task.trainer()) == alarms


def test_the_warning_says_what_was_seen_and_what_to_try(task, caplog):
    caplog.set_level(logging.WARNING)
    looks(LatentMonitor(X), [1, 0, 0], task.trainer())
    (record,) = caplog.records
    text = record.getMessage()
    assert text.startswith(
        "epoch 3: the latent space is collapsing: 0 of 2 dimensions are active (2 at most, in epoch 1)"
    )
    assert "kl_epochs" in text
    assert "free_bits" in text


def test_more_than_one_dimension_may_be_asked_for(task):
    assert looks(LatentMonitor(X, at_least=3), [1, 1], task.trainer()) == [2]  # of a model that has two
    assert looks(LatentMonitor(X, at_least=3, patience=1), [1], task.trainer()) == [1]


def test_a_loaders_first_vectors_are_read_once_and_no_generator_is_moved(task):
    class Loader:
        passes = 0

        def __iter__(self):
            Loader.passes += 1
            torch.rand(3)
            return iter([(x, 0) for x in X.repeat(40, 1).split(100)])

    model, monitor = collapsed(), LatentMonitor(Loader())
    state = torch.get_rng_state()
    monitor.measure(model)
    monitor.measure(model)
    assert Loader.passes == 1
    assert len(monitor._kept) == 512
    assert torch.equal(torch.get_rng_state(), state)


def test_dropout_does_not_hide_a_collapse_and_comes_back():
    model = VariationalAutoencoder(4, 2, 8, input_dropout=0.5)
    monitor = LatentMonitor(X)
    assert monitor.measure(model) == monitor.measure(model)
    assert model.training


def test_what_cannot_be_looked_at_is_refused(task):
    with pytest.raises(TypeError, match=r"encode\(x\).*Sequential has none: pass encode="):
        LatentMonitor(X).attach(task.trainer())
    with pytest.raises(ValueError, match="at least two"):
        LatentMonitor(X[:1]).measure(collapsed())
    with pytest.raises(TypeError, match="vectors must be"):
        LatentMonitor(3)
    with pytest.raises(ValueError, match="patience"):
        LatentMonitor(X, patience=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", COLLAPSING)
def test_every_collapse_is_said_within_three_epochs_of_the_fact(name):
    facts, alarms = train(*COLLAPSING[name])
    active = [fact.active_units for fact in facts]
    collapsed = max((epoch for epoch, units in enumerate(active, start=1) if units), default=0) + 1
    assert collapsed + 3 <= len(active), active
    assert facts[-1].mutual_information < 0.1
    assert any(abs(alarm - collapsed) <= 3 for alarm in alarms), (collapsed, alarms, active)


@pytest.mark.slow
@pytest.mark.parametrize("name", HEALTHY)
def test_no_alarm_where_the_latent_space_is_used(name):
    facts, alarms = train(*HEALTHY[name])
    assert facts[-1].mutual_information > 0.15
    assert alarms == []


def test_there_are_twenty_of_each():
    assert (len(COLLAPSING), len(HEALTHY)) == (20, 20)

"""Members that train together: cut anywhere and continued they have the bits of those that were not cut.

They meet a batch of NaN, which they skip, and two of the four stop early. Without a compiler: support/interpreted.py.
"""

import shutil
import signal

import pytest
import torch
from support.members import differing, result
from support.small_recipes import INPUTS, LABELS
from support.stacking import note_calls

from ignite_recipes import Runs, Stopped, multilayer_perceptron, train_many, train_model_advanced

DAMAGED = INPUTS.clone()
DAMAGED[5] = float("nan")


@pytest.fixture(autouse=True)
def calls(monkeypatch, tmp_path):
    """Count the calls of the program; in one of them ask the process to end."""
    monkeypatch.chdir(tmp_path)
    counted = {"calls": 0, "cut": None, "sizes": set()}

    def note(size):
        counted["calls"] += 1
        counted["sizes"].add(size)
        if counted["calls"] == counted["cut"]:
            signal.raise_signal(signal.SIGTERM)

    note_calls(monkeypatch, note)
    return counted


def train(folder):
    return train_many(
        train_model_advanced,
        lambda: multilayer_perceptron(6, 2, 4, dropout_rate=0.2),
        (DAMAGED, LABELS),
        (INPUTS, 1 - LABELS),
        seeds=2,
        sweep={"early_stop_patience": [1, None]},
        epochs=4,
        learning_rate=0.05,
        batch_size=4,
        non_finite="skip",
        ema_decay=0.9,
        device="cpu",
        experiment=folder,
        together=True,
    )


def test_members_that_train_together_are_what_they_are_alone(calls):
    runs = train("runs")
    assert calls["sizes"] >= {4, 2}  # two have stopped early
    for one in runs.members:
        torch.manual_seed(one.plan.seed)
        model = multilayer_perceptron(6, 2, 4, dropout_rate=0.2)
        settings = {"learning_rate": 0.05, "batch_size": 4, "non_finite": "skip", "ema_decay": 0.9, "epochs": 4}
        alone = train_model_advanced(
            model, (DAMAGED, LABELS), (INPUTS, 1 - LABELS), device="cpu", seed=one.plan.seed, verbose=False,
            **settings, **one.plan.settings,
        )  # fmt: skip
        assert one.outcome.epochs_trained == alone["epochs_trained"]
        assert one.outcome.best_epoch == alone["best_epoch"]
        assert one.outcome.measured["val_loss"] == pytest.approx(alone["best_val_loss"], rel=1e-4)


@pytest.mark.parametrize("cut", [7])
def test_a_cut_changes_no_bit(cut, calls):
    train("straight")
    total, calls["calls"], calls["cut"] = calls["calls"], 0, cut
    assert total > cut
    with pytest.raises(Stopped):
        train("cut")
    train("cut/exp1")
    assert differing(result("straight"), result("cut")) == []
    assert len(Runs("cut/exp1").finished) == 4


@pytest.mark.slow
def test_no_cut_changes_a_bit(calls):
    train("straight")
    total, wanted = calls["calls"], result("straight")
    for cut in range(1, total):
        calls["calls"], calls["cut"] = 0, cut
        with pytest.raises(Stopped):
            train("cut")
        train("cut/exp1")
        assert differing(wanted, result("cut")) == [], cut
        shutil.rmtree("cut")

"""Four members, of which two meet a batch of NaN (one skips it, one rolls back) and two stop early, cut anywhere."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
from ignite.engine import Events
from support.members import differing, result
from support.small_recipes import INPUTS, LABELS
from support.stops import StopAt

from ignite_recipes import Runs, Stopped, multilayer_perceptron, train_many, train_model_advanced

TRAIN, VAL = (INPUTS, LABELS), (INPUTS, 1 - LABELS)  # what is learnt is wrong there: patience runs out
SWEEP = {"non_finite": ["skip", "rollback"], "early_stop_patience": [1, None]}


class Poison:
    """The fourth batch is not a number, unless a rollback has made the rate smaller."""

    def attach(self, trainer):
        trainer.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, trainer):
        if trainer.state.iteration == 4 and trainer.optimizer.param_groups[0]["lr"] > 0.03:
            inputs, labels = trainer.state.batch
            trainer.state.batch = inputs * float("nan"), labels


def make_model():
    return multilayer_perceptron(6, 2, 4, dropout_rate=0.2)


def train(folder, cut=None):
    StopAt.count, StopAt.cut = 0, cut
    return train_many(
        train_model_advanced,
        make_model,
        TRAIN,
        VAL,
        sweep=SWEEP,
        epochs=5,
        learning_rate=0.05,
        use_scheduler=False,
        batch_size=8,
        device="cpu",
        handlers=[Poison(), StopAt()],
        experiment=folder,
        together=False,
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Trained without a cut, and how many iterations that took."""
    folder = tmp_path_factory.mktemp("straight")
    runs = train(folder)
    assert len(runs.finished) == 4
    return folder, StopAt.count


@pytest.fixture
def straight(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("straight").symlink_to(whole[0])
    return whole[1]


def test_the_members_meet_what_they_are_to_meet(straight):
    logs = {one.name: pd.read_csv(one.folder / "training_log.csv") for one in Runs("straight/exp1").members}
    assert [logs[name]["skipped_steps"].iloc[-1] for name in logs if "skip" in name] == [1, 1]
    assert [logs[name]["rollbacks"].iloc[-1] for name in logs if "rollback" in name] == [1, 1]
    assert [len(log) < 5 for log in logs.values()] == ["patience=1" in name for name in logs]


def test_a_cut_in_the_middle_changes_no_bit(straight):
    wanted = result("straight")
    with pytest.raises(Stopped):
        train("cut", straight // 2)
    train("cut/exp1")
    assert differing(wanted, result("cut")) == []


@pytest.mark.slow
def test_no_cut_changes_a_bit(straight):
    wanted = result("straight")
    for cut in range(1, straight + 1):
        shutil.rmtree("cut", ignore_errors=True)
        with pytest.raises(Stopped):
            train("cut", cut)
        train("cut/exp1" if Path("cut/exp1").exists() else "cut")  # before anything was saved nothing is kept
        assert differing(wanted, result("cut")) == [], cut

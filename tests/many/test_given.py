"""An experiment of many is continued with the settings and the data that it was started with."""

import json

import numpy as np
import pytest
import torch
from torch import nn

from ignite_recipes import search_many, train_many, train_model_advanced
from ignite_recipes.many.given import given_settings

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)


def train(experiment, *, seeds=1, data=(X, Y), val=(X[:8], Y[:8]), make=lambda: nn.Linear(3, 1), **settings):
    settings = {"epochs": 2, "device": "cpu", "verbose": False, "together": False, **settings}
    return train_many(train_model_advanced, make, data, val, seeds=seeds, experiment=experiment, **settings)


@pytest.fixture
def begun(tmp_path):
    return train(tmp_path, learning_rate=0.01).folder


OTHERS = {
    "a setting": ({"learning_rate": 0.5}, "learning_rate was 0.01, and now is 0.5"),
    "one that was not given": ({"learning_rate": 0.01, "ema_decay": 0.9}, "ema_decay was not given"),
    "fewer rows": ({"data": (X[:20], Y[:20]), "learning_rate": 0.01}, "train_loader was"),
    "other numbers": ({"data": (2 * X, Y), "learning_rate": 0.01}, "train_loader was"),
    "other rows to validate on": ({"val": (X[:4], Y[:4]), "learning_rate": 0.01}, "val_loader was"),
}


@pytest.mark.parametrize(("settings", "said"), OTHERS.values(), ids=OTHERS)
def test_other_settings_and_data_are_refused_and_change_nothing(begun, settings, said):
    before = {path: path.stat().st_mtime_ns for path in begun.rglob("*.pt")}
    with pytest.raises(ValueError, match=said):
        train(begun, seeds=2, **settings)
    assert {path: path.stat().st_mtime_ns for path in begun.rglob("*.pt")} == before


def test_the_same_data_in_other_memory_more_epochs_and_seeds_are_welcome(begun):
    runs = train(begun, seeds=2, learning_rate=0.01, epochs=3, data=(X.numpy().copy(), Y.numpy().copy()))
    assert [one.outcome.epochs for one in runs.members] == [3, 3]


def test_so_it_is_of_a_search(tmp_path):
    def search(experiment, trials, **settings):
        settings = {"epochs": 1, "device": "cpu", "verbose": False, "together": False, **settings}
        ranges = {"learning_rate": "loguniform:1e-3,1e-1"}
        return search_many(
            train_model_advanced,
            lambda: nn.Linear(3, 1),
            (X, Y),
            (X[:8], Y[:8]),
            search=ranges,
            trials=trials,
            experiment=experiment,
            **settings,
        )

    folder = search(tmp_path, 1).folder
    with pytest.raises(ValueError, match=r"ema_decay was not given, and now is 0\.9"):
        search(folder, 2, ema_decay=0.9)
    assert len(search(folder, 2).members) == 2


def test_an_experiment_of_before_is_continued_without_the_check(begun):
    plan = json.loads((begun / "members.json").read_text())
    del plan["given"]
    (begun / "members.json").write_text(json.dumps(plan))
    assert len(train(begun, seeds=2, learning_rate=0.01).finished) == 2


def test_what_is_given_is_json_and_arrays_are_known_by_their_numbers():
    given = given_settings(
        {"x": np.eye(2), "rate": np.float64(0.5), "names": ["a", "b"], "loss": nn.MSELoss(), "k": None}
    )
    assert json.loads(json.dumps(given)) == given
    assert given.keys() == {"x", "rate", "names"}
    assert given_settings({"x": torch.eye(2, dtype=torch.float64)})["x"] == given["x"]
    assert given_settings({"x": torch.eye(2)})["x"] != given["x"]


def test_a_function_that_gives_the_same_model_again_is_refused(tmp_path):
    model = nn.Linear(3, 1)
    with pytest.raises(TypeError, match="must make a new one for each member; it gave the same Linear again"):
        train(tmp_path, seeds=2, make=lambda: model)
    assert not list(tmp_path.rglob("*.pt"))

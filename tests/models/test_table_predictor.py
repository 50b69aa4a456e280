"""New rows are predicted in their order, by the columns' names, with the classes' own names and probabilities."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal
from support.tables import SMALL, TABLE, mixed_table
from torch import nn

from ignite_recipes import CheckpointError, TablePredictor, save_checkpoint, train_on_table
from ignite_recipes.models import table_predictor

NEW = mixed_table(70, seed=5).drop("kind")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("predictor")


@pytest.fixture(scope="module")
def predictor(folder):
    return train_on_table(TABLE, "kind", epochs=40, learning_rate=0.01, checkpoint_dir=folder, **SMALL)["predictor"]


def test_rows_in_another_order_are_predicted_in_that_order(predictor):
    order = np.random.default_rng(0).permutation(len(NEW))
    first, second = predictor.predict(NEW)[order], predictor.predict(NEW[order])
    assert_frame_equal(first, second, rel_tol=1e-5)


def test_how_many_rows_are_predicted_at_a_time_changes_nothing(predictor, monkeypatch):
    whole = predictor.predict(NEW)
    monkeypatch.setattr(table_predictor, "_ROWS", 9)
    assert_frame_equal(predictor.predict(NEW), whole, rel_tol=1e-5)


def test_the_prediction_is_the_class_of_the_highest_probability_and_they_add_up_to_one(predictor):
    found = predictor.predict(NEW)
    assert found.columns == ["prediction", "p_large", "p_small"]
    assert found["prediction"].to_list() == ["large" if p > 0.5 else "small" for p in found["p_large"]]
    assert (found["p_large"] + found["p_small"]).to_list() == pytest.approx([1.0] * len(NEW))


def test_a_frame_of_pandas_gets_one_with_its_index(predictor):
    frame = pd.DataFrame(NEW.to_dict(as_series=False)).set_index(np.arange(100, 170))
    found = predictor.predict(frame)
    assert isinstance(found, pd.DataFrame)
    assert found.index.equals(frame.index)
    assert found["prediction"].tolist() == predictor.predict(NEW)["prediction"].to_list()


def test_a_file_is_predicted_as_its_frame(predictor, tmp_path):
    NEW.write_csv(tmp_path / "new.csv")
    assert_frame_equal(predictor.predict(tmp_path / "new.csv"), predictor.predict(NEW))


def test_it_predicts_better_than_chance_and_leaves_the_model_in_its_mode(predictor):
    new = mixed_table(500, seed=6)
    predictor.model.train()
    metrics = predictor.evaluate(new)
    assert predictor.model.training
    assert metrics["accuracy"] > 75
    assert metrics == predictor.evaluate(new.drop("kind"), new["kind"].to_list())
    with pytest.raises(ValueError, match="must have the target's column 'kind' to evaluate"):
        predictor.evaluate(new.drop("kind"))


def test_the_metrics_are_those_of_scikit_learn(predictor):
    from sklearn import metrics

    new = mixed_table(300, seed=7)
    found, truth = predictor.predict(new), new["kind"].to_list()
    measured = predictor.evaluate(new)
    guess, chances = found["prediction"].to_list(), found.select("p_large", "p_small").to_numpy()
    assert measured["accuracy"] == pytest.approx(100 * metrics.accuracy_score(truth, guess))
    assert measured["balanced_accuracy"] == pytest.approx(100 * metrics.balanced_accuracy_score(truth, guess))
    assert measured["log_loss"] == pytest.approx(metrics.log_loss(truth, chances))
    assert measured["roc_auc"] == pytest.approx(metrics.roc_auc_score(np.array(truth) == "small", chances[:, 1]))


def test_a_checkpoint_is_enough_to_predict(predictor, folder):
    read = TablePredictor.from_checkpoint(folder / "model_best.pt")
    assert_frame_equal(read.predict(NEW), predictor.predict(NEW))


def test_an_average_of_the_weights_is_what_a_checkpoint_predicts_with(tmp_path):
    result = train_on_table(TABLE, "count", epochs=3, checkpoint_dir=tmp_path, ema_decay=0.5, **SMALL)
    read = TablePredictor.from_checkpoint(tmp_path / "model_best.pt")
    assert_frame_equal(read.predict(TABLE), result["predictor"].predict(TABLE))


def test_a_model_of_ones_own_must_be_given_again(tmp_path):
    def make(width, outputs):
        return nn.Linear(width, outputs)

    result = train_on_table(TABLE, "kind", model=make, epochs=2, checkpoint_dir=tmp_path, **SMALL)
    path = tmp_path / "model_best.pt"
    with pytest.raises(ValueError, match="holds a model of your own: pass model="):
        TablePredictor.from_checkpoint(path)
    width = len(result["predictor"].preprocessor.feature_names)
    read = TablePredictor.from_checkpoint(path, nn.Linear(width, 2))
    assert_frame_equal(read.predict(NEW), result["predictor"].predict(NEW))


def test_a_checkpoint_of_something_else_is_refused(tmp_path):
    save_checkpoint(nn.Linear(1, 1), None, 1, 0.5, 0.5, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="is not a checkpoint of a table"):
        TablePredictor.from_checkpoint(tmp_path / "other.pt")


def test_an_array_is_predicted_by_its_columns_order():
    x = torch.randn(100, 3, dtype=torch.float64)
    predictor = train_on_table(x, x.sum(1), epochs=60, learning_rate=0.02, **SMALL)["predictor"]
    found = predictor.predict(x.numpy())
    assert isinstance(found, pl.DataFrame)
    assert found["prediction"].to_numpy() == pytest.approx(x.sum(1).numpy(), abs=2.0)
    with pytest.raises(ValueError, match="missing: 'x2'"):
        predictor.predict(x[:, :2])

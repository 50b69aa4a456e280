"""What many runs say together is read of their folders, also of some that are damaged or not there yet."""

import json
import math
from pathlib import Path

import polars as pl
import pytest

from ignite_recipes import ExperimentManager, Runs
from ignite_recipes.experiments.members import write_plan
from ignite_recipes.many.outcome import OUTCOME, read_outcome
from ignite_recipes.many.planning import plan_members
from ignite_recipes.many.predictions import average_rows, judge, read_predictions, write_predictions

CLASSES = pl.DataFrame(
    {"row": [4, 2], "truth": ["a", "b"], "prediction": ["a", "a"], "p_a": [0.9, 0.6], "p_b": [0.1, 0.4]}
)


def whole(folder, values, *, folds=None, by_time=False, metric="val_loss", mode="min"):
    """An experiment of many whose members measured these values, by their names; of None nothing is there."""
    experiment = ExperimentManager(folder, settings={"recipe": "train_on_table"})
    seeds = sorted({int(name.split("seed=")[1].split("_")[0]) for name in values})
    sweep = {"rate": sorted({float(name.split("_")[0].removeprefix("rate=")) for name in values if "rate=" in name})}
    members = plan_members(seeds, sweep if sweep["rate"] else {}, folds)
    plan = {"recipe": "train_on_table", "members": members, "sweep": sweep, "folds": folds, "by_time": by_time}
    write_plan(experiment.experiment_dir, plan)
    for name, value in values.items():
        if value is not None:
            place = Path(experiment.experiment_dir, "members", name)
            place.mkdir(parents=True)
            outcome = {
                "epochs": 5,
                "epochs_trained": 3,
                "best_epoch": 2,
                "metric": metric,
                "mode": mode,
                "seconds": 1.0,
            }
            (place / OUTCOME).write_text(json.dumps({**outcome, "measured": {metric: value, "rmse": 2.0}}))
    return Runs(experiment)


LOSSES = {"rate=0.1_seed=0": 1.0, "rate=0.1_seed=1": 2.0, "rate=0.2_seed=0": 0.5, "rate=0.2_seed=1": 1.4}


def test_a_table_has_a_row_for_each_setting_and_metric(tmp_path):
    runs = whole(tmp_path, LOSSES)
    table = runs.table()
    assert table["metric"].to_list() == ["val_loss", "val_loss", "rmse", "rmse"]
    assert table["rate"].to_list() == [0.1, 0.2] * 2
    assert table["mean"].to_list() == [1.5, 0.95, 2.0, 2.0]
    assert runs.table("rmse")["std"].to_list() == [0.0, 0.0]
    assert runs.best_setting == "rate=0.2"
    assert runs.swept_numbers == ["rate"]
    assert runs.finished[0].outcome.stopped_early


def test_a_comparison_is_on_the_seeds_that_both_have(tmp_path):
    found = whole(tmp_path, {**LOSSES, "rate=0.2_seed=1": None}).compare(against="rate=0.1").to_dicts()
    assert found[0]["difference"] == -0.5
    assert found[0]["n"] == 1
    assert found[0]["verdict"] == "not known: one seed only; use more"


def test_the_best_setting_follows_the_direction_of_what_decides(tmp_path):
    assert whole(tmp_path, LOSSES, metric="val_accuracy", mode="max").best_setting == "rate=0.1"


def test_of_one_seed_with_folds_the_numbers_are_of_folds(tmp_path):
    values = {"seed=0_fold=1": 1.0, "seed=0_fold=2": 3.0}
    runs = whole(tmp_path, values, folds=2)
    row = runs.table("val_loss").to_dicts()[0]
    assert (row["mean"], row["n"], runs.over) == (2.0, 2, "folds")
    assert row["high"] - row["mean"] == pytest.approx(12.7062 * math.sqrt(2) * math.sqrt(1 / 2 + 1), rel=1e-4)
    by_time = whole(tmp_path, values, folds=2, by_time=True).table("val_loss").to_dicts()[0]
    assert math.isnan(by_time["low"])


def test_what_is_missing_or_damaged_is_not_finished(tmp_path):
    runs = whole(tmp_path, {"seed=0": 1.0, "seed=1": 2.0, "seed=2": None})
    Path(runs.members[1].folder, OUTCOME).write_text("{")
    again = Runs(runs.experiment)
    assert [one.state for one in again.members] == ["finished", "begun", "missing"]
    assert repr(again).startswith("Runs(3 members, 1 finished")


@pytest.mark.parametrize("text", ["", "[]", "null", '{"epochs": 3}', '{"measured": {"a": "b"}}', '{"measured": 4}'])
def test_a_damaged_outcome_is_none(tmp_path, text):
    (tmp_path / OUTCOME).write_text(text)
    assert read_outcome(tmp_path) is None
    assert read_outcome(tmp_path / "not there") is None


def test_what_cannot_be_told_is_said_in_one_line(tmp_path):
    runs = whole(tmp_path, LOSSES)
    for ask, said in [
        (lambda: runs.table("bogus"), "metric must be one that members have; got 'bogus'"),
        (lambda: runs.compare(against="rate=9"), "against must be one of"),
        (lambda: runs.of("rate=9"), "setting must be one of"),
        (lambda: runs.plot_sweep("layers"), "a number that was swept; got 'layers'"),
        (lambda: runs.mode("bogus"), "pass mode='min' or 'max'"),
        (lambda: whole(tmp_path, {"seed=0": None}).metric, "no member of .* has ended yet"),
        (lambda: whole(tmp_path, {"seed=0": None}).ensemble("all"), "no member of 'all' has ended"),
    ]:
        with pytest.raises(ValueError, match=said):
            ask()
    with pytest.raises(TypeError, match="a function that makes one, for each member"):
        runs.ensemble(model=__import__("torch").nn.Linear(1, 1))
    assert runs.predictions is None
    assert runs.averaged() is None
    assert runs.ensemble_measures() == {}


def test_a_metric_that_is_not_finite_has_no_interval_and_is_not_the_best(tmp_path):
    runs = whole(tmp_path, {**LOSSES, "rate=0.2_seed=1": None, "rate=0.2_seed=0": None})
    Path(runs.members[1].folder).mkdir()
    outcome = json.loads(Path(runs.members[0].folder, OUTCOME).read_text())
    outcome["measured"]["val_loss"] = None  # as a file has it that was NaN
    Path(runs.members[1].folder, OUTCOME).write_text(json.dumps(outcome))
    again = Runs(runs.experiment)
    assert again.best_setting == "rate=0.1"
    assert again.compare()["verdict"].to_list() == ["not comparable: a value is not finite"]


def test_predictions_go_through_a_file_with_classes_as_texts(tmp_path):
    numbered = CLASSES.rename({"p_a": "p_007", "p_b": "p_1"}).with_columns(
        truth=pl.Series(["007", "1"]), prediction=pl.Series(["007", "007"])
    )
    write_predictions(tmp_path, numbered)
    assert read_predictions(tmp_path).equals(numbered)
    assert judge(read_predictions(tmp_path))["accuracy"] == 50.0
    assert read_predictions(tmp_path / "none") is None


def test_true_and_false_are_classes_too(tmp_path):
    frame = pl.DataFrame({"row": [0, 1], "truth": [True, False], "prediction": [True, True]})
    frame = frame.with_columns(p_False=pl.Series([0.2, 0.4]), p_True=pl.Series([0.8, 0.6]))
    write_predictions(tmp_path, frame)
    assert judge(read_predictions(tmp_path))["accuracy"] == judge(frame)["accuracy"] == 50.0


def test_numbers_go_through_a_file_as_they_are(tmp_path):
    frame = pl.DataFrame({"row": [1, 0], "truth": [0.1, 1e-17], "prediction": [1 / 3, 2.0]})
    write_predictions(tmp_path, frame)
    assert read_predictions(tmp_path).equals(frame)


def test_the_mean_over_members_is_of_probabilities_and_the_largest_decides():
    other = CLASSES.with_columns(p_a=pl.Series([0.1, 0.2]), p_b=pl.Series([0.9, 0.8]), prediction=pl.Series(["b", "b"]))
    found = average_rows([CLASSES, other])
    assert found["row"].to_list() == [2, 4]
    assert found["p_a"].to_list() == pytest.approx([0.4, 0.5])
    assert found["prediction"].to_list() == ["b", "a"]
    assert found["members"].to_list() == [2, 2]


def test_rows_of_different_data_are_not_averaged():
    with pytest.raises(ValueError, match="validated on different data"):
        average_rows([CLASSES, CLASSES.with_columns(truth=pl.Series(["b", "b"]))])

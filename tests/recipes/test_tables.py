"""A table of any kind is trained on; what is learnt is of the training rows only; a resumed run is the whole one."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from support.equality import equal, weights
from support.stops import StopsAfter
from support.tables import SMALL, TABLE
from torch import nn

from ignite_recipes import CheckpointError, read_checkpoint, train_on_table
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.recipes.tables import WeightedCrossEntropy

INPUTS, KIND = TABLE.drop("kind"), TABLE["kind"]


def train(data=TABLE, target="kind", epochs=3, **settings):
    return train_on_table(data, target, epochs=epochs, **{**SMALL, **settings})


def state_of(result):
    return result["predictor"].preprocessor.state_dict(), result["predictor"].target.state_dict()


# Laws.


def changed(table, rows):
    """The same, with other inputs in some rows."""
    numbers = pl.Series(np.isin(np.arange(table.height), rows))
    return table.with_columns(
        size=pl.when(numbers).then(1e6).otherwise(pl.col("size")),
        city=pl.when(numbers).then(pl.lit("Atlantis")).otherwise(pl.col("city")),
        day=pl.when(numbers).then(pl.lit("1999-01-01")).otherwise(pl.col("day")),
    )


def test_the_rows_to_validate_on_change_nothing_that_is_learnt():
    when = np.arange(200)  # the last 40 are validated on
    first = train(time=when)
    second = train(changed(TABLE, range(160, 200)), time=when)
    assert first_difference(state_of(first), state_of(second), "state") is None
    assert first["history"]["train_loss"] == second["history"]["train_loss"]
    assert first["history"]["val_loss"] != second["history"]["val_loss"]
    third = train(changed(TABLE, [0]), time=when)
    assert first_difference(state_of(first), state_of(third), "state") is not None


def test_the_scale_of_a_target_is_of_the_rows_to_train_on_too():
    when = np.arange(200)
    targets = np.linspace(0, 1, 200)
    other = np.where(when < 160, targets, 1e6)
    first, second = (train(INPUTS, values, time=when) for values in (targets, other))
    assert first_difference(state_of(first), state_of(second), "state") is None


def test_one_seed_gives_the_same_weights_and_draws_nothing_from_the_global_generators():
    torch.manual_seed(1)
    first = train()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    second = train()
    assert torch.equal(before, torch.get_rng_state())
    assert equal(weights(first["model"]), weights(second["model"]))
    assert first["metrics"] == second["metrics"]
    assert not equal(weights(first["model"]), weights(train(seed=4)["model"]))


class CutAt(StopsAfter):
    def __call__(self, trainer):
        if trainer.state.iteration > self.epoch:
            raise InterruptedError


RUNS = {
    "plain": {},
    "weighted classes": {"class_weights": "balanced", "accumulation_steps": 3},
    "grouped numbers": {"target": "size", "group": "city"},
}


@pytest.mark.parametrize("settings", RUNS.values(), ids=RUNS)
def test_a_run_that_is_cut_anywhere_and_resumed_is_the_whole_one(tmp_path, settings):
    settings = {**settings, "save_every_iterations": 1, "early_stop_patience": 2, "batch_size": 50}
    whole = train(checkpoint_dir=tmp_path / "whole", **settings)
    expected = read_checkpoint(tmp_path / "whole" / "model_latest.pt")
    batches = expected["run"]["progress"]["iteration"]
    assert batches >= 6
    for cut in range(1, batches):
        folder = tmp_path / str(cut)
        with pytest.raises(InterruptedError):
            train(checkpoint_dir=folder, handlers=[CutAt(cut)], **settings)
        latest = folder / "model_latest.pt"  # none before an accumulation's first end
        resumed = train(checkpoint_dir=folder, resume_from=latest if latest.exists() else None, **settings)
        assert first_difference(expected, read_checkpoint(latest)) is None
        assert resumed["history"] == whole["history"]
        assert resumed["metrics"] == whole["metrics"]


def test_a_finished_run_that_is_resumed_without_a_seed_returns_its_result(tmp_path):
    whole = train(checkpoint_dir=tmp_path, seed=None)
    resumed = train(seed=None, resume_from=tmp_path / "model_latest.pt")
    assert resumed["metrics"] == whole["metrics"]


def test_a_state_is_read_without_running_code(tmp_path):
    train(checkpoint_dir=tmp_path)
    state = read_checkpoint(tmp_path / "model_best.pt")["metadata"]["table"]
    assert state["target"]["classes"] == ["large", "small"]
    assert state["preprocessor"]["use"]["numbers"] == ["size", "count", "sunny"]


# What people bring.

HOLDERS = {
    "polars": lambda folder: TABLE,
    "pandas": lambda folder: pd.DataFrame(TABLE.to_dict(as_series=False)),
    "columns": lambda folder: TABLE.to_dict(as_series=False),
    "csv": lambda folder: _write(folder, "write_csv", "table.csv"),
    "parquet": lambda folder: _write(folder, "write_parquet", "table.parquet"),
    "feather": lambda folder: _write(folder, "write_ipc", "table.feather"),
}


def _write(folder, how, name):
    getattr(TABLE, how)(folder / name)
    return folder / name


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_the_same_table_trains_the_same_whatever_holds_it(make, tmp_path):
    result, expected = train(make(tmp_path)), train()
    assert equal(weights(result["model"]), weights(expected["model"]))
    assert result["metrics"] == expected["metrics"]


TARGETS = {
    "a Series": KIND,
    "a list": KIND.to_list(),
    "a column of a matrix": KIND.to_numpy()[:, None],
    "a frame of one column": pd.DataFrame({"kind": KIND.to_list()}),
}


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_a_target_beside_the_inputs_is_one_in_them(target):
    assert train(INPUTS, target)["metrics"] == train()["metrics"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int64, torch.bool])
@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_arrays_of_any_type_and_targets_of_one_column(dtype, kind):
    x = (torch.randn(120, 4, generator=torch.Generator().manual_seed(0)) * 3).round().clamp(min=0).to(dtype)
    y = x.double().sum(1, keepdim=True) + 0.5
    data, target = (x, y) if kind == "tensor" else (x.numpy(), y.numpy())
    result = train(data, target, epochs=60, learning_rate=0.02, task="regression", dropout_rate=0.0)
    assert result["metrics"]["rmse"] < 0.5 * result["baseline"]["rmse"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [(["no", "yes"], ["no", "yes"]), ([False, True], [False, True]), ([5, 7], [5, 7]), ([0.0, 1.0], [0, 1])],
)
def test_labels_of_any_kind_are_learnt_and_predicted_by_their_own_names(labels, classes):
    x = np.random.default_rng(0).normal(size=(200, 2))
    truth = [labels[int(row[0] > 0)] for row in x]
    predictor = train(x, truth, epochs=60, learning_rate=0.02)["predictor"]
    found = predictor.predict(x)
    assert predictor.target.classes == classes
    assert np.mean([a == b for a, b in zip(found["prediction"].to_list(), truth, strict=True)]) > 0.9


def test_many_classes_and_numbers_beat_the_baseline():
    x = np.random.default_rng(0).normal(size=(600, 2))
    quarter = (x[:, 0] > 0) * 2 + (x[:, 1] > 0)
    many = train(x, quarter, epochs=30, learning_rate=0.01)
    assert many["metrics"]["accuracy"] > 90 > 50 > many["baseline"]["accuracy"]
    numbers = train(x, 100 + 7 * x[:, 0], epochs=30, learning_rate=0.01)
    assert numbers["metrics"]["rmse"] < 2 < 6 < numbers["baseline"]["rmse"]
    assert numbers["metrics"]["r2"] > 0.9


def test_a_table_of_ones_own_may_be_validated_on():
    train_part, val_part = TABLE[:150], TABLE[150:]
    first = train(train_part, val_data=val_part)
    second = train(train_part.drop("kind"), train_part["kind"], val_data=(val_part.drop("kind"), val_part["kind"]))
    assert first["metrics"] == second["metrics"] == first["predictor"].evaluate(val_part)


def test_rows_without_a_target_are_left_out_and_it_is_said(caplog):
    gaps = TABLE.with_columns(kind=pl.when(pl.int_range(200) % 10 > 0).then(pl.col("kind")))
    result = train(gaps)
    one = TABLE.with_columns(kind=pl.when(pl.int_range(200) != 7).then(pl.col("kind")))
    train(one, epochs=1)
    assert "1 of 200 rows has no target and is left out" in caplog.text
    assert "20 of 200 rows have no target and are left out" in caplog.text
    assert result["metrics"] == train(gaps.filter(pl.col("kind").is_not_null()))["metrics"]


def test_columns_that_split_the_rows_or_are_to_be_ignored_are_no_inputs():
    names = train(group="city", ignore=["count"])["predictor"].preprocessor.feature_names
    assert not [name for name in names if name.startswith(("city", "count"))]
    names = train(time="day")["predictor"].preprocessor.feature_names
    assert not [name for name in names if name.startswith("day")]


def test_what_was_decided_is_printed_and_logged(capsys, caplog):
    with caplog.at_level("INFO", "ignite_recipes"):
        train(verbose=True, ignore=["count"])
    out = capsys.readouterr().out
    assert "target 'kind': classification of 2 classes; 160 rows to train on, 40 to validate on" in out
    for line in (
        "columns: 2 numbers, 1 category, 1 date",
        "missing values in 'size' are taken as the median, with a column that marks them",
        "column 'count' is left out, as you asked",
        "column 'day' is read as times, %Y-%m-%d",
    ):
        assert line in out
        assert line in caplog.text


@pytest.mark.parametrize("model", [lambda width, outputs: nn.Linear(width, outputs), nn.LazyLinear(2)])
def test_a_model_of_ones_own_is_trained(model):
    if isinstance(model, nn.Module):
        model(torch.zeros(1, len(train(epochs=1)["predictor"].preprocessor.feature_names)))
    result = train(model=model)
    assert isinstance(result["model"], nn.Linear)
    assert result["predictor"].predict(INPUTS).height == 200


# Class weights.


def test_balanced_weights_make_every_class_count_alike():
    rare = np.r_[np.zeros(190), np.ones(10)].astype(int)
    x = np.random.default_rng(0).normal(size=(200, 3))
    plain, balanced = (train(x, rare, class_weights=w, epochs=40, learning_rate=0.01) for w in (None, "balanced"))
    assert balanced["metrics"]["balanced_accuracy"] >= plain["metrics"]["balanced_accuracy"]
    found = [result["predictor"].predict(x)["p_1"].mean() for result in (plain, balanced)]
    assert found[0] < 0.2 < 0.3 < found[1]


def test_weights_are_the_same_by_name_and_in_proportion_and_their_mean_is_one():
    results = [train(class_weights=w) for w in ({"large": 2, "small": 1}, {"small": 0.5, "large": 1.0})]
    assert results[0]["history"] == results[1]["history"]
    weighted = WeightedCrossEntropy(torch.tensor([1.0, 1.0]))
    outputs, labels = torch.randn(6, 2), torch.tensor([0, 1, 1, 0, 1, 0])
    torch.testing.assert_close(weighted(outputs, labels), nn.functional.cross_entropy(outputs, labels))


# What is refused, in a line, with the next step.

CONSTANT = TABLE.with_columns(kind=pl.lit("x"))
REFUSED = {
    "no such target": ({"target": "knid"}, "target must be a column of the table; got 'knid': did you mean 'kind'"),
    "target of another length": ({"target": [1, 2]}, "target must have a value for each of the 200 rows; got 2"),
    "constant target": ({"data": CONSTANT}, "target 'kind' must have at least two values; got 'x' in every row"),
    "no such group": ({"group": "x"}, "group must be a column of the table; got 'x'"),
    "no such column to ignore": ({"ignore": ["x"]}, "ignore must name columns of the table; got 'x'"),
    "everything ignored": ({"ignore": INPUTS.columns}, "must have a column to predict from"),
    "group and time": ({"group": "city", "time": "day"}, "by group or by time; got both"),
    "no time": ({"time": "city"}, "time must be a column of times or numbers; 'city' holds text like"),
    "time with gaps": ({"time": "size"}, "time must be known in every row; 'size' is missing in 29 rows"),
    "one group": ({"group": [0] * 200}, "at least two groups; got 1"),
    "task": ({"task": "x"}, "task must be one of regression, classification"),
    "text as numbers": ({"task": "regression"}, "must hold numbers for regression"),
    "weights": ({"class_weights": "x"}, "class_weights must be 'balanced'"),
    "a weight missing": ({"class_weights": {"small": 1}}, "a positive weight to each of"),
    "a weight of zero": ({"class_weights": {"small": 1, "large": 0}}, "a positive weight to each of"),
    "weights of numbers": ({"target": "count", "class_weights": "balanced"}, "must be None for a target of numbers"),
    "size": ({"val_size": 1.5}, "val_size must be a fraction"),
    "categories": ({"max_categories": 0}, "max_categories must be a whole number"),
    "batches": ({"batch_size": 0}, "batch_size must be a whole number"),
    "epochs": ({"epochs": 0}, "epochs must be a whole number"),
    "val data alone": ({"data": INPUTS, "target": KIND, "val_data": INPUTS}, r"val_data must be \(data, target\)"),
    "a class unseen": (
        {"time": np.arange(200), "target": pl.Series(["a", "b"] * 80 + ["c"] * 40)},
        "must hold every class of 'target'; got none of 'c'",
    ),
    "one class": (
        {"time": np.arange(200), "target": pl.Series(["a"] * 160 + ["b"] * 40)},
        "must hold at least two classes; got 'a' in all 160 of them",
    ),
}


@pytest.mark.parametrize(("settings", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_trained_on_is_refused(settings, said):
    with pytest.raises(ValueError, match=said) as told:
        train(**settings)
    assert "\n" not in str(told.value)


def test_other_kinds_of_data_are_refused():
    with pytest.raises(TypeError, match="data must be a file"):
        train(3)
    with pytest.raises(FileNotFoundError, match=r"there is none at no\.csv"):
        train("no.csv")


def test_a_resume_with_other_data_or_settings_is_refused(tmp_path):
    path = tmp_path / "table.csv"
    TABLE.write_csv(path)
    train(path, checkpoint_dir=tmp_path)
    latest = tmp_path / "model_latest.pt"
    assert train(resume_from=latest)["epochs_trained"] == 3  # the same rows from a frame
    for settings, said in (
        ({"data": changed(TABLE, [3])}, "the rows to train or to validate on are others"),
        ({"seed": 4}, "the rows to train or to validate on are others"),
        ({"val_size": 0.3}, "val_size is 0.3, the run's is 0.2"),
        ({"class_weights": "balanced"}, "class_weights is 'balanced', the run's is None"),
        ({"task": "classification"}, "task is 'classification', the run's is None"),
        ({"batch_size": 50}, "batches an epoch"),
    ):
        with pytest.raises(ValueError, match=said):
            train(resume_from=latest, **settings)
    TABLE.with_columns(size=pl.lit(1.0)).write_csv(path)
    with pytest.raises(ValueError, match=r"table\.csv must be the file that the run was trained on; it had"):
        train(path, resume_from=latest)


def test_a_resume_from_another_recipe_is_refused(tmp_path):
    from ignite_recipes import multilayer_perceptron, train_model_advanced

    batches = [(torch.randn(4, 3), torch.randn(4, 1))]
    train_model_advanced(
        multilayer_perceptron(3, 1), batches, epochs=1, device="cpu", checkpoint_dir=tmp_path, verbose=False
    )
    with pytest.raises(CheckpointError, match="is not a checkpoint of a table"):
        train(resume_from=tmp_path / "model_latest.pt")


def test_folds_validate_on_each_row_once_and_the_result_says_which():
    table = pd.DataFrame({"x": np.arange(30.0), "kind": ["a", "b", "c"] * 10})
    quick = {"epochs": 1, "device": "cpu", "verbose": False, "seed": 3, "split_seed": 1}
    found = [train_on_table(table, "kind", fold=(k, 3), **quick)["val_predictions"] for k in (1, 2, 3)]
    assert sorted(row for frame in found for row in frame["row"]) == list(range(30))
    for frame in found:
        assert frame.columns == ["row", "truth", "prediction", "p_a", "p_b", "p_c"]
        assert frame["truth"].to_list() == table["kind"][frame["row"].to_list()].tolist()
        assert all(3 <= count <= 4 for count in frame["truth"].value_counts()["count"])  # of each class its share


def test_rows_without_a_target_keep_the_numbers_of_the_others():
    table = pd.DataFrame({"x": np.arange(40.0), "y": [None if k % 4 == 0 else 2.5 * k for k in range(40)]})
    frame = train_on_table(table, "y", epochs=1, device="cpu", verbose=False, seed=0)["val_predictions"]
    assert not any(row % 4 == 0 for row in frame["row"])
    assert frame["truth"].to_list() == [2.5 * row for row in frame["row"]]


def test_all_rows_may_be_trained_on_and_the_split_may_have_a_seed_of_its_own():
    table = pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30.0) ** 2})
    quick = {"epochs": 1, "device": "cpu", "verbose": False}
    whole = train_on_table(table, "y", val_size=None, seed=0, **quick)
    assert whole["metrics"] == {} == whole["baseline"]
    assert len(whole["val_predictions"]) == 0
    assert whole["predictor"].target.mean == pytest.approx(table["y"].mean())
    first, second = (train_on_table(table, "y", seed=seed, split_seed=7, **quick) for seed in (0, 1))
    assert first["val_predictions"]["row"].equals(second["val_predictions"]["row"])
    assert not first["val_predictions"]["prediction"].equals(second["val_predictions"]["prediction"])


@pytest.mark.parametrize("fold", [(0, 3), (4, 3), (1, 1), 2, (1, 2, 3), (1.5, 3), "1/3"])
def test_a_fold_is_a_number_among_several(fold):
    table = pd.DataFrame({"x": np.arange(30.0), "y": np.arange(30.0)})
    with pytest.raises(ValueError, match="fold"):
        train_on_table(table, "y", fold=fold, verbose=False)

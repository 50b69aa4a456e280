"""Many runs of every recipe: each is what it is alone, none costs another anything, and a stopped whole goes on."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from support.equality import equal
from support.members import saved_weights
from support.small_recipes import INPUTS, LABELS, WINDOWS
from support.stops import StopAt
from torch import nn

from ignite_recipes import (
    ExperimentManager,
    Runs,
    Stopped,
    Trainer,
    VariationalAutoencoder,
    evaluate,
    list_experiments,
    make_traffic_windows,
    multilayer_perceptron,
    predict,
    read_checkpoint,
    set_seed,
    train_many,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.many.given_rows import RowsOf

ADVANCED = {"epochs": 2, "device": "cpu", "batch_size": 8}
PAIRS = (INPUTS, LABELS)
TABLE = pd.DataFrame(INPUTS.numpy(), columns=list("abcdef")).assign(kind=np.where(LABELS, "yes", "no"))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_model(width=4):
    return multilayer_perceptron(6, 2, width, dropout_rate=0.2)


@pytest.mark.parametrize("together", [True, False])
def test_what_members_find_alike_is_warned_of_once(together, caplog):
    gaps = TABLE.assign(city=["Rome", "Oslo"] * (len(TABLE) // 2), kind=[None, *TABLE["kind"][1:]])
    settings = {"epochs": 1, "device": "cpu", "hidden_dimension": 4, "val_size": 0.05, "verbose": False}
    runs = train_many(train_on_table, gaps, "kind", seeds=3, together=together, **settings)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warned) == len(set(warned))
    lines = [f"1 of {len(TABLE)} rows has no target and is left out", "to validate on: what is measured there says"]
    for line in lines:
        assert sum(line in message for message in warned) == 1
    caplog.clear()
    runs.ensemble().predict(gaps.drop(columns="kind").assign(city=["Lima", *gaps["city"][1:]]))
    assert [record.getMessage() for record in caplog.records] == [
        "'city': 1 row has a category that was rare in training or not seen ('Lima'), it is treated as a rare one"
    ]


def test_a_member_is_what_the_recipe_trains_alone_and_the_generators_stay_as_they_are():
    torch.manual_seed(8)
    before = torch.get_rng_state()
    runs = train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=[0, 5], sweep={"width": [4, 6]}, **ADVANCED)
    assert torch.equal(torch.get_rng_state(), before)
    assert [one.name for one in runs.finished] == [
        *("width=4_seed=0", "width=6_seed=0", "width=4_seed=5", "width=6_seed=5")
    ]
    set_seed(5)
    alone = make_model(6)
    train_model_advanced(alone, PAIRS, PAIRS, seed=5, verbose=False, experiment="alone", **ADVANCED)
    member = Path("runs/exp1/members/width=6_seed=5")
    assert equal(saved_weights(member), saved_weights("alone/exp1"))
    logs = [pd.read_csv(Path(folder, "training_log.csv")) for folder in (member, "alone/exp1")]
    names = ["epoch", "train_loss", "val_loss", "val_accuracy", "learning_rate"]
    assert logs[0][names].equals(logs[1][names])


def test_it_does_not_depend_on_who_trains_beside_it():
    settings = {"experiment": "few", **ADVANCED}
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=[3], **settings)
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=[1, 3], **{**settings, "experiment": "more"})
    assert equal(saved_weights("few/exp1/members/seed=3"), saved_weights("more/exp1/members/seed=3"))


def test_a_fold_is_the_recipe_on_its_rows():
    runs = train_many(train_model_advanced, make_model, PAIRS, folds=3, **ADVANCED)
    train, val = fold_rows(22, 3, labels=LABELS.numpy())[1]
    set_seed(0)
    alone = make_model()
    sides = [(INPUTS[rows], LABELS[rows]) for rows in (train, val)]
    train_model_advanced(alone, *sides, seed=0, verbose=False, experiment="alone", **ADVANCED)
    assert equal(saved_weights("runs/exp1/members/seed=0_fold=2"), saved_weights("alone/exp1"))
    assert sorted(runs.predictions["row"]) == list(range(22))
    assert runs.predictions.filter(runs.predictions["fold"] == 2)["row"].to_list() == val.tolist()
    assert runs.predictions.sort("row")["truth"].to_list() == [str(int(label)) for label in LABELS]


def test_vectors_are_folded_by_group():
    group = np.arange(22) // 4
    runs = train_many(
        train_variational_autoencoder,
        lambda: VariationalAutoencoder(6, 2, 8),
        INPUTS,
        num_epochs=1,
        folds=2,
        group=group,
        batch_size=8,
    )
    set_seed(0)
    model = VariationalAutoencoder(6, 2, 8)
    train, val = fold_rows(22, 2, groups=group)[0]
    sides = (INPUTS[train], INPUTS[val])
    train_variational_autoencoder(
        model, *sides, num_epochs=1, seed=0, print_every=None, batch_size=8, experiment="alone"
    )
    assert equal(saved_weights("runs/exp1/members/seed=0_fold=1"), saved_weights("alone/exp1"))
    assert runs.predictions is None
    assert runs.metric == "val_loss"
    with pytest.raises(ValueError, match="nothing in common"):
        runs.ensemble()


def test_traffic_has_folds_by_time_that_share_no_sample():
    parameters = {"hidden_size": 8, "num_layers": 1, "num_epochs": 1, "batch_size": 8}
    series = torch.rand(90, 2, generator=torch.Generator().manual_seed(0))
    windows = make_traffic_windows(series, torch.ones(90), 6, 3)
    runs = train_many(trainModel, parameters, windows, folds=2, sweep={"dropout_rate": [0.0, 0.2]}, device="cpu")
    assert runs.by_time
    assert [one.name for one in runs.finished][:2] == ["dropout_rate=0_seed=0_fold=1", "dropout_rate=0_seed=0_fold=2"]
    table = runs.table("val_loss")
    assert table["n"].to_list() == [2, 2]
    assert table["low"].is_nan().all()
    assert len(runs.ensemble().predict(windows)) == len(windows.sources)
    set_seed(0)
    trainModel(
        {**parameters, "seed": 4, "save_checkpoints": False}, WINDOWS, WINDOWS, False, device="cpu", experiment="alone"
    )
    train_many(trainModel, parameters, WINDOWS, WINDOWS, seeds=[4], device="cpu")
    assert equal(saved_weights("runs/exp2/members/seed=4"), saved_weights("alone/exp1"))


def new_optimizer(model, learning_rate=0.1):
    return torch.optim.SGD(model.parameters(), learning_rate)


def new_schedule(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)


def test_a_classifiers_parts_are_made_for_each_member():
    runs = train_many(
        Trainer,
        make_model,
        PAIRS,
        PAIRS,
        nn.CrossEntropyLoss(),
        new_optimizer,
        "cpu",
        scheduler=new_schedule,
        seeds=2,
        sweep={"learning_rate": [0.1, 0.01]},
        epochs=2,
        batch_size=8,
    )
    assert runs.metric == "val_accuracy"
    assert runs.mode("val_accuracy") == "max"
    set_seed(1)
    model = make_model()
    optimizer = new_optimizer(model, 0.01)
    trainer = Trainer(
        model,
        PAIRS,
        PAIRS,
        nn.CrossEntropyLoss(),
        optimizer,
        "cpu",
        scheduler=new_schedule(optimizer),
        seed=1,
        batch_size=8,
        experiment="alone",
    )
    trainer.train(2)
    assert equal(saved_weights("runs/exp1/members/learning_rate=0.01_seed=1"), saved_weights("alone/exp1"))


@pytest.fixture(scope="module")
def trained_folder(tmp_path_factory):
    """Trained once for all tests that only look; each has a copy."""
    folder = tmp_path_factory.mktemp("table")
    sweep = {"hidden_dimension": [4, 16]}
    settings = {"epochs": 2, "device": "cpu", "refit": True, "together": False}
    train_many(train_on_table, TABLE, "kind", folds=2, sweep=sweep, experiment=folder, **settings)
    return folder


@pytest.fixture
def table_runs(trained_folder):
    shutil.copytree(trained_folder, "runs")
    return Runs("exp1")


def test_a_tables_preprocessing_is_fitted_inside_each_fold(table_runs):
    member = next(one for one in table_runs.members if one.plan.fold == 2)
    train, _ = fold_rows(22, 2, labels=LABELS.numpy())[1]
    saved = read_checkpoint(member.folder / "checkpoints/best_model.pt")["metadata"]["table"]["preprocessor"]
    assert saved["means"].tolist() == pytest.approx(TABLE.iloc[train][list("abcdef")].mean().tolist(), rel=1e-5)
    assert saved["means"].tolist() != pytest.approx(TABLE[list("abcdef")].mean().tolist(), rel=1e-5)


def test_the_whole_answers_as_its_ensemble_and_each_member_as_itself(table_runs):
    member = "runs/exp1/members/hidden_dimension=4_seed=0_fold=1"
    own, whole = predict(member, TABLE, device="cpu"), predict("exp1", TABLE, device="cpu")
    assert own.columns == whole.columns
    best = [one for one in table_runs.of() if one.outcome]
    mean = sum(predict(str(one.folder), TABLE, device="cpu")["p_yes"].to_numpy() for one in best) / len(best)
    assert whole["p_yes"].to_numpy() == pytest.approx(mean)
    assert 0 <= evaluate("exp1", TABLE, device="cpu")["accuracy"] <= 100
    with pytest.raises(ValueError, match="holds many runs"):
        evaluate("exp1", device="cpu")
    assert table_runs.ensemble_measures()["rows"] == 22


def test_the_refit_is_on_all_rows_for_as_long_as_the_folds_were_best_after(table_runs):
    epochs = [one.outcome.best_epoch for one in table_runs.of()]
    contents = read_checkpoint("runs/exp1/refit/checkpoints/latest_checkpoint.pt")
    assert contents["epoch"] == round(sum(epochs) / len(epochs))
    means = contents["metadata"]["table"]["preprocessor"]["means"]
    assert means.tolist() == pytest.approx(TABLE[list("abcdef")].mean().tolist(), rel=1e-5)
    assert len(predict("runs/exp1/refit", TABLE, device="cpu")) == 22


def test_the_results_are_files_and_are_read_again(table_runs):
    folder = Path("runs/exp1")
    assert {path.name for path in folder.glob("*.csv")} == {
        *("members.csv", "table.csv", "comparisons.csv", "out_of_fold.csv", "averaged.csv")
    }
    facts = json.loads((folder / "summary.json").read_text())
    assert facts["best_setting"] == table_runs.best_setting
    assert len(facts["members"]) == 4
    again = Runs("exp1")
    assert again.table().equals(table_runs.table())
    assert again.predictions.equals(table_runs.predictions)
    assert len(pd.read_csv(folder / "out_of_fold.csv")) == 2 * 22
    assert repr(again) == "Runs(4 members, 4 finished, in runs/exp1)"
    assert list_experiments("runs") == ["exp1"]  # its members are inside


def test_a_member_is_taken_out_and_goes_on_by_itself(table_runs):
    out = table_runs.take_out("hidden_dimension=4_seed=0_fold=1")
    assert out.experiment_dir == "runs/exp2"
    before = saved_weights("runs/exp1/members/hidden_dimension=4_seed=0_fold=1", "latest_checkpoint.pt")
    settings = {"epochs": 4, "device": "cpu", "verbose": False, "fold": (1, 2), "hidden_dimension": 4}
    result = train_on_table(TABLE, "kind", experiment=out, seed=0, split_seed=0, **settings)
    assert result["epochs_trained"] == 4
    assert equal(before, saved_weights("runs/exp1/members/hidden_dimension=4_seed=0_fold=1", "latest_checkpoint.pt"))
    with pytest.raises(ValueError, match="one that was started; got 'seed=9'"):
        table_runs.take_out("seed=9")


def test_a_whole_that_was_stopped_goes_on_to_the_same_bits(monkeypatch, capsys):
    settings = {"seeds": 3, **ADVANCED}
    monkeypatch.setattr(StopAt, "count", 0)
    monkeypatch.setattr(StopAt, "cut", 9)  # each member has 6
    with pytest.raises(Stopped):
        train_many(train_model_advanced, make_model, PAIRS, PAIRS, handlers=[StopAt()], **settings)
    runs = Runs("exp1")
    assert [one.state for one in runs.members] == ["finished", "begun", "missing"]
    finished = Path("runs/exp1/members/seed=0/checkpoints/latest_checkpoint.pt")
    written = finished.stat().st_mtime_ns
    capsys.readouterr()
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, experiment="runs/exp1", **settings)
    assert finished.stat().st_mtime_ns == written  # what has ended is not trained again
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["2/3 seed=1", "3/3 seed=2"]
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, experiment="straight", **settings)
    for seed in range(3):
        for file in ("best_model.pt", "latest_checkpoint.pt"):
            folders = [f"{base}/exp1/members/seed={seed}" for base in ("runs", "straight")]
            assert equal(*(saved_weights(folder, file) for folder in folders))
    assert Runs("runs/exp1").table().equals(Runs("straight/exp1").table())


def test_seeds_and_epochs_are_added_and_nothing_may_be_left_out():
    settings = {"seeds": 1, **ADVANCED}
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, **settings)
    more = {**settings, "seeds": 2, "epochs": 3}
    runs = train_many(train_model_advanced, make_model, PAIRS, PAIRS, experiment="runs/exp1", **more)
    assert [one.outcome.epochs_trained for one in runs.members] == [3, 3]
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, experiment="straight", **more)
    assert equal(saved_weights("runs/exp1/members/seed=0"), saved_weights("straight/exp1/members/seed=0"))
    for wrong, said in [
        ({"seeds": [1]}, "'seed=0' would be left out"),
        ({"folds": 2, "seeds": 2}, "its folds is None"),
    ]:
        data = [PAIRS] if "folds" in wrong else [PAIRS, PAIRS]
        with pytest.raises(ValueError, match=said):
            train_many(train_model_advanced, make_model, *data, experiment="runs/exp1", **{**more, **wrong})
    assert ExperimentManager("runs", resume_exp="exp1").settings()["seeds"] == [0, 1]


def test_a_member_that_fails_is_told_of_and_the_others_are_whole(caplog):
    def diverging(width=4, scale=1.0):
        model = make_model(width)
        with torch.no_grad():
            model[-1].weight.mul_(scale)
        return model

    sweep = {"scale": [float("inf"), 1.0]}
    runs = train_many(train_model_advanced, diverging, PAIRS, PAIRS, seeds=2, sweep=sweep, **ADVANCED)
    assert [one.state for one in runs.members] == ["failed", "finished", "failed", "finished"]
    assert "the loss is nan" in runs.members[0].error
    assert "scale=inf_seed=0 failed, the others are complete" in caplog.text
    assert runs.best_setting == "scale=1"
    assert runs.compare()["verdict"].to_list() == ["not comparable: no seed in common"]
    assert Runs("exp1").members[2].error == runs.members[2].error


def test_if_all_fail_it_is_the_first_error_that_is_raised():
    def diverging():
        model = make_model()
        nn.init.constant_(model[-1].bias, float("nan"))
        return model

    with pytest.raises(FloatingPointError, match="the loss is nan"):
        train_many(train_model_advanced, diverging, PAIRS, PAIRS, seeds=2, **ADVANCED)


def test_a_function_of_ones_own_trains_by_what_it_is_handed():
    def train(rate, *, seed, experiment):
        set_seed(seed)
        return train_model_advanced(
            make_model(), PAIRS, PAIRS, learning_rate=rate, seed=seed, experiment=experiment, verbose=False, **ADVANCED
        )

    runs = train_many(train, seeds=2, sweep={"rate": [0.1, 0.01]})
    assert len(runs.finished) == 4
    assert runs.recipe == "train"
    again = train_many(train, seeds=2, sweep={"rate": [0.1, 0.01]}, experiment="runs/exp1")
    assert again.table().equals(runs.table())


def test_what_a_training_changes_is_a_copy_for_each_member():
    class Counter:
        attached = 0

        def attach(self, trainer):
            self.attached += 1

    counter, made = Counter(), []
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=2, handlers=[counter], **ADVANCED)
    assert counter.attached == 0

    def handlers(member):
        made.append(member.name)
        return [Counter()]

    train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=2, handlers=handlers, **ADVANCED)
    assert made == ["seed=0", "seed=0", "seed=1"]  # the first is the trial that finds mistakes


def test_progress_is_a_line_a_member(capsys):
    train_many(train_model_advanced, make_model, PAIRS, PAIRS, seeds=2, **ADVANCED)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["1/2 seed=0", "2/2 seed=1"]


def of_model(**settings):
    return lambda: train_many(train_model_advanced, make_model, PAIRS, PAIRS, **{**ADVANCED, **settings})


MISTAKES = {
    "a model and not a function": (
        lambda: train_many(train_model_advanced, make_model(), PAIRS, PAIRS, **ADVANCED),
        TypeError,
        "given a function that makes the model.*pass lambda: Sequential",
    ),
    "a function that makes no model": (
        lambda: train_many(train_model_advanced, lambda: 3, PAIRS, PAIRS, **ADVANCED),
        TypeError,
        "must give a torch.nn.Module; got int",
    ),
    "an unknown setting is swept": (of_model(sweep={"learnin_rate": [1]}), ValueError, "did you mean 'learning_rate'"),
    "a setting is swept and given": (of_model(sweep={"epochs": [1]}), ValueError, "epochs is swept, and given as 2"),
    "a bad value late in the sweep": (of_model(sweep={"learning_rate": [0.1, -1]}), ValueError, "got -1"),
    "a seed": (of_model(seed=3), ValueError, "seed is not for train_many"),
    "a folder of checkpoints": (of_model(checkpoint_dir="x"), ValueError, "checkpoint_dir is not for train_many"),
    "the seed is swept": (of_model(sweep={"seed": [3]}), ValueError, "seed cannot be swept"),
    "folds and validation data": (of_model(folds=2), ValueError, "got a val_loader too"),
    "groups without folds": (of_model(group=[1]), ValueError, "group is for folds"),
    "refit without folds": (of_model(refit=True), ValueError, "refit is for folds"),
    "an option that there is not": (of_model(bogus=1), TypeError, "has no option 'bogus'"),
    "folds of a loader": (
        lambda: train_many(train_model_advanced, make_model, [PAIRS], folds=2, epochs=1),
        ValueError,
        "folds are of rows",
    ),
    "groups of another length": (
        lambda: train_many(train_model_advanced, make_model, PAIRS, folds=2, group=[1, 2], epochs=1),
        ValueError,
        "a value for each of the 22 rows",
    ),
    "too many folds": (
        lambda: train_many(train_model_advanced, make_model, PAIRS, folds=23, epochs=1),
        ValueError,
        "23 folds need at least as many rows; got 22",
    ),
    "a table's mistake": (
        lambda: train_many(train_on_table, TABLE, "kin", seeds=2),
        ValueError,
        "did you mean 'kind'",
    ),
    "a table's split and folds": (
        lambda: train_many(train_on_table, TABLE, "kind", folds=2, val_data=TABLE),
        ValueError,
        "val_data is one split",
    ),
    "an optimizer and not a function": (
        lambda: train_many(
            Trainer, make_model, PAIRS, PAIRS, nn.CrossEntropyLoss(), new_optimizer(make_model()), "cpu", epochs=1
        ),
        TypeError,
        "optimizer must be a function that makes one",
    ),
    "a classifier without an end": (
        lambda: train_many(Trainer, make_model, PAIRS, PAIRS, nn.CrossEntropyLoss(), new_optimizer, "cpu"),
        TypeError,
        "the number of epochs: add epochs=20",
    ),
    "a refit of what must validate": (
        lambda: train_many(
            Trainer, make_model, PAIRS, None, nn.CrossEntropyLoss(), new_optimizer, "cpu", epochs=1, folds=2, refit=True
        ),
        ValueError,
        "refit needs a recipe that trains without validation data",
    ),
    "no recipe": (lambda: train_many(3), TypeError, "recipe must be a function that trains"),
    "a function that takes no seed": (lambda: train_many(lambda x: x), TypeError, "must take seed, experiment"),
    "a function that trains elsewhere": (
        lambda: train_many(lambda *, seed, experiment: None, seeds=2),
        ValueError,
        "has trained nothing in the experiment that it was handed",
    ),
    "series too short": (
        lambda: train_many(trainModel, {}, WINDOWS, folds=6, device="cpu"),
        ValueError,
        "too short for 6 folds|at least",
    ),
    "an experiment that there is not": (of_model(experiment="exp9"), FileNotFoundError, "no experiment 'exp9'"),
}


@pytest.mark.parametrize(("call", "kind", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_told_before_anything_is_trained_and_leaves_nothing(call, kind, said):
    with pytest.raises(kind, match=said):
        call()
    assert not list_experiments("runs")
    assert not [path for path in Path().rglob("*") if path.is_file()]


def test_an_experiment_of_one_run_is_not_continued_as_many():
    train_model_advanced(make_model(), PAIRS, PAIRS, verbose=False, experiment="runs", **ADVANCED)
    with pytest.raises(RuntimeError, match="holds the results of a run already"):
        of_model(experiment="runs/exp1")()
    with pytest.raises(ValueError, match="holds no members"):
        Runs("exp1")


def test_rows_of_a_data_set_are_fetched_by_one_index():
    fetched = []

    class Rows(torch.utils.data.Dataset):
        def __init__(self):
            self.settings = {}

        def __getitems__(self, indices):
            fetched.append(indices)
            return torch.tensor(indices)

    rows = RowsOf(Rows(), np.array([5, 3, 9]))
    assert rows.__getitems__([2, 0]).tolist() == [9, 5]
    assert (len(rows), fetched) == (3, [[9, 5]])

"""Metrics in every recipe: in its history, its files and its result; any of them may decide, everywhere the same."""

import math
from pathlib import Path

import polars as pl
import pytest
import torch
from ignite.engine import Engine
from ignite.metrics import Accuracy, ConfusionMatrix
from sklearn.metrics import f1_score, mean_absolute_error, r2_score
from support.equality import equal
from support.models import perceptron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    ExperimentManager,
    LearningRateScheduler,
    Trainer,
    TrainingLog,
    Validation,
    VariationalAutoencoder,
    getDefaultModelParams,
    make_traffic_windows,
    read_checkpoint,
    read_training_log,
    train_model_advanced,
    train_on_table,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.recipes.assembly import ProgressBar

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

G = torch.Generator().manual_seed(0)
X = torch.randn(48, 6, generator=G)
LABELS = (X[:, 0] + 0.8 * torch.randn(48, generator=G) > 0).long()
TRAIN, VAL = TensorDataset(X[:32], LABELS[:32]), TensorDataset(X[32:], LABELS[32:])
BITS = (X > 0).float()
FLAGS = (torch.rand(60, generator=G) > 0.5).float()
WINDOWS = make_traffic_windows(torch.rand(60, 2, generator=G), FLAGS, 6, 3)


def supervised(epochs, *, folder="kept", model=None, val=VAL, criterion=None, train=TRAIN, **settings):
    model = perceptron(6, 8, 2, dropout=0.2) if model is None else model
    val_loader = None if val is None else DataLoader(val, 5)
    settings = {"seed": 1, "verbose": False, "learning_rate": 0.02, "early_stop_patience": None, **settings}
    result = train_model_advanced(
        model, DataLoader(train, 8, shuffle=True), val_loader, criterion, epochs, checkpoint_dir=folder, **settings
    )
    del result["training_time"]
    return {**result, "weights": dict(model.state_dict())}


def vae(epochs, *, folder="kept", **settings):
    torch.manual_seed(0)
    model = VariationalAutoencoder(6, 2, 8)
    settings = {"seed": 1, "print_every": None, "learning_rate": 0.02, "patience": 20, **settings}
    loaders = DataLoader(BITS[:32], 8, shuffle=True), DataLoader(BITS[32:], 5)
    history = train_variational_autoencoder(model, *loaders, epochs, checkpoint_dir=folder, save_every=1, **settings)
    return {"history": history, "weights": dict(model.state_dict())}


def table(epochs, *, folder="kept", **settings):
    settings = {"seed": 1, "verbose": False, "device": "cpu", "early_stop_patience": None, **settings}
    result = train_on_table(X, LABELS, epochs=epochs, checkpoint_dir=folder, batch_size=8, **settings)
    kept = ("history", "best_val_loss", "best_epoch", "stopped_early", "report")
    found = {name: result[name] for name in result if name in kept or name.startswith("best_val_")}
    return {**found, "weights": dict(result["model"].state_dict())}


def traffic(epochs, *, folder="kept", **settings):
    p = getDefaultModelParams(6, 3, WINDOWS, batch_size=8)
    p |= {"num_epochs": epochs, "hidden_size": 8, "num_layers": 1, "checkpoint_dir": folder, "seed": 1}
    model, history, info = trainModel(p, WINDOWS, WINDOWS, False, device="cpu", **settings)
    return {"history": history, **info, "weights": dict(model.state_dict())}


def classifier(epochs, *, folder="kept", resume_from=None, **settings):
    experiment = ExperimentManager(folder, resume_exp=None if resume_from is None else "exp1")
    model = perceptron(6, 8, 2, dropout=0.2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    trainer = Trainer(
        model, DataLoader(TRAIN, 8, shuffle=True), DataLoader(VAL, 5), nn.CrossEntropyLoss(), optimizer, "cpu",
        experiment, CheckpointManager(experiment.checkpoints_dir), **{"seed": 1, **settings},
    )  # fmt: skip
    result = trainer.train(epochs)
    kept = {name: value for name, value in result.items() if name not in ("training_time", "epochs_trained")}
    return {**kept, "weights": dict(model.state_dict())}


CHECKPOINTS = "kept/exp1/checkpoints"
RECIPES = {
    "supervised": (supervised, "f1", "kept/model_latest.pt", "kept/model_best.pt"),
    "vae": (vae, "balanced_accuracy", "kept/checkpoint_epoch_{}.pt", None),
    "table": (table, "f1", "kept/model_latest.pt", "kept/model_best.pt"),
    "traffic": (traffic, "classification_f1", "kept/checkpoint_epoch_{}.pt", "kept/best_model.pt"),
    "classifier": (classifier, "f1", f"{CHECKPOINTS}/latest_checkpoint.pt", f"{CHECKPOINTS}/best_model.pt"),
}


def size(outputs, targets):
    """A metric that fits every recipe: how many samples there are, in a matrix."""
    return torch.tensor(0.5)


class Matrix:
    """A metric that is no number, and has a number beside it."""

    def reset(self):
        self.calls = 0

    def update(self, outputs, targets):
        self.calls += 1

    def compute(self):
        return {"cells": torch.eye(2) * self.calls, "calls": self.calls}


@pytest.mark.parametrize("name", RECIPES)
def test_a_monitored_metric_decides_on_the_best_epoch_its_weights_its_file_and_the_end(name):
    recipe, metric, _, best_file = RECIPES[name]
    log = TrainingLog("log.csv")
    settings = {"early_stop_patience": 3} if name in ("supervised", "table") else {"patience": 3}
    if name == "traffic":
        settings = {}
    result = recipe(12, metrics=[metric], monitor=f"val_{metric}", handlers=[log], **settings)
    values = result["history"][f"val_{metric}"]
    assert len(set(values)) > 1
    best = 1 + max(range(len(values)), key=values.__getitem__)
    assert read_training_log("log.csv")[f"val_{metric}"] == values
    if best_file is not None:
        assert read_checkpoint(best_file)["epoch"] == best
        assert result["best_epoch"] == best
        assert result[f"best_val_{metric}"] == max(values)
        assert equal(read_checkpoint(best_file)["model_state_dict"], result["weights"])
    else:
        assert equal(read_checkpoint(f"kept/checkpoint_epoch_{best}.pt")["model_state_dict"], result["weights"])
    assert len(values) == (12 if len(values) == 12 else best + (10 if name == "traffic" else 3))
    lowest = result["history"]["val_loss"].index(min(result["history"]["val_loss"])) + 1
    assert name not in ("supervised", "table", "vae") or best != lowest  # or it might be the loss that decides


@pytest.mark.parametrize("name", RECIPES)
def test_a_resumed_run_equals_the_uninterrupted_one(name):
    recipe, metric, latest, _ = RECIPES[name]
    settings = {"metrics": {metric: metric, "other": Matrix()}, "monitor": f"val_{metric}"}
    whole = recipe(6, folder="whole", **settings)
    recipe(3, **settings)
    resumed = recipe(6, resume_from=latest.format(3), **settings)
    whole.pop("experiment_dir", None)
    resumed.pop("experiment_dir", None)
    assert first_difference(whole, resumed) is None
    assert whole["history"]["val_other_calls"] == [whole["history"]["val_other_calls"][0]] * 6


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_no_number_is_in_the_report_of_the_best_epoch_and_is_said_once(name, caplog):
    recipe, metric, latest, best_file = RECIPES[name]
    log = TrainingLog("log.csv")
    result = recipe(4, metrics={metric: metric, "other": Matrix()}, monitor=f"val_{metric}", handlers=[log])
    columns = read_training_log("log.csv")
    assert "val_other_cells" not in columns
    assert columns["val_other_calls"] == result["history"]["val_other_calls"]
    assert len([text for text in caplog.messages if "'val_other_cells' is not a number but a Tensor" in text]) == 1
    last = read_checkpoint(latest.format(4))["report"]
    assert last["epoch"] == 4
    assert torch.equal(last["val_other_cells"], torch.eye(2) * columns["val_other_calls"][0])
    if best_file is not None:
        assert result["report"]["epoch"] == result["best_epoch"] == read_checkpoint(best_file)["report"]["epoch"]


def test_the_values_are_those_of_the_models_outputs_and_of_the_targets(capsys):
    metrics = {"f1": "f1", "share": Accuracy(), "wrong": lambda outputs, y: outputs.argmax(1) != y}
    model = perceptron(6, 8, 2)
    result = supervised(3, model=model, metrics=metrics, monitor="val_share", mode="max", verbose=True)
    best = result["best_epoch"] - 1
    with torch.no_grad():
        guesses = model(X[32:]).argmax(1)
    assert result["history"]["val_f1"][best] == pytest.approx(f1_score(LABELS[32:], guesses))
    share = (guesses == LABELS[32:]).float().mean().item()
    assert (result["best_val_share"], result["best_val_wrong"]) == pytest.approx((share, 1 - share))
    assert f"val f1 {result['history']['val_f1'][0]:.4g} | val share" in capsys.readouterr().out


def test_accuracy_by_name_is_what_the_recipe_measures_anyway(capsys):
    plain, named = supervised(3), supervised(3, metrics="f1,accuracy", verbose=True)
    assert named["history"]["val_accuracy"] == plain["history"]["val_accuracy"]
    assert equal(named["weights"], plain["weights"])
    assert capsys.readouterr().out.count("val accuracy") == 3


def test_without_a_monitor_the_loss_decides_as_ever():
    plain, measured = supervised(5), supervised(5, metrics=["f1", "auroc"])
    assert first_difference(plain, {name: measured[name] for name in plain} | {"history": plain["history"]}) is None


def test_best_val_loss_is_of_the_best_epoch_whatever_decides():
    result = supervised(6, metrics=["f1"], monitor="val_f1")
    assert result["best_val_loss"] == result["history"]["val_loss"][result["best_epoch"] - 1]
    result = classifier(6, folder="other", metrics=["f1"], monitor="val_f1")
    assert result["best_accuracy"] == result["history"]["val_accuracy"][result["best_epoch"] - 1]


@pytest.mark.parametrize(("monitor", "mode"), [("train_loss", None), ("val_accuracy", "max"), ("train_accuracy", None)])
def test_what_the_recipe_measures_anyway_may_decide_too(monitor, mode):
    result = supervised(6, monitor=monitor, mode=mode)
    values = result["history"][monitor]
    assert values[result["best_epoch"] - 1] == (min if monitor == "train_loss" else max)(values)


def test_a_plateau_schedule_watches_the_monitor_in_its_direction():
    constant = {"steady": lambda outputs, targets: 1.0}
    result = supervised(20, metrics=constant, monitor="val_steady", mode="max", scheduler_type="plateau")
    assert result["history"]["learning_rate"][7:9] == [0.01, 0.01]  # after six epochs without a larger one

    def rising(outputs, targets):
        rising.count += 1
        return float(rising.count)

    rising.count = 0
    result = supervised(20, metrics={"rising": rising}, monitor="val_rising", mode="max", scheduler_type="plateau")
    assert set(result["history"]["learning_rate"]) == {0.02}
    assert result["best_epoch"] == 20


def test_a_classifiers_schedule_has_the_monitors_direction_or_is_refused():
    model = perceptron(6, 8, 2)
    optimizer = torch.optim.Adam(model.parameters())

    def make(mode, **settings):
        schedule = LearningRateScheduler(optimizer, "plateau", mode=mode)
        loaders = DataLoader(TRAIN, 8), DataLoader(VAL, 5)
        return Trainer(
            model, *loaders, nn.CrossEntropyLoss(), optimizer, "cpu", ExperimentManager(), None, schedule, **settings
        )

    assert make("max", metrics=["f1"], monitor="val_f1").engine.watched == ("val_f1", "max")
    assert make("min", metrics=["f1"]).engine.watched == ("val_loss", "min")
    with pytest.raises(ValueError, match="plateau schedule must have the direction of monitor='val_f1', mode='max'"):
        make("min", metrics=["f1"], monitor="val_f1")


MATRIX = {"cells": ConfusionMatrix(2)}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor": "val_f1"}, r"must be one of train_loss, val_loss, .*; got 'val_f1': measure it too, metrics="),
        ({"monitor": "f1", "metrics": ["f1"]}, "got 'f1'; did you mean 'val_f1'"),
        ({"monitor": "val_los"}, "got 'val_los'; did you mean 'val_loss'"),
        ({"monitor": "xyzzy"}, "must be one of train_loss, val_loss, train_accuracy, val_accuracy; got 'xyzzy'$"),
        ({"monitor": "val_loss", "val": None}, "monitor='val_loss' is measured on validation data; got none: pass a"),
        ({"metrics": ["f1"], "val": None}, "metrics are measured on validation data; got none"),
        ({"monitor": "val_s", "metrics": {"s": Accuracy()}}, "must come with its direction: mode='min' or mode="),
        ({"monitor": "val_f1", "metrics": ["f1"], "mode": "min"}, "is better when it is larger; got mode='min'"),
        ({"mode": "max"}, "'val_loss', which decides without a monitor, is better when it is smaller; got mode='max'"),
        ({"monitor": "val_loss", "mode": "up"}, "mode must be one of min, max; got 'up'"),
        ({"metrics": {"loss": Accuracy()}}, "must not be named 'loss'"),
        ({"metrics": {"accuracy": Accuracy()}}, "must not be named 'accuracy'"),
        ({"metrics": ["f2"]}, "got 'f2'; did you mean 'f1'|got 'f2'"),
    ],
)  # fmt: skip
def test_what_cannot_decide_is_refused_before_anything_is_trained(settings, message):
    model = perceptron(6, 8, 2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(ValueError, match=message):
        supervised(2, model=model, **settings)
    assert equal(before, dict(model.state_dict()))
    assert not Path("kept").exists()


def test_handlers_that_are_no_list_are_refused_in_their_own_words():
    with pytest.raises(TypeError, match="handlers must be a list of handlers; got None"):
        supervised(1, monitor="val_loss", handlers=None)


def test_accuracy_is_no_monitor_where_targets_are_numbers():
    numbers = TensorDataset(X, X[:, :1])
    with pytest.raises(ValueError, match="monitor='val_accuracy' is measured where targets are classes"):
        supervised(2, model=perceptron(6, 8, 1), train=numbers, val=numbers, monitor="val_accuracy")


def test_the_entry_of_a_dict_may_decide_and_one_that_never_comes_is_said():
    settings = {"metrics": {"other": Matrix()}, "mode": "max"}
    assert supervised(2, monitor="val_other_calls", **settings)["best_epoch"] == 1
    with pytest.raises(RuntimeError, match=r"'val_other_call' must be in state.metrics.*val_other_calls"):
        supervised(2, monitor="val_other_call", **settings)


def test_what_a_validation_among_the_handlers_measures_may_decide():
    evaluator = Engine(lambda engine, batch: None)
    evaluator.state.metrics = {"score": 1.0}
    other = Validation(evaluator, [0], prefix="other_")
    result = supervised(3, monitor="other_score", mode="max", handlers=[other])
    assert result["best_epoch"] == 1


def test_a_metric_that_fails_while_it_decides_loses_nothing(caplog):
    result = supervised(4, metrics={"bad": lambda o, t: 1 / 0}, monitor="val_bad", mode="max", early_stop_patience=3)
    assert all(map(math.isnan, result["history"]["val_bad"]))
    assert (result["best_epoch"], result["stopped_early"]) == (None, True)
    assert math.isnan(result["best_val_bad"])
    assert Path("kept/model_latest.pt").exists()
    assert "ZeroDivisionError" in caplog.text


def test_a_resume_with_another_monitor_is_refused_and_with_other_metrics_is_not():
    supervised(2, metrics=["f1"])
    latest = "kept/model_latest.pt"
    with pytest.raises(ValueError, match="monitor is 'val_f1', the run's is None"):
        supervised(4, metrics=["f1"], monitor="val_f1", resume_from=latest)
    result = supervised(4, metrics=["auroc"], resume_from=latest)
    assert [math.isnan(value) for value in result["history"]["val_auroc"]] == [True, True, False, False]
    assert [math.isnan(value) for value in result["history"]["val_f1"]] == [False, False, True, True]


def test_the_bar_shows_the_metrics(monkeypatch):
    shown = []
    monkeypatch.setattr(ProgressBar, "attach", lambda self, trainer: shown.append(self.metrics))
    supervised(1, metrics=["f1", "accuracy"], progress=True)
    assert shown == [("train_loss", "val_loss", "val_f1")]


@pytest.mark.parametrize(
    ("criterion", "outputs"), [(nn.BCEWithLogitsLoss(), []), (nn.BCELoss(), [nn.Sigmoid()])], ids=["logits", "chances"]
)
def test_one_output_is_a_logit_or_a_probability_as_the_criterion_has_it(criterion, outputs):
    floats = [TensorDataset(data.tensors[0], data.tensors[1].float()[:, None]) for data in (TRAIN, VAL)]
    model = nn.Sequential(perceptron(6, 8, 1), *outputs)
    result = supervised(
        8, model=model, train=floats[0], val=floats[1], criterion=criterion, metrics=["accuracy", "f1"],
        monitor="val_accuracy",
    )  # fmt: skip
    with torch.no_grad():
        guesses = model(X[32:])[:, 0] > (0.5 if outputs else 0.0)
    assert result["best_val_accuracy"] == pytest.approx(100 * (guesses == LABELS[32:]).double().mean().item())
    assert result["best_val_f1"] == pytest.approx(f1_score(LABELS[32:], guesses))
    assert 0 < guesses.sum() < 16


def test_numbers_of_a_table_are_measured_in_the_targets_own_units():
    y = 1000 + 50 * X[:, :2].sum(1).double()
    frame = pl.DataFrame({"a": X[:, 0].numpy(), "b": X[:, 1].numpy(), "y": y.numpy()})
    error = lambda outputs, targets: (outputs - targets).abs()[:, 0]  # noqa: E731
    result = train_on_table(
        frame, "y", epochs=5, device="cpu", seed=0, verbose=False, metrics={"mae": "mae", "r2": "r2", "own": error},
        val_data=frame, monitor="val_r2",
    )  # fmt: skip
    guesses = result["predictor"].predict(frame)["prediction"].to_numpy()
    assert result["best_val_mae"] == pytest.approx(mean_absolute_error(y, guesses), rel=1e-5)
    assert result["best_val_own"] == pytest.approx(result["best_val_mae"], rel=1e-9)
    assert result["best_val_r2"] == pytest.approx(r2_score(y, guesses), rel=1e-4)


def test_what_a_vaes_metrics_are_given():
    seen = []

    def look(outputs, targets):
        seen.append((outputs, targets))
        return (outputs - targets).abs().mean(1)

    vae(1, metrics={"error": look, "f1": "f1"})
    assert torch.equal(torch.cat([targets for _, targets in seen]), BITS[32:])
    assert all(((outputs > 0) & (outputs < 1)).all() for outputs, _ in seen)


def test_what_the_metrics_of_traffic_are_given():
    seen = {}

    def look(name):
        def of(outputs, targets):
            seen[name] = outputs, targets
            return 0.0

        return of

    names = ["traffic_a", "classification_b", "transmission_c", "context_d", "all"]
    traffic(1, metrics={name: look(name) for name in names} | {"transmission_auroc": "transmission_auroc"})
    rows = len(WINDOWS.sources) % 8 or 8
    shapes = {name: [tuple(part.shape) for part in pair] for name, pair in seen.items() if name != "all"}
    assert shapes == {
        "traffic_a": [(rows, 1), (rows, 1)],
        "classification_b": [(rows, 4), (rows,)],
        "transmission_c": [(rows, 3), (rows, 3)],
        "context_d": [(rows, 3, 2), (rows, 3, 2)],
    }
    outputs, targets = seen["all"]
    assert torch.equal(targets.traffic, seen["traffic_a"][1])
    assert torch.equal(outputs.path, seen["context_d"][0])
    with pytest.raises(ValueError, match=r"is of one output: traffic_f1, classification_f1, .*got 'f1'"):
        traffic(1, folder="b", metrics=["f1"])
    with pytest.raises(ValueError, match="must not be named 'traffic'"):
        traffic(1, folder="b", metrics={"traffic": look("x")})


def test_a_classifiers_validate_gives_the_metrics_too():
    model = perceptron(6, 8, 2)
    trainer = Trainer(
        model, DataLoader(TRAIN, 8), DataLoader(VAL, 5), nn.CrossEntropyLoss(),
        torch.optim.Adam(model.parameters()), "cpu", ExperimentManager(), metrics={"f1": "f1"},
    )  # fmt: skip
    metrics, _ = trainer.validate()
    with torch.no_grad():
        assert metrics["f1"] == pytest.approx(f1_score(LABELS[32:], model(X[32:]).argmax(1)))
    assert {"loss", "accuracy", "total_samples"} <= metrics.keys()

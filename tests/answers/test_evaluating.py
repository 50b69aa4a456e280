"""Measures are those of the training's validation, and scikit-learn's."""

import math

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn import metrics
from support.commands import run
from support.experiments import NAMES
from support.tables import mixed_table
from torch.utils.data import TensorDataset

from ignite_recipes import (
    DatasetRegistry,
    evaluate,
    multilayer_perceptron,
    predict,
    read_training_log,
    report,
    train_model_advanced,
)
from ignite_recipes.answers.measured import bootstrap
from ignite_recipes.answers.report_classes import calibration, confusions, per_class
from ignite_recipes.answers.report_windows import window_measures
from ignite_recipes.models.measures import NUMBER_MEASURES, class_measures, measured

LOGGED = {"supervised": {"val_accuracy": "accuracy", "val_loss": "log_loss"}, "classify": {"val_accuracy": "accuracy"}}
LOGGED["classes"] = LOGGED["supervised"]


@pytest.mark.parametrize("of", LOGGED)
def test_the_measures_of_the_validation_data_are_those_of_the_best_epoch(of, runs):
    found = evaluate(NAMES[of], runs_dir=runs, device="cpu")
    log = read_training_log(runs / NAMES[of] / "training_log.csv")
    best = np.argmin(log["val_loss"]) if of != "classify" else np.argmax(log["val_accuracy"])
    for column, name in LOGGED[of].items():
        assert found[name] == pytest.approx(log[column][best], rel=1e-5)


def test_the_measures_of_traffic_are_those_that_the_training_printed(runs, capsys):
    found = evaluate("exp2", runs_dir=runs, device="cpu")
    assert set(found) == {"traffic_mse", "accuracy", "kappa", "precision", "recall", "f1"}
    code, out, _ = run(capsys, "evaluate", "exp2", "--runs-dir", str(runs), "--device", "cpu")
    assert code == 0
    assert f"kappa        {found['kappa']:.4g}\n" in out


def test_the_losses_of_a_vae_are_near_those_of_the_training(runs):
    found = evaluate("exp1", runs_dir=runs, device="cpu")
    log = read_training_log(runs / "exp1" / "training_log.csv")
    assert found["loss"] == pytest.approx(min(log["val_loss"]), rel=0.05)  # another draw of the latent samples
    assert found["kl_loss"] == pytest.approx(log["val_kl_loss"][int(np.argmin(log["val_loss"]))], rel=1e-4)


def test_a_vae_is_measured_by_its_likelihood_and_its_latent_space_if_asked(runs, capsys):
    plain = evaluate("exp1", runs_dir=runs, device="cpu")
    assert list(plain) == ["loss", "recon_loss", "kl_loss"]
    found = evaluate("exp1", runs_dir=runs, device="cpu", importance_samples=50)
    assert {name: found[name] for name in plain} == plain
    assert found["nll"] < found["loss"]  # a tighter bound
    assert 0 < found["nll_sampling_error"] < found["nll_standard_error"]
    divergences = [value for name, value in found.items() if name.startswith("kl_z")]
    assert sum(divergences) == pytest.approx(found["kl_loss"], rel=1e-4)
    assert found["mutual_information"] + found["marginal_kl"] == pytest.approx(found["kl_loss"], rel=1e-4)
    assert found["active_units"] in range(len(divergences) + 1)
    options = ("--importance-samples", "50", "--runs-dir", str(runs), "--device", "cpu")
    code, out, _ = run(capsys, "evaluate", "exp1", *options)
    assert code == 0
    assert f"{found['nll']:.4g} nats per vector" in out
    assert "latent dimensions" in out
    code, _, err = run(capsys, "evaluate", "exp2", *options)
    assert code == 2
    assert "variational autoencoder" in err
    assert err.count("\n") == 1


def test_a_table_is_measured_on_the_rows_whose_target_is_known(runs):
    new = mixed_table(100, seed=9)
    half = new.with_columns(kind=pl.Series([kind if k % 2 else None for k, kind in enumerate(new["kind"])]))
    odd = new[np.arange(1, 100, 2)]
    assert evaluate("exp5", half, runs_dir=runs, device="cpu") == evaluate("exp5", odd, runs_dir=runs, device="cpu")
    guess = predict("exp5", odd, runs_dir=runs, device="cpu")["prediction"].to_list()
    assert evaluate("exp5", odd, runs_dir=runs, device="cpu")["accuracy"] == pytest.approx(
        100 * metrics.accuracy_score(odd["kind"].to_list(), guess)
    )
    given_apart = evaluate("exp5", odd.drop("kind"), odd["kind"], runs_dir=runs, device="cpu")
    assert given_apart == evaluate("exp5", odd, runs_dir=runs, device="cpu")
    given_too = evaluate("exp5", odd.with_columns(kind=pl.lit("small")), odd["kind"], runs_dir=runs, device="cpu")
    assert given_too == given_apart


def test_what_cannot_be_measured_is_refused(runs):
    with pytest.raises(ValueError, match="must have the target's column 'kind'"):
        evaluate("exp5", mixed_table(9, seed=9).drop("kind"), runs_dir=runs, device="cpu")
    with pytest.raises(ValueError, match="the true values must be known"):
        evaluate("exp4", torch.rand(3, 1, 8, 8), runs_dir=runs, device="cpu")
    assert evaluate("exp4", torch.rand(3, 1, 8, 8), [1, 2, 3], runs_dir=runs, device="cpu")["accuracy"] <= 100


def test_pictures_are_of_the_class_whose_folder_they_lie_in(runs, tmp_path, capsys):
    val = DatasetRegistry.create("digits").val
    chosen = [*range(0, 60, 3)]
    for k in chosen:
        folder = tmp_path / "photos" / str(val.labels[k].item())
        (folder / "more").mkdir(parents=True, exist_ok=True)
        pixels = (val.images[k, 0].numpy() * 255).astype("uint8")
        Image.fromarray(pixels).save(folder / ("more" if k % 2 else "") / f"{k}.png")
    found = evaluate("exp4", tmp_path / "photos", runs_dir=runs, device="cpu")
    pixels = torch.stack([(val.images[k] * 255).to(torch.uint8) for k in chosen])
    expected = evaluate("exp4", pixels, val.labels[chosen], runs_dir=runs, device="cpu")
    assert found == pytest.approx(expected)
    page = report("exp4", tmp_path / "r.html", data=tmp_path / "photos", runs_dir=runs, device="cpu").read_text()
    assert "Confusion matrix" in page
    command = ["evaluate", "exp4", "--runs-dir", str(runs), "--device", "cpu"]
    assert run(capsys, *command, str(tmp_path / "photos"))[2] == ""
    (tmp_path / "photos" / "3").rename(tmp_path / "photos" / "three")
    code, out, err = run(capsys, *command, str(tmp_path / "photos"))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "or a folder with a folder of images for each class, 0, 1, 2" in err


def outputs(draw, num_classes, count):
    truth = draw.integers(0, num_classes, count)
    chances = draw.dirichlet(np.ones(num_classes), count).round(2) + 1e-3  # rounded, so that some are equal
    return truth, chances / chances.sum(1, keepdims=True)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 5), st.integers(2, 60), st.integers(0, 999))
def test_the_measures_of_classes_are_those_of_scikit_learn(num_classes, count, seed):
    truth, chances = outputs(np.random.default_rng(seed), num_classes, count)
    chosen, labels = chances.argmax(1), range(num_classes)
    found = measured(class_measures(num_classes), truth, chances)
    occurring = np.union1d(truth, chosen)
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(truth, chosen))
    recalls = metrics.recall_score(truth, chosen, labels=np.unique(truth), average="macro", zero_division=0)
    assert found["balanced_accuracy"] == pytest.approx(100 * recalls)
    f1 = metrics.f1_score(truth, chosen, labels=occurring, average="macro", zero_division=0)
    assert found["f1"] == pytest.approx(100 * f1)
    assert found["log_loss"] == pytest.approx(metrics.log_loss(truth, chances, labels=labels))
    if num_classes == 2 and 0 < truth.mean() < 1:
        assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(truth, chances[:, 1]))
    counts = confusions(truth, chances)
    assert counts.tolist() == metrics.confusion_matrix(truth, chosen, labels=labels).tolist()
    table = np.nan_to_num(per_class(counts))
    expected = metrics.precision_recall_fscore_support(truth, chosen, labels=labels, zero_division=0)
    assert pytest.approx(np.array([100 * expected[0], 100 * expected[1], 100 * expected[2], expected[3]])) == table.T


def test_where_a_measure_is_not_defined_it_is_no_number():
    found = measured(class_measures(2), np.zeros(3, int), np.tile([0.9, 0.1], (3, 1)))
    assert math.isnan(found["roc_auc"])
    assert math.isnan(measured(NUMBER_MEASURES, np.ones(3), np.zeros(3))["r2"])


@settings(deadline=None, max_examples=20)
@given(st.integers(2, 60), st.integers(0, 999))
def test_the_measures_of_numbers_and_of_windows_are_those_of_scikit_learn(count, seed):
    draw = np.random.default_rng(seed)
    truth, guess = draw.normal(size=count), draw.normal(size=count)
    found = measured(NUMBER_MEASURES, truth, guess)
    assert found["rmse"] == pytest.approx(metrics.root_mean_squared_error(truth, guess))
    assert found["mae"] == pytest.approx(metrics.mean_absolute_error(truth, guess))
    assert found["r2"] == pytest.approx(metrics.r2_score(truth, guess))
    classes = draw.integers(0, 4, (2, count))
    rows = [np.column_stack([truth, numbers, draw.integers(0, 2, (count, 3))]) for numbers in classes]
    kappa = window_measures()["number of transmissions, kappa"](*rows)
    if len(np.unique(classes)) > 1:
        expected = metrics.cohen_kappa_score(*classes, labels=range(4), weights="quadratic")
        assert kappa == pytest.approx(expected)


def test_predictions_that_are_right_as_often_as_they_say_are_calibrated():
    draw = np.random.default_rng(0)
    chances = draw.uniform(0.5, 1, 200_000)
    truth = (draw.random(200_000) > chances).astype(int)
    found = calibration(truth, np.column_stack([chances, 1 - chances]))
    assert found.error < 0.01
    assert found.counts.sum() == 200_000
    sure = calibration(np.arange(10) % 2, np.tile([1.0, 0.0], (10, 1)))
    assert sure.error == pytest.approx(0.5)


def test_an_interval_holds_the_truth_as_often_as_it_says():
    draw = np.random.default_rng(0)
    held = 0
    for seed in range(100):
        right = (draw.random(150) < 0.8).astype(int)
        chances = np.column_stack([1 - right, right]).astype(float)
        accuracy = {"accuracy": class_measures(2)["accuracy"]}
        found = bootstrap(accuracy, np.ones(150, int), chances, resamples=200, seed=seed)["accuracy"]
        held += found.low <= 80 <= found.high
    assert 88 <= held <= 99  # of 95


def test_intervals_are_the_same_for_one_seed_and_wider_where_neighbours_are_alike():
    walk = np.random.default_rng(0).normal(size=(400, 1)).cumsum(0)[:, 0]
    error = {"mae": NUMBER_MEASURES["mae"]}
    first, again = (bootstrap(error, walk, np.zeros(400), seed=3)["mae"] for _ in range(2))
    assert first == again
    blocks = bootstrap(error, walk, np.zeros(400), block=50)["mae"]
    assert blocks.high - blocks.low > 2 * (first.high - first.low)
    assert blocks.value == first.value


def test_inputs_and_targets_may_be_given_as_the_pair_that_the_recipe_took(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = torch.rand(40, 3)
    y = x.sum(1, keepdim=True)
    settings = {"epochs": 1, "device": "cpu", "verbose": False, "experiment": "runs"}
    train_model_advanced(multilayer_perceptron(3, 1, 4), (x[:30], y[:30]), (x[30:], y[30:]), **settings)
    report("exp1", data=TensorDataset(x, y))
    assert (
        evaluate("exp1", (x, y))
        == evaluate("exp1", TensorDataset(x, y))
        == evaluate("exp1", x, y)
        == evaluate("exp1", (x.numpy(), y.numpy()))
    )

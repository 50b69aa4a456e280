"""Metrics of an evaluator are of all samples, whatever kind they are of; one that fails ends nothing."""

import copy
import math
import pickle
from itertools import pairwise

import numpy as np
import pytest
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, create_supervised_evaluator
from ignite.metrics import Accuracy, ConfusionMatrix, EpochMetric, Precision, Recall
from sklearn.metrics import confusion_matrix, f1_score
from torch import nn
from torch.nn.functional import cross_entropy

from ignite_recipes import (
    EpochAverages,
    History,
    MetricSet,
    Validation,
    create_evaluator,
    create_trainer,
    describe,
    named_metric,
)

G = torch.Generator().manual_seed(0)
X, Y = torch.randn(40, 4, generator=G), torch.randint(3, (40,), generator=G)
MODEL = nn.Linear(4, 3)
nn.init.normal_(MODEL.weight, generator=G)
with torch.no_grad():
    SCORES = MODEL(X)
GUESSES = SCORES.argmax(1)
SHARE = (GUESSES == Y).double().mean().item()


def loss_fn(model, inputs, batch):
    outputs, targets = model(inputs), batch[1]
    return {"loss": cross_entropy(outputs, targets), "outputs": outputs, "targets": targets}


def batches(*cuts):
    return [(X[a:b], Y[a:b]) for a, b in pairwise([0, *sorted(cuts), 40])]


def measure(metrics, *cuts, **settings):
    return create_evaluator(MODEL, loss_fn, metrics=metrics, **settings).run(batches(*cuts or (13, 26, 39))).metrics


class Counter:
    """A metric of the user's own, with the methods that torchmetrics' have."""

    def reset(self):
        self.count = 0

    def update(self, outputs, targets):
        self.count += len(targets)

    def compute(self):
        return self.count


def f_of(p, r):
    return (2 * p * r / (p + r)).mean()


def kinds():
    p, r = Precision(average=False), Recall(average=False)
    return {
        "f1": "f1",
        "again": "f1_score",
        "by_function": named_metric("f1"),
        "share": Accuracy(),
        "composed": f_of(p, r),
        "whole": EpochMetric(lambda outputs, targets: f1_score(targets, outputs.argmax(1), average="macro")),
        "other": torchmetrics.F1Score(task="multiclass", num_classes=3, average="macro"),
        "per_batch": lambda outputs, targets: (outputs.argmax(1) == targets).double().mean(),
        "per_sample": lambda outputs, targets: outputs.argmax(1) == targets,
        "in_python": lambda outputs, targets: float((outputs.argmax(1) == targets).double().mean()),
        "of_numpy": lambda outputs, targets: (outputs.argmax(1) == targets).numpy(),
        "as_a_module": nn.CrossEntropyLoss(),
        "own": Counter(),
    }


F1 = f1_score(Y, GUESSES, average="macro")
EXPECTED = {
    **dict.fromkeys(["f1", "again", "by_function", "composed", "whole", "other"], F1),
    **dict.fromkeys(["share", "per_batch", "per_sample", "in_python", "of_numpy"], SHARE),
    "as_a_module": cross_entropy(SCORES, Y).item(),
    "own": 40,
}


@given(st.lists(st.integers(1, 39), max_size=5, unique=True))
@settings(max_examples=10, deadline=None)
def test_every_kind_is_of_all_samples_however_they_are_batched(cuts):
    found = measure(kinds(), *cuts)
    assert found.keys() == EXPECTED.keys()
    assert found == pytest.approx(EXPECTED, rel=1e-6)


def test_each_evaluation_begins_anew_and_so_does_a_copy():
    evaluator = create_evaluator(MODEL, loss_fn, metrics=kinds())
    first = evaluator.run(batches(5)).metrics
    assert evaluator.run(batches(13, 26)).metrics == pytest.approx(first)
    assert copy.deepcopy(evaluator).run(batches(30)).metrics == pytest.approx(first)
    assert evaluator.state.predictions is None


def test_an_evaluator_with_metrics_can_be_pickled():
    metrics = {"f1": "f1", "share": Accuracy(lambda output: output), "loss_again": cross_entropy}
    metrics["share"] = torchmetrics.Accuracy(task="multiclass", num_classes=3)
    evaluator = create_evaluator(MODEL, loss_fn, metrics=metrics)
    assert pickle.loads(pickle.dumps(evaluator)).run(batches(7)).metrics == evaluator.run(batches(7)).metrics


def test_what_is_no_number_is_kept_as_it_is_and_the_entries_of_a_dict_are_metrics():
    both = torchmetrics.MetricCollection(
        {
            "share": torchmetrics.Accuracy(task="multiclass", num_classes=3),
            "matrix": torchmetrics.ConfusionMatrix(task="multiclass", num_classes=3),
        }
    )
    of_all = EpochMetric(lambda outputs, targets: {"mean": targets.double().mean(), "each": {"n": len(targets)}})
    found = measure({"both": both, "cells": ConfusionMatrix(3), "of_all": of_all})
    expected = torch.tensor(confusion_matrix(Y, GUESSES))
    assert torch.equal(found.pop("both_matrix"), expected)
    assert torch.equal(found.pop("cells"), expected)
    mean = Y.double().mean().item()
    assert found == pytest.approx({"both_share": SHARE, "of_all_mean": mean, "of_all_each_n": 40.0})


class Bad:
    """Raises in one of its methods."""

    def __init__(self, where):
        self.where = where

    def __getattr__(self, name):
        if name not in ("reset", "update", "compute"):
            raise AttributeError(name)

        def method(*_):
            if name == self.where:
                raise RuntimeError(f"no {name}\ntoday")
            return 1.0

        return method


@pytest.mark.parametrize(
    ("metric", "why"),
    [
        *((Bad(where), f"RuntimeError: no {where} today") for where in ("reset", "update", "compute")),
        (lambda outputs, targets: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda outputs, targets: outputs, r"TypeError: a function must give one number, or one for each of the 13 sa"),
        (
            lambda outputs, targets: torch.tensor(1j),
            "TypeError: a function must give real numbers; got torch.co",
        ),
        (lambda outputs, targets: "good", "TypeError: a function must give a number or a tensor; got str"),
        (lambda outputs: 1.0, "TypeError: .*positional argument"),
        ("r2", r"ValueError: outputs and targets must be numbers of one shape.*got \(13, 3\) and \(13,\)"),
        (Accuracy(output_transform=lambda output: output[2]), "IndexError: tuple index out of range"),
    ],
)
def test_a_metric_that_raises_is_nan_and_is_said_once_and_nothing_else_suffers(metric, why, caplog):
    evaluator = create_evaluator(MODEL, loss_fn, metrics={"bad": metric, "f1": "f1"})
    for _ in range(3):
        found = evaluator.run(batches(13, 26, 39)).metrics
        assert math.isnan(found.pop("bad"))
        assert found == pytest.approx({"f1": F1})
    (said,) = caplog.messages
    assert said.startswith("the metric 'bad' is NaN here, and the run continues: ")
    assert "\n" not in said
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(said)


def test_a_metric_that_is_not_defined_is_nan_and_says_what_it_needs(caplog):
    evaluator = create_evaluator(MODEL, loss_fn, metrics={"auroc": "auroc"})
    of_one_class = [(X[Y == 1], Y[Y == 1])]
    assert [math.isnan(evaluator.run(of_one_class).metrics["auroc"]) for _ in range(2)] == [True, True]
    assert evaluator.run(batches(9)).metrics["auroc"] > 0
    (said,) = caplog.messages
    assert said.endswith("it is not defined for these samples: it needs samples of both classes")


def test_batches_without_a_sample_count_for_nothing():
    empty = (X[:0], Y[:0])
    evaluator = create_evaluator(MODEL, loss_fn, metrics=kinds())
    assert evaluator.run([empty, *batches(9), empty]).metrics == pytest.approx(EXPECTED)


def test_another_engine_gives_outputs_and_targets_itself():
    metrics = MetricSet(["f1", "accuracy"])
    evaluator = create_supervised_evaluator(MODEL)
    assert metrics.attach(evaluator) is metrics
    found = evaluator.run(batches(9)).metrics
    assert found == pytest.approx({"f1": F1, "accuracy": 100 * SHARE})


@pytest.mark.parametrize("output", [{"loss": torch.tensor(1.0)}, torch.tensor(1.0), None])
def test_an_engine_that_gives_none_is_told_how(output):
    engine = Engine(lambda engine, batch: output)
    MetricSet(["f1"]).attach(engine)
    with pytest.raises(TypeError, match="need outputs and targets: the loss function of an evaluator must give"):
        engine.run([0])


def test_a_loss_function_without_outputs_is_told_how():
    evaluator = create_evaluator(MODEL, lambda m, x, batch: {"loss": m(x).mean()}, metrics=["f1"])
    with pytest.raises(TypeError, match="'outputs': outputs, 'targets': targets"):
        evaluator.run(batches(9))


def test_the_same_loss_function_trains_and_validation_takes_metrics_too(capsys):
    model = nn.Linear(4, 3)
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=0)
    EpochAverages("train_").attach(trainer)
    evaluator = create_evaluator(model, loss_fn)
    EpochAverages().attach(evaluator)
    Validation(evaluator, batches(20), metrics={"f1": "f1"}).attach(trainer)
    history = History(["train_loss", "val_loss", "val_f1"]).attach(trainer)
    trainer.run(batches(7, 14, 21), max_epochs=3)
    assert list(trainer.state.output) == ["loss"]
    assert [len(values) for values in history.epochs.values()] == [3, 3, 3]
    with torch.no_grad():
        expected = f1_score(Y, model(X).argmax(1), average="macro")
    assert history.epochs["val_f1"][-1] == pytest.approx(expected)
    describe(evaluator)
    assert "MetricSet(f1)" in capsys.readouterr().out


def halves(outputs, targets):
    return outputs[0], targets[0]


def test_a_view_is_what_metrics_of_its_name_are_given():
    metrics = MetricSet(
        {"left_f1": "left_f1", "score": "left_f1", "left_share": Accuracy(), "all": lambda o, t: float(len(o))},
        views={"left": halves},
        prepare=lambda outputs, targets: ((outputs, None), (targets, None)),
    )
    evaluator = create_supervised_evaluator(MODEL)
    metrics.attach(evaluator)
    values = evaluator.run(batches(9)).metrics
    assert values == pytest.approx({"left_f1": F1, "score": F1, "left_share": SHARE, "all": 2.0})
    with pytest.raises(ValueError, match="given by its name is of one output: left_f1; got 'f1'"):
        MetricSet(["f1"], views={"left": halves})


@pytest.mark.parametrize(
    ("metrics", "error", "message"),
    [
        (["f1", "f1"], ValueError, "each metric must be named once; got f1, f1"),
        ("f1,F1", ValueError, "each metric must be named once; got f1, F1"),
        (dict.fromkeys("ab", Accuracy()), ValueError, "must be an object of its own; got one for 'b' and another name"),
        ("f1,arcuracy", ValueError, "got 'arcuracy'; did you mean 'accuracy'"),
        ([Accuracy()], TypeError, "metrics must be a dict, .* or a list of names of known metrics"),
        (Accuracy(), TypeError, "metrics must be a dict"),
        (3, TypeError, "metrics must be a dict, .*got 3"),
        ({"a": Accuracy}, TypeError, "must be an object or a function; got the class Accuracy: call it"),
        ({"a": 3}, TypeError, "a metric must be a name, a function of .*; got 3"),
        ({"a": None}, TypeError, "a metric must be a name, a function of .*; got None"),
        ({3: "f1"}, ValueError, "the name of a metric must be a string without spaces around it; got 3"),
        ({" f1": "f1"}, ValueError, "without spaces around it; got ' f1'"),
        ({"": "f1"}, ValueError, "without spaces around it; got ''"),
        ({"a\nb": "f1"}, ValueError, "without spaces around it"),
        ({"val_f1": "f1"}, ValueError, "must not begin with val_ or train_.*name it 'f1'"),
        ({"loss": Accuracy()}, ValueError, "a metric must not be named 'loss': the history has that already"),
        ({"accuracy": Accuracy()}, ValueError, "a metric must not be named 'accuracy': the history has that already"),
        ({"accuracy": "f1"}, ValueError, "a metric must not be named 'accuracy': the history has that already"),
    ],
)
def test_what_makes_no_set_of_metrics_is_refused(metrics, error, message):
    with pytest.raises(error, match=message):
        MetricSet(metrics, taken=["loss", "accuracy"])


def test_the_direction_is_known_of_names_and_of_torchmetrics():
    metrics = MetricSet(
        {
            "f1": "f1",
            "score": "mae",
            "named": named_metric("r2"),
            "other": torchmetrics.MeanSquaredError(),
            "ignites": Accuracy(),
            "function": cross_entropy,
        }
    )
    known = {"f1": "max", "score": "min", "named": "max", "other": "min", "ignites": None, "function": None}
    assert {name: metrics.mode(name) for name in metrics} == known
    assert MetricSet(["accuracy"], taken=["accuracy"]).mode("accuracy") == "max"


def test_numbers_of_numpy_are_numbers():
    metrics = {"a": EpochMetric(lambda o, t: np.float32(0.5)), "b": EpochMetric(lambda o, t: np.eye(2))}
    found = measure(metrics)
    assert found["a"] == 0.5
    assert isinstance(found["a"], float)
    assert found["b"].shape == (2, 2)


def test_how_a_name_is_spelled_does_not_matter():
    assert list(MetricSet("F1, Balanced accuracy,AUROC")) == ["f1", "balanced_accuracy", "auroc"]
    assert list(MetricSet({"F1": "F1", "R2": "r2"})) == ["F1", "R2"]

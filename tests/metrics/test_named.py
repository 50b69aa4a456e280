"""Metrics by name are scikit-learn's, of all samples, however these are batched; on a device nothing is waited for."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from ignite_recipes.metrics import known_mode, metric_names, named_metric
from ignite_recipes.metrics.named import known_bounds
from ignite_recipes.metrics.ranking import area_under_roc
from ignite_recipes.metrics.statistics import fold


def draw(seed):
    return torch.Generator().manual_seed(seed)


def of_classes(seed, n=60, c=4):
    g = draw(seed)
    return torch.randn(n, c, generator=g).round(decimals=1), torch.randint(c, (n,), generator=g)


def of_columns(seed, n=60, width=3):
    g = draw(seed)
    return torch.randn(n, width, generator=g).round(decimals=1), torch.randint(2, (n, width), generator=g)


def of_numbers(seed, n=60, width=2):
    g = draw(seed)
    y = torch.randn(n, width, generator=g)
    return y + 0.3 * torch.randn(n, width, generator=g), y


def softmax(x):
    return x.double().softmax(1).numpy()


FOUR_CLASSES = {
    "accuracy": lambda o, y: 100 * sk.accuracy_score(y, o.argmax(1)),
    "balanced_accuracy": lambda o, y: 100 * sk.balanced_accuracy_score(y, o.argmax(1)),
    "f1": lambda o, y: sk.f1_score(y, o.argmax(1), average="macro"),
    "auroc": lambda o, y: sk.roc_auc_score(y, softmax(o), multi_class="ovr"),
}
TWO_CLASSES = {**FOUR_CLASSES} | {
    "f1": lambda o, y: sk.f1_score(y, o.argmax(1)),
    "auroc": lambda o, y: sk.roc_auc_score(y, o.double() @ torch.tensor([-1.0, 1.0]).double()),
}
ONE_LOGIT = {
    "accuracy": lambda o, y: 100 * sk.accuracy_score(y, o > 0),
    "balanced_accuracy": lambda o, y: 100 * sk.balanced_accuracy_score(y, o > 0),
    "f1": lambda o, y: sk.f1_score(y, o > 0),
    "auroc": lambda o, y: sk.roc_auc_score(y, o),
}
LABELS = {
    "accuracy": lambda o, y: 100 * np.mean(((o > 0) == y).numpy()),
    "balanced_accuracy": lambda o, y: 100 * np.mean([sk.balanced_accuracy_score(b, a > 0) for a, b in zip(o.T, y.T)]),  # noqa: B905
    "f1": lambda o, y: sk.f1_score(y, o > 0, average="macro"),
    "auroc": lambda o, y: sk.roc_auc_score(y, o),
}
NUMBERS = {"mae": lambda o, y: sk.mean_absolute_error(y, o), "r2": lambda o, y: sk.r2_score(y, o)}
TASKS = {
    "four classes": (of_classes, FOUR_CLASSES),
    "two classes": (lambda seed: of_classes(seed, c=2), TWO_CLASSES),
    "one logit": (lambda seed: tuple(x[:, 0] for x in of_columns(seed, width=1)), ONE_LOGIT),
    "labels": (of_columns, LABELS),
    "numbers": (of_numbers, NUMBERS),
}
CASES = [(task, name) for task, (_, truths) in TASKS.items() for name in truths]


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_metric_is_scikit_learns(task, name, seed):
    make, truths = TASKS[task]
    outputs, targets = make(seed)
    found = named_metric(name)(outputs, targets)
    assert (found.shape, found.dtype) == ((), torch.float64)
    assert found.item() == pytest.approx(truths[name](outputs, targets), rel=1e-6)


@pytest.mark.parametrize(("task", "name"), CASES)
@given(cuts=st.lists(st.integers(1, 59), max_size=5, unique=True), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None)
def test_however_the_samples_are_batched_the_value_is_the_same(task, name, cuts, seed):
    outputs, targets = TASKS[task][0](seed)
    metric, edges = named_metric(name), [0, *sorted(cuts), 60]
    batches = [metric.statistic(outputs[a:b], targets[a:b]) for a, b in pairwise(edges)]
    found, whole = metric.value(fold(batches, metric.fold)), metric(outputs, targets)
    tolerance = 1e-12 if task == "numbers" else 0.0  # counts and ranks are whole numbers
    assert found.item() == pytest.approx(whole.item(), rel=tolerance, abs=tolerance)


@pytest.mark.parametrize("name", metric_names())
def test_a_perfect_answer_is_the_best_there_is(name):
    if name in NUMBERS:
        outputs, targets, best = torch.rand(9, 1), None, {"mae": 0.0, "r2": 1.0}[name]
        targets = outputs.clone()
    else:
        targets, best = torch.arange(9) % 3, {"accuracy": 100.0, "balanced_accuracy": 100.0}.get(name, 1.0)
        outputs = torch.eye(3)[targets]
    assert named_metric(name)(outputs, targets).item() == best


@pytest.mark.parametrize(("task", "name"), CASES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_no_answer_is_outside_the_bounds(task, name, seed):
    outputs, targets = TASKS[task][0](seed)
    low, high = known_bounds(f"val_{name}")
    assert low <= named_metric(name)(outputs, targets) <= high


BOUNDS = {
    "accuracy": (0, 100),
    "train_acc": (0, 100),
    "val_balanced_accuracy": (0, 100),
    "val_roc_auc": (0, 1),
    "val_classification_f1": (0, 1),
    "transmission_accuracy": (0, 100),
    "val_loss": None,
    "gain_f1": None,
    "val_": None,
    "": None,
}


@pytest.mark.parametrize("name", BOUNDS)
def test_bounds_are_known_by_the_whole_name(name):
    assert known_bounds(name) == BOUNDS[name]


def test_the_forms_in_which_people_bring_two_classes_are_alike():
    logits, labels = torch.randn(50, generator=draw(0)), torch.randint(2, (50,), generator=draw(1))
    both = torch.stack([-logits / 2, logits / 2], dim=1)
    for name in FOUR_CLASSES:
        metric = named_metric(name)
        expected = metric(logits, labels)
        forms = [
            (logits[:, None], labels),
            (logits, labels.float()[:, None]),
            (logits[:, None], labels.bool()[:, None]),
            (both, labels),
            (both, labels[:, None]),
        ]
        assert [metric(*form).item() for form in forms] == pytest.approx([expected.item()] * 5)
        chances = named_metric(name, threshold=0.5)
        assert chances(logits.double().sigmoid(), labels).item() == pytest.approx(expected.item())


def test_places_of_a_picture_are_samples_and_ignored_ones_do_not_count():
    scores, labels = torch.randn(2, 3, 5, 5, generator=draw(0)), torch.randint(3, (2, 5, 5), generator=draw(1))
    labels[:, :2] = -100
    flat, own = scores.movedim(1, -1).reshape(-1, 3), labels.reshape(-1)
    for name in FOUR_CLASSES:
        metric = named_metric(name)
        assert metric(scores, labels).item() == pytest.approx(metric(flat[own >= 0], own[own >= 0]).item())
        assert named_metric(name, ignore_index=2)(flat, own.clamp(min=2)).isnan()


def test_probabilities_of_several_classes_are_ranked_as_they_are():
    logits, labels = of_classes(3)
    logits *= 3
    metric = named_metric("auroc")
    assert metric(logits.double().softmax(1), labels) == metric(logits, labels)


@given(st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=40))
def test_the_area_is_the_chance_that_a_positive_is_ranked_above_a_negative(pairs):
    scores, positive = (torch.tensor(column) for column in zip(*pairs, strict=True))
    yes, no = scores[positive].double()[:, None], scores[~positive].double()[None]
    expected = ((yes > no) + 0.5 * (yes == no)).mean(dtype=torch.float64)
    found = area_under_roc(scores.double(), positive)
    torch.testing.assert_close(found, expected, equal_nan=True)
    torch.testing.assert_close(area_under_roc(scores.double() ** 3 - 1, positive), found, equal_nan=True)


def test_a_large_mean_costs_r2_no_digits():
    y = 1e9 + torch.arange(1000, dtype=torch.float64)[:, None]
    guess = y + torch.randn(1000, 1, generator=draw(0), dtype=torch.float64)
    metric = named_metric("r2")
    parts = fold([metric.statistic(a, b) for a, b in zip(guess.split(7), y.split(7), strict=True)], metric.fold)
    assert metric.value(parts).item() == pytest.approx(metric(guess - 1e9, y - 1e9).item(), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "outputs", "targets"),
    [
        ("auroc", torch.randn(5), torch.ones(5)),
        ("auroc", torch.randn(5, 3), torch.zeros(5, dtype=torch.int64)),
        ("auroc", torch.tensor([1.0, torch.nan]), torch.tensor([0, 1])),
        ("f1", -torch.ones(4), torch.zeros(4)),
        ("accuracy", torch.randn(2, 3), torch.tensor([-100, -100])),
        ("r2", torch.randn(4), torch.ones(4)),
        ("r2", torch.randn(1), torch.ones(1)),
        ("mae", torch.tensor([torch.nan]), torch.ones(1)),
    ],
)
def test_what_is_not_defined_is_nan(name, outputs, targets):
    assert named_metric(name)(outputs, targets).isnan()


def test_labels_of_which_all_samples_are_alike_are_left_out_of_a_mean():
    outputs, targets = of_columns(0)
    targets[:, 1] = 0
    for name in ("auroc", "balanced_accuracy"):
        metric = named_metric(name)
        assert not metric(outputs, targets).isnan()
    assert named_metric("auroc")(outputs, targets) == named_metric("auroc")(outputs[:, ::2], targets[:, ::2])


INTS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("name", "outputs", "targets", "error", "message"),
    [
        ("f1", torch.randn(2, 3), torch.tensor([0, 3]), ValueError, "must be classes from 0 to 2; got 1 that are not"),
        ("f1", torch.randn(2, 3), torch.tensor([0, -1]), ValueError, "must be classes from 0 to 2; got 1 that are not"),
        ("auroc", torch.randn(2), torch.tensor([0.5, 1.0]), ValueError, "must be 0 or 1; got 1 that are not"),
        ("accuracy", torch.randn(2), torch.tensor([torch.nan, 1.0]), ValueError, "must be 0 or 1; got 1 that"),
        ("f1", torch.randn(2, 3), torch.rand(2), ValueError, "must be integers; got torch.float32: pass targets.long"),
        ("f1", torch.randn(2, 3), torch.zeros(3), ValueError, r"got \(2, 3\) and \(3,\)"),
        ("f1", (torch.randn(2),), INTS, TypeError, "outputs must be a tensor of N samples; got tuple"),
        ("mae", torch.tensor(1.0), INTS, TypeError, "outputs must be a tensor of N samples; got a single number"),
        ("r2", torch.randn(2, 3), torch.randn(2), ValueError, r"numbers of one shape.*; got \(2, 3\) and \(2,\)"),
    ],
)
def test_what_a_metric_is_not_made_for_is_refused(name, outputs, targets, error, message):
    with pytest.raises(error, match=message):
        named_metric(name)(outputs, targets)


def test_batches_of_different_widths_are_refused():
    metric = named_metric("f1")
    parts = [metric.statistic(torch.randn(2, c), INTS) for c in (2, 3)]
    with pytest.raises(ValueError, match="one kind and width in all batches"):
        fold(parts, metric.fold)


def test_an_unknown_name_is_refused_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"one of accuracy, .*, r2; got 'aurok'; did you mean 'auroc'\?"):
        named_metric("aurok")
    assert {known_mode(name) for name in metric_names()} == {"min", "max"}

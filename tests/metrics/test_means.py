"""Loss and accuracy are means over samples, however they are batched, and nothing is read before they are asked for."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ignite_recipes import MetricsTracker
from ignite_recipes.metrics import SampleMeans, accuracy


def split(values, cuts):
    edges = [0, *sorted(cuts), len(values)]
    return [values[a:b] for a, b in pairwise(edges) if b > a]


@given(st.lists(st.integers(1, 39), max_size=6, unique=True), st.integers(0, 1000))
def test_however_the_samples_are_batched_the_numbers_are_the_same(cuts, seed):
    draw = torch.Generator().manual_seed(seed)
    outputs, labels = torch.rand(40, 3, generator=draw), torch.randint(3, (40,), generator=draw)
    losses = torch.nn.functional.cross_entropy(outputs.double(), labels, reduction="none")
    tracker = MetricsTracker()
    for o, y, loss in zip(split(outputs, cuts), split(labels, cuts), split(losses, cuts), strict=True):
        tracker.update(loss.mean(), o, y)
    correct = int((outputs.argmax(1) == labels).sum())
    metrics = tracker.get_metrics()
    assert metrics["accuracy"] == 100 * correct / 40  # exactly: as many right answers are the same accuracy
    assert metrics["loss"] == pytest.approx(losses.mean().item(), rel=1e-12)
    assert metrics["total_samples"] == 40


def test_nothing_is_read_from_the_device_before_it_is_asked_for(monkeypatch):
    reads = []
    for name in ("item", "tolist", "__float__", "__bool__", "cpu", "numpy"):
        original = getattr(torch.Tensor, name)
        monkeypatch.setattr(
            torch.Tensor, name, lambda self, *a, original=original: (reads.append(1), original(self, *a))[1]
        )
    tracker = MetricsTracker()
    for _ in range(300):
        tracker.update(torch.tensor(1.0), torch.eye(3), torch.arange(3))
    assert not reads
    assert tracker.get_metrics()["accuracy"] == 100
    assert reads


def test_without_samples_it_reports_zero_and_reset_begins_anew():
    tracker = MetricsTracker()
    assert tracker.get_metrics() == {"loss": 0.0, "accuracy": 0.0, "total_samples": 0}
    tracker.update(2.0, torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))
    assert tracker.get_metrics()["total_samples"] == 0
    tracker.update(2.0, torch.eye(3), torch.tensor([0, 1, 1]))
    tracker.reset()
    tracker.update(1.0, torch.eye(2), torch.tensor([0, 1]))
    assert tracker.get_metrics() == {"loss": 1.0, "accuracy": 100.0, "total_samples": 2}


@pytest.mark.parametrize("ignored", [-100, 2])
def test_ignored_labels_do_not_count(ignored):
    labels = torch.tensor([0, ignored, 1, ignored, 1])
    outputs = torch.eye(3)[torch.tensor([0, 2, 1, 0, 0])]
    assert accuracy(outputs, labels, ignored).item() == pytest.approx(100 * 2 / 3)
    assert accuracy(outputs, torch.full((5,), ignored), ignored).isnan()


def test_a_number_that_only_some_batches_have_is_averaged_over_those_also_after_a_rewind_and_a_resume():
    batches = [({"loss": 1.0, "a": 4.0}, 1), ({"loss": 2.0}, 3), ({}, 0), ({"a": 1.0, "loss": 5.0}, 2), ({"b": 7.0}, 1)]
    whole, resumed = SampleMeans(), SampleMeans()
    for values, n in batches[:3]:
        whole.add(values, n)
    state = whole.state_dict()
    for values, n in batches[3:]:
        whole.add(values, n)
    expected = {"loss": (1 + 6 + 10) / 6, "a": (4 + 2) / 3, "b": 7.0}
    assert whole.read() == pytest.approx(expected)
    assert (whole.num_batches, whole.num_samples) == (5, 7)
    resumed.load_state_dict(state)
    resumed.keep_first(2)
    assert (resumed.num_batches, resumed.num_samples) == (2, 4)
    for values, n in batches[2:]:
        resumed.add(values, n)
    assert resumed.read() == pytest.approx(expected)


@pytest.mark.parametrize(("outputs", "labels"), [((4,), (4,)), ((4, 3), (5,)), ((4, 3), (4, 1))])
def test_outputs_and_labels_that_do_not_belong_together_are_refused(outputs, labels):
    with pytest.raises(ValueError, match=r"outputs must be \(N, C\) and labels \(N,\); got"):
        MetricsTracker().update(1.0, torch.zeros(outputs), torch.zeros(labels, dtype=torch.int64))


def test_a_loss_that_is_attached_to_its_graph_does_not_keep_it():
    weight = torch.ones(3, requires_grad=True)
    tracker = MetricsTracker()
    tracker.update(weight.sum(), torch.eye(3) * weight, torch.arange(3))
    assert not any(
        value.requires_grad for sums in tracker._means._sums.values() for row in sums.buffer.rows for value in row
    )


@given(st.integers(0, 300), st.integers(0, 100))
def test_batches_can_be_taken_back(number, taken):
    means, expected = SampleMeans(), SampleMeans()
    for k in range(number + taken):
        means.add({"x": torch.tensor(float(k))}, 1 + k % 3)
        if k < number:
            expected.add({"x": torch.tensor(float(k))}, 1 + k % 3)
    means.keep_first(number)
    assert (means.num_batches, means.num_samples) == (expected.num_batches, expected.num_samples)
    assert means.read() == pytest.approx(expected.read(), rel=1e-12)


def test_accuracy_is_of_every_labelled_place():
    outputs = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])  # one sample of two places
    assert accuracy(outputs, torch.tensor([[0, 0]])).item() == 50

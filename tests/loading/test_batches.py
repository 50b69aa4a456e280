"""Batches are counted, opened and moved whatever they are made of."""

from collections import namedtuple

import pytest
import torch

from ignite_recipes.loading.batches import count_samples, digest, first_item, to_device

CPU = torch.device("cpu")
Pair = namedtuple("Pair", "x y")
X, Y = torch.rand(23, 3), torch.rand(23, 1)


def test_a_batch_that_cannot_be_counted_says_what_to_pass():
    with pytest.raises(TypeError, match="batch_size="):
        count_samples(object())


@pytest.mark.parametrize(
    ("batch", "n"),
    [(X, 23), ((X[:2], Y), 2), ({"x": X[:3]}, 3), ([(X[:4],)], 4)],
    ids=["tensor", "tuple", "dict", "nested"],
)
def test_samples_are_counted_in_the_usual_batches(batch, n):
    assert count_samples(batch) == n


def test_first_item_is_what_the_model_is_fed_with():
    assert first_item((1, 2)) == 1
    assert first_item([1, 2]) == 1
    assert first_item(X) is X


def test_a_batch_keeps_its_shape_and_what_is_no_tensor():
    x = torch.ones(2)
    batch = {"pair": Pair(x, [x, "name"]), "rows": (x, 3)}
    moved = to_device(batch, torch.device("meta"))
    assert isinstance(moved["pair"], Pair)
    assert moved["pair"].x.is_meta
    assert moved["pair"].y[0].is_meta
    assert moved["pair"].y[1] == "name"
    assert moved["rows"][1] == 3


def test_a_batch_that_is_there_already_is_not_copied():
    x = torch.ones(2)
    assert to_device(x, CPU) is x


def test_a_fingerprint_is_of_every_bit():
    assert digest([torch.zeros(2)]) == digest((torch.zeros(2),))
    others = [torch.zeros(3), torch.zeros(2, 1), torch.zeros(2).double(), -torch.zeros(2)]
    assert len({digest(tensor) for tensor in (torch.zeros(2), *others)}) == 5

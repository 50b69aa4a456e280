"""Batches are counted, opened and moved whatever they are made of."""

from collections import OrderedDict, UserDict, defaultdict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_sequence

from ignite_recipes import create_evaluator, create_trainer
from ignite_recipes.loading.batches import count_samples, digest, first_item, tensors_in, to_device

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


class Batch(dict):
    """As of a library that adds methods to a dict."""

    source = None


class Rows(list):
    source = None


@dataclass(frozen=True)
class Sample:
    x: torch.Tensor
    name: str


class Graph:
    """An object that moves by itself."""

    def __init__(self, x):
        self.x = x

    def to(self, device):
        return Graph(self.x.to(device))


class Encoding(UserDict):
    """A mapping that moves by itself, and says so."""

    def to(self, device, non_blocking=False):
        return Encoding({name: value.to(device) for name, value in self.items()} | {"non_blocking": non_blocking})


META = torch.device("meta")


MAPPINGS = [Batch(x=X), OrderedDict(x=X), defaultdict(list, x=X), UserDict(x=X)]


@pytest.mark.parametrize("batch", [*MAPPINGS, Rows([X]), Pair(X, Y), Sample(X, "a")], ids=lambda b: type(b).__name__)
def test_a_batch_keeps_its_type_and_the_original_stays(batch):
    if isinstance(batch, (Batch, Rows)):
        batch.source = "disk"
    moved = to_device(batch, META)
    assert type(moved) is type(batch)
    assert all(tensor.is_meta for tensor in tensors_in(moved))
    assert not any(tensor.is_meta for tensor in tensors_in(batch))
    assert getattr(moved, "source", None) == getattr(batch, "source", None)
    assert count_samples(batch) == len(X)


def test_what_has_a_way_to_move_of_its_own_moves_by_it():
    assert to_device([Graph(X)], META)[0].x.is_meta
    encoding = to_device(Encoding(x=X), META)
    assert encoding["x"].is_meta
    assert encoding["non_blocking"] is True


def test_a_packed_sequence_is_moved_counted_and_fed_as_it_is():
    packed = pack_sequence([torch.ones(5, 2), torch.ones(3, 2), torch.ones(1, 2)])
    assert count_samples((packed, torch.zeros(3))) == 3
    assert to_device(packed, META).data.is_meta
    assert first_item(packed) is packed
    assert digest(packed) != digest(pack_sequence([torch.ones(5, 2), torch.zeros(3, 2), torch.ones(1, 2)]))


def test_a_users_own_transfer_is_used_in_training_and_in_evaluation():
    calls = []

    def prepare_batch(batch, device, non_blocking):
        calls.append((device, non_blocking))
        return {name: torch.as_tensor(value, device=device) for name, value in batch.items()}

    def loss_fn(model, inputs, batch):
        return {"loss": model(batch["x"]).square().mean()}

    model, data = nn.Linear(1, 1), [{"x": [[1.0], [2.0]]}]
    settings = {"prepare_batch": prepare_batch, "batch_size": lambda batch: len(batch["x"])}
    create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, **settings).run(data, max_epochs=1)
    create_evaluator(model, loss_fn, **settings).run(data)
    assert calls == [(CPU, True)] * 2


def test_a_fingerprint_is_of_the_value_however_it_is_held():
    z = torch.tensor([1 + 2j, 3 - 4j])
    assert digest(z.conj()) == digest(z.conj().resolve_conj()) != digest(z)
    assert digest(z.conj().imag) == digest(torch.tensor([-2.0, 4.0]))


def test_a_batch_that_is_there_already_is_not_copied():
    x = torch.ones(2)
    assert to_device(x, CPU) is x


def test_a_fingerprint_is_of_every_bit():
    assert digest([torch.zeros(2)]) == digest((torch.zeros(2),))
    others = [torch.zeros(3), torch.zeros(2, 1), torch.zeros(2).double(), -torch.zeros(2)]
    assert len({digest(tensor) for tensor in (torch.zeros(2), *others)}) == 5

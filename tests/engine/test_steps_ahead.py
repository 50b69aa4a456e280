"""Batches that are fetched several at once are those that the loader gives, where they can be."""

import pytest
import torch
from support.interpreted import interpreted
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, TensorDataset, random_split

from ignite_recipes import create_trainer
from ignite_recipes.engine import step_program, steps_ahead
from ignite_recipes.engine.steps_ahead import StepsAhead
from ignite_recipes.engine.whole_step import WholeStep
from ignite_recipes.loading.row_sets import BatchDataset


def rows(count=400, features=4, dtype=torch.float32):
    generator = torch.Generator().manual_seed(count)
    return torch.randn(count, features, generator=generator).to(dtype), torch.arange(count)


def parts():
    return ConcatDataset([TensorDataset(*rows(150)), TensorDataset(*rows(250))])


SETS = {
    "rows": (lambda: TensorDataset(*rows()), 8, True),
    "a part": (lambda: random_split(TensorDataset(*rows()), [300, 100])[0], 8, True),
    "two tables": (parts, 8, True),
    "half precision": (lambda: TensorDataset(*rows(dtype=torch.bfloat16)), 8, True),
    "one tensor": (lambda: TensorDataset(rows()[0]), 4, True),
    "memory that would not be aligned": (lambda: TensorDataset(*rows(features=3)), 7, False),
    "a label that would not be": (lambda: TensorDataset(*rows()), 4, False),
}


@pytest.fixture
def ahead(monkeypatch):
    """The batches ahead of a trainer's first epoch, as they are fetched, and one by one; what fetched them."""

    def of(data, batch_size, **settings):
        found = []

        def look(whole, engine):
            steps = StepsAhead(engine.step, engine)
            indices = []
            fetch = steps.fetch_rows
            steps.fetch_rows = lambda rows: (indices.append(len(rows)), fetch(rows))[1]
            batches = list(steps.prepared_batches(len(steps.batches)))
            found.extend([batches, [steps.prepared(fetch(rows)) for rows in steps.batches], indices])

        monkeypatch.setattr(WholeStep, "train", look)
        monkeypatch.setattr(step_program, "compile_for_host", interpreted)
        model = nn.Linear(1, 1)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

        def loss_fn(model, x, batch):
            return {"loss": model.bias.sum()}

        trainer = create_trainer(model, optimizer, loss_fn, seed=0, compile="step", **settings)
        trainer.run(DataLoader(data, batch_size, shuffle=True), max_epochs=1)
        return found

    return of


def check_same(batches, expected):
    assert len(batches) == len(expected)
    for batch, one in zip(batches, expected, strict=True):
        assert type(batch) is type(one)
        for tensor, other in zip(batch, one, strict=True):
            assert torch.equal(tensor, other)
            assert (tensor.dtype, tensor.stride()) == (other.dtype, other.stride())


@pytest.mark.parametrize(("make", "batch_size", "at_once"), SETS.values(), ids=SETS)
def test_batches_that_are_fetched_at_once_are_the_same(ahead, monkeypatch, make, batch_size, at_once):
    monkeypatch.setattr(steps_ahead, "BYTES_AT_ONCE", 3000)
    batches, expected, indices = ahead(make(), batch_size)
    check_same(batches, expected)
    assert (max(indices) > batch_size) == at_once
    assert all(tensor.data_ptr() % 64 == 0 for batch in batches for tensor in batch)


PREPARED = {
    "fewer rows": lambda x: x.mean(0, keepdim=True),
    "as many, of which each depends on the others": lambda x: x - x.mean(0),
}


@pytest.mark.parametrize("change", PREPARED.values(), ids=PREPARED)
def test_a_batch_that_your_own_function_prepares_is_fetched_by_itself(ahead, change):
    def prepare(batch, device, non_blocking):
        return [change(batch[0]), batch[1]]

    batches, expected, indices = ahead(TensorDataset(*rows()), 8, prepare_batch=prepare)
    check_same(batches, expected)
    assert set(indices) == {8}


def test_no_more_are_fetched_at_once_than_stay_in_the_cache(ahead, monkeypatch):
    monkeypatch.setattr(steps_ahead, "BYTES_AT_ONCE", 1000)
    _, _, indices = ahead(TensorDataset(*rows()), 8)  # of 192 bytes each
    assert indices == [40] * 9 + [32]


class Drifting(BatchDataset):
    """Rows that change from epoch to epoch."""

    def __init__(self):
        self.epoch = 0

    def __len__(self):
        return 64

    def set_epoch(self, epoch):
        self.epoch = epoch

    draws_nothing = True

    def __getitems__(self, indices):
        return torch.full((len(indices), 4), float(self.epoch)), torch.tensor(indices)


def test_a_batch_of_a_data_set_that_knows_epochs_is_fetched_by_itself(ahead):
    batches, expected, indices = ahead(Drifting(), 8)
    check_same(batches, expected)
    assert set(indices) == {8}

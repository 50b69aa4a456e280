"""A plain DataLoader that is fetched by one index gives the batches that it gives in a loop: same bits, same draws."""

import logging

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

from ignite_recipes import BaseDataset, RowDataset, create_trainer
from ignite_recipes.loading.fetching import BatchesOf, fetched_at_once
from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.row_sets import collate_rows, row_numbers, take_rows

N = 23
DRAW = torch.Generator().manual_seed(0)
X, Y = torch.rand(N, 3, generator=DRAW), torch.arange(N) % 3
PAIRS = TensorDataset(X, Y)
IMAGES = torch.rand(N, 3, 4, 5, generator=DRAW).to(memory_format=torch.channels_last)


class Noisy(TensorDataset):
    def __getitem__(self, index):
        return tuple(tensor + torch.rand(()) for tensor in super().__getitem__(index))


class NoisyRows(RowDataset):
    def __getitem__(self, index):
        return super().__getitem__(index) + torch.rand(())


class Squares(Dataset):
    def __len__(self):
        return N

    def __getitem__(self, index):
        return torch.tensor(float(index**2))


class Odd(DataLoader):
    pass


def gen():
    return torch.Generator().manual_seed(5)


def indexed(sampler, dataset=PAIRS):
    return DataLoader(dataset, sampler=BatchSampler(sampler, 4, drop_last=False), batch_size=None)


def split():
    return random_split(PAIRS, [15, 8], generator=gen())[0]


def halves(*tensors):
    return ConcatDataset([TensorDataset(*(t[:10] for t in tensors)), TensorDataset(*(t[10:] for t in tensors))])


def parts():
    return ConcatDataset([Subset(PAIRS, [3, 1, 2]), TensorDataset(X + 1, Y), split()])


QUICK = {
    "shuffled": lambda: DataLoader(PAIRS, 4, shuffle=True),
    "in order": lambda: DataLoader(PAIRS, 4),
    "without the last batch": lambda: DataLoader(PAIRS, 4, shuffle=True, drop_last=True),
    "single rows": lambda: DataLoader(PAIRS, 1),
    "one tensor": lambda: DataLoader(TensorDataset(X), 4, shuffle=True),
    "generator of the loader": lambda: DataLoader(PAIRS, 4, shuffle=True, generator=gen()),
    "with replacement": lambda: DataLoader(PAIRS, 4, sampler=RandomSampler(PAIRS, replacement=True, num_samples=40)),
    "weighted": lambda: DataLoader(PAIRS, 4, sampler=WeightedRandomSampler(Y.double() + 1, 30)),
    "indices of torch": lambda: DataLoader(PAIRS, 4, sampler=SubsetRandomSampler(torch.arange(3, 20))),
    "indices of NumPy": lambda: DataLoader(PAIRS, 4, sampler=SubsetRandomSampler(np.arange(3, 20))),
    "from the end": lambda: DataLoader(PAIRS, 4, sampler=[-1, 3, -23, 0, 22]),
    "booleans as indices": lambda: DataLoader(TensorDataset(X), 2, sampler=[True, True, False, False]),
    "batch sampler": lambda: DataLoader(PAIRS, batch_sampler=BatchSampler(SequentialSampler(PAIRS), 5, False)),
    "batches in a list": lambda: DataLoader(PAIRS, batch_sampler=[[0, 2], (5,), [1, 1, 1], np.array([3, 4])]),
    "subset": lambda: DataLoader(Subset(PAIRS, range(4, 19)), 4, shuffle=True),
    "subset of a subset": lambda: DataLoader(Subset(split(), np.arange(2, 12)), 4, shuffle=True),
    "random_split": lambda: DataLoader(split(), 4, shuffle=True),
    "concatenation": lambda: DataLoader(parts(), 4, shuffle=True),
    "part of a concatenation": lambda: DataLoader(Subset(parts(), [-1, 0, 5, 4, 30, 2]), 4),
    "two tables": lambda: DataLoader(halves(X, Y), 4, shuffle=True),
    "two tables from the end": lambda: DataLoader(halves(X, Y), 4, sampler=[-1, 3, -23, 0, 22, 9, 10]),
    "a third one without rows": lambda: DataLoader(ConcatDataset([*halves(X).datasets, TensorDataset(X[:0])]), 4),
    "bytes and flags in two tables": lambda: DataLoader(halves(Y.byte(), X.half(), Y > 0), 4, shuffle=True),
    "bfloat16 in two tables": lambda: DataLoader(halves(X.bfloat16(), Y), 4, shuffle=True),
    "images in two tables": lambda: DataLoader(halves(IMAGES), 4, shuffle=True),
    "transposed in two tables": lambda: DataLoader(halves(torch.rand(3, N, generator=gen()).T), 4, shuffle=True),
    "channels last": lambda: DataLoader(TensorDataset(IMAGES), 4, shuffle=True),
    "transposed": lambda: DataLoader(TensorDataset(torch.rand(3, N, generator=gen()).T), 4),
    "expanded": lambda: DataLoader(TensorDataset(torch.rand(N, 1, generator=gen()).expand(N, 5)), 4),
    "bytes, halves and flags": lambda: DataLoader(TensorDataset(Y.byte(), X.half(), X.bfloat16(), Y > 0), 4),
    "batches in the place of rows": lambda: indexed(RandomSampler(PAIRS)),
    "batches of a subset in the place of rows": lambda: indexed(SequentialSampler(split()), split()),
    "our collate function": lambda: DataLoader(PAIRS, 4, shuffle=True, collate_fn=collate_rows),
}
LEFT_ALONE = {
    "workers": (lambda: DataLoader(PAIRS, 4, num_workers=2), "it has workers"),
    "collate function": (lambda: DataLoader(PAIRS, 4, collate_fn=lambda rows: default_collate(rows)), "its own"),
    "subclass of the set": (lambda: DataLoader(Noisy(X), 4), "Noisy"),
    "subset of a subclass": (lambda: DataLoader(Subset(Noisy(X), [1, 2]), 4), "Noisy"),
    "subclass of the loader": (lambda: Odd(PAIRS, 4), "it is a Odd"),
    "own set": (lambda: DataLoader(Squares(), 4), "Squares"),
    "no batches": (lambda: DataLoader(PAIRS, batch_size=None), "no batches of indices"),
    "own set asked for batches": (lambda: indexed(SequentialSampler(PAIRS), Noisy(X)), "asked for a whole batch"),
    "sparse": (lambda: DataLoader(TensorDataset(X.to_sparse()), 4), "no plain ones"),
    "unlike parts": (lambda: DataLoader(ConcatDataset([PAIRS, TensorDataset(X.double(), Y)]), 4), "other rows"),
    "our set": (lambda: DataLoader(RowDataset(X), 4, collate_fn=collate_rows), "whole batches already"),
    "rows of its own": (lambda: DataLoader(NoisyRows(X), 4), "NoisyRows has a __getitem__ of its own"),
}


def _same(first, second):
    assert type(first) is type(second)
    assert len(first) == len(second)
    for a, b in zip(first, second, strict=True):
        assert (a.dtype, a.stride(), a.device) == (b.dtype, b.stride(), b.device)
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", QUICK)
def test_the_batches_are_the_same_bit_for_bit_and_so_is_what_was_drawn(name):
    torch.manual_seed(3)
    expected = list(QUICK[name]())
    drawn = torch.rand(2)
    loader = fetched_at_once(QUICK[name](), "train")
    assert isinstance(loader.dataset, BatchesOf)
    torch.manual_seed(3)
    batches = list(loader)
    assert torch.equal(torch.rand(2), drawn)
    assert len(loader) == len(batches) == len(expected)
    for one, other in zip(batches, expected, strict=True):
        _same(one, other)


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_every_other_loader_is_left_alone_and_a_debug_line_says_why(name, caplog):
    make, reason = LEFT_ALONE[name]
    loader = make()
    with caplog.at_level(logging.DEBUG, "ignite_recipes.loading.fetching"):
        assert fetched_at_once(loader, "train") is loader
    (record,) = caplog.records
    assert record.levelno == logging.DEBUG
    assert reason in record.getMessage()


def test_a_quick_loader_is_said_in_one_debug_line_also_where_it_is_iterated_over_in_every_epoch(caplog):
    trainer = create_trainer(
        model := torch.nn.Linear(3, 1),
        torch.optim.SGD(model.parameters(), lr=0.1),
        lambda model, x, batch: {"loss": model(x).mean()},
    )
    loader = DataLoader(PAIRS, 4, shuffle=True)
    with caplog.at_level(logging.DEBUG, "ignite_recipes.loading.fetching"):
        for epochs in (1, 2, 3):
            trainer.run(loader, max_epochs=epochs)
    (record,) = caplog.records
    assert "by one index each" in record.getMessage()


@pytest.mark.parametrize("indices", [[1, N], [-N - 1, 0]])
@pytest.mark.parametrize("dataset", [PAIRS, Subset(PAIRS, range(N)), ConcatDataset([PAIRS, Subset(PAIRS, [])])])
def test_an_index_that_is_no_row_is_an_error_as_ever(dataset, indices):
    with pytest.raises((IndexError, ValueError)) as expected:
        list(DataLoader(dataset, batch_sampler=[indices]))
    with pytest.raises(type(expected.value)):
        list(fetched_at_once(DataLoader(dataset, batch_sampler=[indices]), "train"))


def test_a_number_that_is_none_of_a_row_is_found_on_the_host_and_not_on_an_accelerator():
    rows = torch.empty(5, 2, device="meta")
    assert take_rows(rows, row_numbers([4, -5])).shape == (2, 2)
    for wrong in (5, -6):
        with pytest.raises(IndexError, match="rows must be from 0 to 4"):
            take_rows(rows, row_numbers([0, wrong]))


def test_our_own_sets_need_no_collate_function_of_ours():
    images = BaseDataset(IMAGES, Y, IMAGES, Y, name="noise").train
    for dataset in (RowDataset(X), images, Subset(RowDataset(X), range(5, 12))):
        batches = list(KeyedLoader(DataLoader(dataset, 4, shuffle=True), seed=0))
        expected = list(KeyedLoader(DataLoader(dataset, 4, shuffle=True, collate_fn=collate_rows), seed=0))
        for one, other in zip(batches, expected, strict=True):
            _same(*((batch if isinstance(batch, tuple) else (batch,)) for batch in (one, other)))


def test_rows_that_a_handler_chooses_between_two_epochs_are_those_of_the_next():
    chosen = Subset(PAIRS, list(range(8)))
    loader = fetched_at_once(DataLoader(chosen, 4), "train")
    list(loader)
    chosen.indices[:] = list(range(15, 23))
    assert torch.equal(torch.cat([x for x, _ in loader]), X[15:])


@given(st.lists(st.integers(-N, N - 1), min_size=1, max_size=40), st.integers(1, 3))
@settings(max_examples=50, deadline=None)
def test_rows_are_those_that_stacking_gives(indices, dims):
    rows = torch.arange(N * 4.0).view(N, 4)[:, : dims + 1] if dims > 1 else torch.arange(float(N))
    assert torch.equal(take_rows(rows, row_numbers(indices)), torch.stack([rows[index] for index in indices]))
    pieces = ConcatDataset([TensorDataset(rows[:7]), TensorDataset(rows[7:7]), TensorDataset(rows[7:])])
    assert torch.equal(BatchesOf(pieces).__getitems__(indices)[0], rows[indices])

"""An epoch's rows are known beforehand where a sampler of torch's draws them at once, and are those that come."""

import pytest
import torch
from torch.utils.data import BatchSampler, DataLoader, RandomSampler, SequentialSampler, TensorDataset, random_split

from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.same_rows import KnownPairs, same_rows

ROWS = TensorDataset(torch.arange(23.0))


def indexed(sampler):
    return DataLoader(ROWS, sampler=BatchSampler(sampler, 4, drop_last=False), batch_size=None)


KNOWN = {
    "shuffled": lambda: DataLoader(ROWS, 4, shuffle=True),
    "in order": lambda: DataLoader(ROWS, 4),
    "with a generator": lambda: DataLoader(ROWS, 4, shuffle=True, generator=torch.Generator()),
    "a part": lambda: DataLoader(random_split(ROWS, [15, 8], torch.Generator())[0], 4, shuffle=True),
    "batches of indices": lambda: indexed(RandomSampler(ROWS)),
    "with replacement": lambda: DataLoader(ROWS, 4, sampler=RandomSampler(ROWS, replacement=True)),
}
UNKNOWN = {
    "a generator that is seeded again": lambda: DataLoader(
        ROWS, 4, sampler=RandomSampler(ROWS, replacement=True, num_samples=90, generator=torch.Generator())
    ),
    "several passes": lambda: DataLoader(
        ROWS, 4, sampler=RandomSampler(ROWS, num_samples=40, generator=torch.Generator())
    ),
    "workers": lambda: DataLoader(ROWS, 4, num_workers=1),
    "a list": lambda: [torch.ones(3)],
    "a sampler of ones own": lambda: DataLoader(ROWS, 4, sampler=[3, 1, 2]),
}


@pytest.mark.parametrize("name", KNOWN)
@pytest.mark.parametrize("epoch", [1, 3])
def test_the_rows_are_those_of_the_batches_that_come(name, epoch):
    loader = KeyedLoader(KNOWN[name](), seed=7)
    loader.enter(epoch)
    rows = loader.rows()
    loader.enter(epoch)
    batches = list(loader)
    fetch = loader.loader
    fetched = [fetch.collate_fn(fetch.dataset.__getitems__(of_batch)) for of_batch in rows]
    assert len(fetched) == len(batches)
    assert all(torch.equal(one[0], other[0]) for one, other in zip(fetched, batches, strict=True))


@pytest.mark.parametrize("name", UNKNOWN)
def test_of_others_nothing_is_known(name):
    assert KeyedLoader(UNKNOWN[name](), seed=7).rows() is None


@pytest.mark.parametrize("name", [*KNOWN, "a generator that is seeded again", "several passes", "a list"])
@pytest.mark.parametrize("start", [0, 1, 2, 4])
def test_batches_that_are_passed_over_change_nothing(name, start):
    make = {**KNOWN, **UNKNOWN}[name]
    loader = KeyedLoader(make(), seed=7)
    torch.manual_seed(1)
    whole = [(batch, torch.rand(1)) for batch in loader]
    loader = KeyedLoader(make(), seed=7)
    loader.enter(1, min(start, len(whole)))
    rest = [(batch, torch.rand(1)) for batch in loader]
    assert len(rest) == len(whole) - min(start, len(whole))
    for (one, drawn), (other, drawn_too) in zip(rest, whole[start:], strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(drawn, drawn_too)


def test_data_sets_of_equal_rows_are_the_same_and_others_are_not():
    assert same_rows(ROWS, TensorDataset(torch.arange(23.0)))
    assert not same_rows(ROWS, TensorDataset(torch.arange(23.0).double()))
    assert not same_rows(ROWS, TensorDataset(torch.arange(24.0)))
    assert not same_rows(random_split(ROWS, [15, 8])[0], random_split(ROWS, [8, 15])[1])
    assert not same_rows(SequentialSampler, ROWS)


def test_a_pair_is_kept_so_that_none_takes_its_place():
    pairs = KnownPairs()
    places = set()
    for value in (0.0, 1.0, 2.0):
        other = TensorDataset(torch.full((23,), value))
        places.add(id(other))
        assert not pairs.are_same(ROWS, other)
        del other
    assert len(places) == 3

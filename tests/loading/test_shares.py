"""The parts of all processes are the batches of one: nothing is lost, and nothing counts twice."""

import logging
from collections import Counter, namedtuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import BatchSampler, DataLoader, Dataset, DistributedSampler, IterableDataset, SequentialSampler

from ignite_recipes.loading.keyed_loader import KeyedLoader
from ignite_recipes.loading.shares import Part, Shares, part_of

Pair = namedtuple("Pair", "x y")
NUMBERS = torch.arange(23)


def shares_of(make, processes):
    """Each process' batches, and how much of a batch each is."""
    found = []
    for number in range(processes):
        shares = Shares(make(), number, processes)
        found.append([(batch, shares.part) for batch in shares])
    return found


def numbers_in(batch):
    """Of the samples in a batch of any kind."""
    if isinstance(batch, dict):
        batch = batch["x"]
    return (batch[0] if isinstance(batch, (list, tuple)) else batch).tolist()


def counts_of(parts):
    """What each sample counts for, over all processes; in a batch of one process that is 1."""
    counts = Counter()
    for batches in parts:
        for batch, part in batches:
            for number in numbers_in(batch):
                counts[number] += part.share * part.whole / part.own
    return {number: round(count, 9) for number, count in counts.items()}


# Laws.


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 7))
def test_the_parts_of_a_batch_are_the_batch(batch, processes):
    parts = [part_of(batch, number, processes) for number in range(processes)]
    assert sum(part.share for _, part in parts) == pytest.approx(1)
    assert all((part.own, part.whole) == (len(own), len(batch)) for own, part in parts)
    if len(batch) >= 2 * processes:
        assert Counter(item for own, _ in parts for item in own) == Counter(batch)
        assert {part.copies for _, part in parts} == {1}
        sizes = [len(own) for own, _ in parts]
        assert max(sizes) - min(sizes) <= 1
        assert min(sizes) >= 2
    else:
        assert all(own == batch and part.copies == processes for own, part in parts)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(2, 5), st.booleans())
def test_the_parts_of_an_epoch_are_the_epoch(samples, batch_size, processes, drop_last):
    def loader():
        return DataLoader(torch.arange(samples), batch_size, drop_last=drop_last)

    expected = [number for batch in loader() for number in batch.tolist()]
    parts = shares_of(loader, processes)
    assert counts_of(parts) == dict.fromkeys(expected, 1.0)
    assert all(len(batches) == len(loader()) for batches in parts)
    for batches in zip(*parts, strict=True):
        assert sum(part.share for _, part in batches) == pytest.approx(1)


@given(st.integers(1, 30), st.integers(1, 5))
def test_a_mean_over_the_parts_by_their_shares_is_the_mean_over_the_batch(samples, processes):
    values = torch.randn(samples, dtype=torch.float64, generator=torch.Generator().manual_seed(samples)).tolist()
    parts = [part_of(values, number, processes) for number in range(processes)]
    assert sum(np.mean(own) * part.share for own, part in parts) == pytest.approx(np.mean(values))


# Loaders of every kind.


class Rows(Dataset):
    def __len__(self):
        return 23

    def __getitem__(self, k):
        return {"x": NUMBERS[k], "y": 2 * NUMBERS[k]}


class AtOnce(Rows):
    def __getitems__(self, indices):
        assert isinstance(indices, list)
        return NUMBERS[indices]


class Stream(IterableDataset):
    def __iter__(self):
        return iter(NUMBERS)


class Unsized:
    def __iter__(self):
        return iter(NUMBERS.split(5))


class TensorsOfIndices:
    def __iter__(self):
        return iter(NUMBERS.split(5))


LOADERS = {
    "list of tensors": lambda: list(NUMBERS.split(5)),
    "pairs": lambda: [(x, 2 * x) for x in NUMBERS.split(5)],
    "named pairs": lambda: [Pair(x, 2 * x) for x in NUMBERS.split(5)],
    "mappings": lambda: [{"x": x, "y": [2 * x], "scale": torch.tensor(3.0)} for x in NUMBERS.split(5)],
    "iterable without length": Unsized,
    "samples by index": lambda: DataLoader(Rows(), 5),
    "whole batches by index": lambda: DataLoader(AtOnce(), 5, collate_fn=lambda batch: batch),
    "workers": lambda: DataLoader(Rows(), 5, num_workers=2, prefetch_factor=4),
    "stream": lambda: DataLoader(Stream(), 5),
    "batches of the data set": lambda: DataLoader(NUMBERS.split(5), batch_size=None),
    "batch sampler": lambda: DataLoader(Rows(), batch_sampler=BatchSampler(SequentialSampler(Rows()), 5, False)),
    "generators of indices": lambda: DataLoader(
        Rows(), batch_sampler=[range(k, min(k + 5, 23)) for k in range(0, 23, 5)]
    ),
    "tensors of indices": lambda: DataLoader(Rows(), batch_sampler=TensorsOfIndices()),
    "subclass": lambda: type("Own", (DataLoader,), {})(Rows(), 5),
}


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("make", LOADERS.values(), ids=LOADERS)
def test_a_loader_of_any_kind_is_shared_out(make, processes):
    parts = shares_of(make, processes)
    assert counts_of(parts) == dict.fromkeys(range(23), 1.0)
    assert [[part.whole for _, part in batches] for batches in parts] == [[5, 5, 5, 5, 3]] * processes
    whole = next(iter(make()))
    for batch, part in (batches[0] for batches in parts):
        assert type(batch) is type(whole)
        assert len(numbers_in(batch)) == part.own
        if isinstance(batch, dict):
            y = batch["y"][0] if isinstance(batch["y"], list) else batch["y"]
            assert torch.equal(y, 2 * batch["x"])
        elif isinstance(batch, tuple):
            assert torch.equal(batch[1], 2 * batch[0])


def test_what_is_said_of_each_sample_is_shared_out_and_other_values_are_not():
    batch = {"x": torch.arange(6), "names": list("abcdef"), "array": np.arange(6), "epoch": 3, "sizes": [1, 2]}
    first, second = (parts[0][0] for parts in shares_of(lambda: [batch], 2))
    assert first["x"].tolist() == first["array"].tolist() == [0, 2, 4]
    assert (first["names"], second["names"]) == (["a", "c", "e"], ["b", "d", "f"])
    assert (second["epoch"], second["sizes"]) == (3, [1, 2])


def test_a_loader_is_gone_through_as_often_as_one_likes():
    shares = Shares(DataLoader(Rows(), 5, num_workers=2), 1, 2)
    next(iter(shares))  # workers are at later batches, which nobody takes
    for _ in range(2):
        parts = [(len(batch["x"]), shares.part.own) for batch in shares]
        assert parts == [(2, 2)] * 4 + [(3, 3)]
    assert len(shares) == 5
    with pytest.raises(TypeError):
        len(Shares(Unsized(), 0, 2))


def test_a_distributed_sampler_has_shared_out_already():
    def loader(number):
        sampler = DistributedSampler(Rows(), num_replicas=2, rank=number, shuffle=False)
        return DataLoader(Rows(), 4, sampler=sampler)

    for number in (0, 1):
        shares = Shares(loader(number), number, 2)
        found = [(batch["x"].tolist(), shares.part) for batch in shares]
        assert found[0] == ([number, number + 2, number + 4, number + 6], Part(4, 8))
        assert [len(batch) for batch, _ in found] == [4, 4, 4]
        assert found[0][1].share == 0.5


@pytest.mark.parametrize(
    "batch",
    [(torch.zeros(4, 2), torch.zeros(3)), (torch.tensor(1.0),), ["text"], torch.zeros(0, 2)],
    ids=["two lengths", "no length", "no tensor", "empty"],
)
def test_a_batch_without_one_number_of_samples_is_refused(batch):
    with pytest.raises(ValueError, match="one length, its number of samples"):
        list(Shares([batch], 0, 2))


def test_a_loader_that_is_not_the_same_in_all_processes_is_refused(monkeypatch):
    monkeypatch.setattr("ignite_recipes.loading.shares.all_equal", lambda value: False)
    for loader in ([NUMBERS], DataLoader(Rows(), 5)):
        with pytest.raises(ValueError, match="must be given the same loader"):
            list(Shares(loader, 0, 2))
    sampler = DistributedSampler(Rows(), num_replicas=2, rank=0)
    assert len(list(Shares(DataLoader(Rows(), 5, sampler=sampler), 0, 2))) == 3


def test_indices_that_look_different_in_each_process_are_not_compared(monkeypatch):
    compared = []
    monkeypatch.setattr("ignite_recipes.loading.shares.all_equal", lambda value: compared.append(value) or True)

    class Key:
        pass

    for _ in range(2):
        data = dict.fromkeys([Key() for _ in range(4)], NUMBERS[0])
        list(Shares(DataLoader(data, batch_sampler=[list(data)]), 0, 2))
    assert compared[0] == compared[1]


# In a keyed loader.


def test_what_the_batch_size_means_is_logged_once_for_the_training(monkeypatch, caplog):
    monkeypatch.setattr("ignite_recipes.loading.keyed_loader.world_size", lambda: 2)
    caplog.set_level(logging.INFO)
    for purpose in ("train", "validation"):
        KeyedLoader(DataLoader(Rows(), 5), 0, purpose)
    sampler = DistributedSampler(Rows(), num_replicas=2, rank=0)
    KeyedLoader(DataLoader(Rows(), 5, sampler=sampler), 0)
    assert caplog.messages == [
        "train: batches of 5 samples that 2 ranks share",
        "train: batches of 5 samples on each of 2 ranks",
    ]


@pytest.mark.parametrize("saved_by", [1, 2])
def test_a_place_is_compared_with_that_of_as_many_processes_only(saved_by, monkeypatch, caplog):
    monkeypatch.setattr("ignite_recipes.loading.keyed_loader.world_size", lambda: 2)
    loader = KeyedLoader(DataLoader(Rows(), 5), 0)
    loader.enter(1, 1, {"last_batch": "other", "world_size": saved_by})
    list(loader)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == (1 if saved_by == 2 else 0)

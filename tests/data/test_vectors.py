"""Vectors come in the order of their data, whatever holds them, and looking at them changes nothing."""

import random
from itertools import count

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from ignite_recipes import RowDataset, create_dataloaders
from ignite_recipes.data.vectors import feature_names_of, read_vectors, vector_batches

X = torch.rand(11, 3)
Y = torch.arange(11)
FRAME = pd.DataFrame(X.numpy(), columns=list("abc"))


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


class Table(pd.DataFrame):
    """As geopandas has one."""


class Endless(SequentialSampler):
    def __iter__(self):
        return count()


@pytest.mark.parametrize(
    "data",
    [
        X,
        X.numpy(),
        csr_array(X.numpy()),
        RowDataset(X),
        TensorDataset(X, Y),
        Subset(TensorDataset(X.flip(0), Y), range(10, -1, -1)),
        FRAME,
        FRAME.assign(place="Kole", d=pd.Series(["x"] * 11, dtype="category")),
        Table(FRAME),
        pl.DataFrame(X.numpy(), schema=list("abc")).with_columns(place=pl.lit("Kole")),
        list(X.split(4)),
        [part.numpy() for part in X.split(4)],
        DataLoader(Stream(), 4),
        [(X, Y)],
        DataLoader(X, 4),
        DataLoader(X, 4, generator=torch.Generator()),
        DataLoader(TensorDataset(X, Y), 4, shuffle=True),
        create_dataloaders(X, None, batch_size=4)[0],
        DataLoader(X, 4, shuffle=True, generator=torch.Generator()),
        DataLoader(X, 4, drop_last=True),
        DataLoader(X, 4, shuffle=True, drop_last=True),
        DataLoader(X, batch_sampler=BatchSampler(RandomSampler(X), 4, drop_last=False)),
        DataLoader(X, batch_sampler=[[0, 1, 2], list(range(3, 11))]),
        DataLoader(X, 4, sampler=range(11)),
        DataLoader(RowDataset(X), 4),
        DataLoader(RowDataset(X), 4, shuffle=True),
        DataLoader(RowDataset(X), batch_size=None, sampler=BatchSampler(SequentialSampler(X), 4, drop_last=False)),
    ],
    ids=lambda data: type(data).__name__,
)
def test_rows_come_in_their_order_and_no_generator_moves(data):
    own = getattr(data, "generator", None)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist(), own and own.get_state()
    torch.testing.assert_close(read_vectors(data), X)
    torch.testing.assert_close(read_vectors(data, 5), X[:5])
    assert torch.equal(before[0], torch.get_rng_state())
    assert before[1:3] == (random.getstate(), np.random.get_state()[1].tolist())
    assert own is None or torch.equal(before[3], own.get_state())


LOADERS = {
    "in order": (lambda: DataLoader(X, 4), None),
    "a whole last batch": (lambda: DataLoader(X, 11, drop_last=True), None),
    "shuffled": (lambda: DataLoader(X, 4, shuffle=True), "the loader shuffles: the 11 rows"),
    "cut": (lambda: DataLoader(X, 4, drop_last=True), "the loader drops its last rows: the 11 rows"),
}


@pytest.mark.parametrize(("make", "warning"), [pytest.param(*case, id=name) for name, case in LOADERS.items()])
def test_a_loader_that_is_read_otherwise_than_it_would_be_is_warned_of(make, warning, caplog):
    read_vectors(make())
    assert warning in caplog.text if warning else not caplog.text


SAMPLERS = {
    "with replacement": lambda: {"sampler": RandomSampler(X, replacement=True)},
    "a part at random": lambda: {"sampler": RandomSampler(X, num_samples=5)},
    "weighted": lambda: {"sampler": WeightedRandomSampler([1.0] * 11, 11)},
    "a subset": lambda: {"sampler": SubsetRandomSampler([0, 1, 2])},
    "backwards": lambda: {"sampler": range(10, -1, -1)},
    "too short": lambda: {"sampler": SequentialSampler(range(9))},
    "without end": lambda: {"sampler": Endless(X)},
    "batches of its own": lambda: {"batch_sampler": [[1, 0], list(range(2, 11))]},
    "rows twice": lambda: {"batch_sampler": [[0, 1, 2], list(range(11))]},
    "shuffled by hand": lambda: {"batch_size": None, "sampler": BatchSampler(RandomSampler(X), 4, drop_last=False)},
}


@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in SAMPLERS.items()])
def test_a_sampler_that_gives_other_rows_than_each_once_is_refused_where_the_order_counts(make):
    loader = DataLoader(X, **make())
    with pytest.raises(ValueError, match=r"each row of its data set once and in .* gives others: pass the data set"):
        read_vectors(loader)
    assert len(read_vectors(loader, 2, any_order=True)) == 2


def test_a_sampler_that_was_in_order_by_chance_is_not_asked_again():
    class Alternating:
        calls = 0

        def __iter__(self):
            self.calls += 1
            return iter([0, 1] if self.calls == 1 else [1, 0])

    torch.testing.assert_close(read_vectors(DataLoader(X[:2], 2, sampler=Alternating())), X[:2])


def test_only_a_batch_of_a_sparse_frame_is_dense():
    sparse = FRAME.round().astype(pd.SparseDtype(np.float32, 0))
    for frame in (sparse, pd.concat([sparse] * 200, ignore_index=True)):
        batches = list(vector_batches(frame))
        assert max(map(len, batches)) <= 1024
        torch.testing.assert_close(torch.cat(batches), torch.tensor(frame.sparse.to_dense().to_numpy()))


def test_a_frame_knows_the_names_of_its_columns_of_numbers():
    assert feature_names_of(FRAME.assign(place="Kole")) == ["a", "b", "c"]
    assert feature_names_of(RowDataset(X, ["a", "b", "c"])) == ["a", "b", "c"]
    assert feature_names_of(X) is None


def test_images_keep_their_shape():
    images = torch.rand(5, 1, 2, 3)
    for data in (images, images.numpy(), TensorDataset(images)):
        torch.testing.assert_close(read_vectors(data, 3), images[:3])


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (X[0], ValueError, r"\(N, D\) vectors .*got shape \(3,\)"),
        (X[:0], ValueError, "at least one vector; got none"),
        ([], ValueError, "at least one vector; got none"),
        (3, TypeError, "a tensor, an array.*got int"),
        ("rows.csv", TypeError, "a tensor, an array.*got str"),
        (["rows"], TypeError, "must yield batches .*got str"),
        (list(X), ValueError, r"got shape \(3,\): pass single vectors as one tensor"),
        (FRAME.astype(str), ValueError, r"at least one column of numbers; got \['a', 'b', 'c'\]"),
        (FRAME["a"], TypeError, "must yield batches .*got float"),
    ],
)
def test_what_holds_no_vectors_is_refused(data, error, message):
    with pytest.raises(error, match=message):
        read_vectors(data)

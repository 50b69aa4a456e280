"""A loader yields every row once, whole batches at a time."""

import copy
import pickle
import random
import tracemalloc
import warnings

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix
from support.rows import numbered
from torch.utils.data import Subset, TensorDataset

from ignite_recipes.data import RowDataset, create_dataloaders, split_train_val


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.integers(1, 70), st.booleans())
def test_the_batches_hold_each_row_exactly_once(n, batch_size, sparse):
    dataset = RowDataset(csr_matrix(numbered(n)) if sparse else numbered(n))
    train_loader, val_loader = create_dataloaders(dataset, dataset, batch_size)
    assert val_loader is not None
    for loader in (train_loader, val_loader):
        batches = list(loader)
        assert all(type(batch) is torch.Tensor and batch.dtype == torch.float32 for batch in batches)
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)
        assert len(batches) == len(loader) == -(-n // batch_size)
        rows = torch.cat(batches)
        assert torch.equal(rows[rows[:, 0].argsort()], torch.from_numpy(numbered(n)))
    assert torch.equal(torch.cat(list(val_loader)), torch.from_numpy(numbered(n)))


def test_training_rows_are_shuffled_anew_each_epoch():
    loader, _ = create_dataloaders(RowDataset(numbered(100)), None)
    first, second = (torch.cat(list(loader))[:, 0].tolist() for _ in range(2))
    assert first != sorted(first)
    assert first != second


def test_a_batch_is_fetched_by_one_call():
    class Counting(RowDataset):
        calls = 0

        def __getitems__(self, indices):
            self.calls += 1
            return super().__getitems__(indices)

    dataset = Counting(numbered(10))
    loader, _ = create_dataloaders(dataset, None, batch_size=4)
    assert len(list(loader)) == dataset.calls == 3


def test_workers_fetch_the_same_batches():
    dataset = RowDataset(csr_matrix(numbered(20)))
    _, alone = create_dataloaders(dataset, dataset, batch_size=8)
    _, helped = create_dataloaders(dataset, dataset, batch_size=8, num_workers=2)
    assert all(torch.equal(one, other) for one, other in zip(alone, helped, strict=True))


def test_a_loader_can_be_pickled_for_workers_that_are_spawned():
    loader, _ = create_dataloaders(RowDataset(numbered(5)), None)
    assert pickle.loads(pickle.dumps(loader.collate_fn)) is loader.collate_fn
    assert len(copy.deepcopy(loader)) == 1


def test_without_validation_there_is_no_loader():
    assert create_dataloaders(RowDataset(numbered(5)), None)[1] is None


def test_other_data_sets_are_batched_as_torch_does():
    pairs = TensorDataset(torch.from_numpy(numbered(6)), torch.arange(6))
    subset = Subset(RowDataset(numbered(6)), [1, 3, 5])
    pair_loader, subset_loader = create_dataloaders(pairs, subset, batch_size=4)
    rows, labels = next(iter(pair_loader))
    assert torch.equal(rows, torch.from_numpy(numbered(6))[labels])
    assert torch.equal(next(iter(subset_loader)), torch.from_numpy(numbered(6)[[1, 3, 5]]))


@pytest.mark.parametrize("kind", [csr_matrix, csr_array])
def test_a_sparse_matrix_is_never_dense_as_a_whole(kind):
    """Its dense form would be 2 TB of bytes, which no machine gives; a batch of it is 64 MB of floats."""
    n, d, seen = 2_000_000, 1_000_000, 40
    indices = (np.arange(seen, dtype=np.int32) + 7, np.arange(seen, dtype=np.int32))
    indptr = np.minimum(np.arange(n + 1), seen).astype(np.int32)
    matrix = kind((np.ones(seen, np.uint8), indices[0], indptr), shape=(n, d))
    train, val = split_train_val(matrix, val_size=0.5)
    assert {side.rows.nnz for side in (train, val)} != {0}
    loaders = create_dataloaders(train, val, batch_size=16)
    assert all(next(iter(loader)).shape == (16, d) for loader in loaders)


@pytest.mark.parametrize(
    ("train", "got"),
    [
        (pd.DataFrame({"a": [1.0, 2.0]}), "DataFrame"),
        (pl.DataFrame({"a": [1.0]}), "DataFrame"),
        ("x.csv", "str"),
        (None, "NoneType"),
    ],
    ids=["pandas", "polars", "a file", "nothing"],
)
def test_what_is_no_data_set_is_refused_with_what_makes_one(train, got):
    with pytest.raises(TypeError, match=f"train must be a data set; got {got}: split_train_val"):
        create_dataloaders(train, None)


def test_a_sparse_frame_is_split_and_fetched_in_less_memory_than_its_dense_form():
    n, d = 40_000, 250
    frame = pd.DataFrame.sparse.from_spmatrix(csr_matrix((np.ones(n, np.uint8), np.arange(n) % d, np.arange(n + 1))))
    frame.insert(0, "SAMPLING EVENT IDENTIFIER", [f"S{number}" for number in range(n)])
    tracemalloc.start()
    loader, _ = create_dataloaders(*split_train_val(frame))
    assert sum(batch.sum().item() for batch in loader) == 0.8 * n
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < n * d / 2  # bytes; those of its dense form in one byte a value


def test_asking_for_pinned_memory_never_warns():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loader, _ = create_dataloaders(RowDataset(numbered(5)), None, pin_memory=True)
        next(iter(loader))
    assert torch.accelerator.is_available() or not loader.pin_memory


@pytest.mark.parametrize(("accelerator", "expected"), [("cuda", True), ("mps", False), (None, False)])
def test_memory_is_pinned_where_torch_can(monkeypatch, accelerator, expected):
    device = accelerator and torch.device(accelerator)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)
    assert create_dataloaders(RowDataset(numbered(5)), None, pin_memory=True)[0].pin_memory is expected
    assert create_dataloaders(RowDataset(numbered(5)), None)[0].pin_memory is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"batch_size": 2.5}, "got 2.5"),
        ({"num_workers": -1}, "num_workers must be a whole number of at least 0; got -1"),
        ({"train": RowDataset(np.zeros((0, 3)))}, "train must hold at least one row"),
        ({"val": RowDataset(np.zeros((0, 3)))}, "val must hold.*pass None"),
        ({"val": RowDataset(np.zeros((2, 4)))}, "same features; got 3 and 4"),
    ],
    ids=["no batch", "half a row", "negative workers", "no training rows", "no validation rows", "other features"],
)
def test_bad_arguments_of_the_loaders_say_what_must_hold(arguments, message):
    sides = {"train": RowDataset(numbered(5)), "val": RowDataset(numbered(5))}
    with pytest.raises(ValueError, match=message):
        create_dataloaders(**sides | arguments)


def test_splitting_and_loader_building_leave_the_global_generators_alone():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    create_dataloaders(*split_train_val(numbered(10)))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])

"""A split is a partition that keeps groups together; a loader yields every row once, whole batches at a time."""

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
from scipy.sparse import csc_matrix, csr_array, csr_matrix
from torch.utils.data import Subset, TensorDataset

from ignite_recipes.data import (
    RowDataset,
    create_dataloaders,
    create_species_matrix,
    load_ebird_data,
    split_train_val,
    write_example_ebd,
)

GROUP, CHECKLIST = "GROUP IDENTIFIER", "SAMPLING EVENT IDENTIFIER"


def numbered(n, d=3):
    """Rows that can be told apart: (n, d), the first column counts."""
    return np.arange(n * d, dtype=np.float32).reshape(n, d)


def read_only(array):
    array = array.copy()
    array.flags.writeable = False
    return array


KINDS = {
    "tensor": torch.from_numpy,
    "tensor of bytes": lambda array: torch.from_numpy(array).to(torch.uint8),
    "tensor with a gradient": lambda array: torch.from_numpy(array).requires_grad_(),
    "array": lambda array: array,
    "array of float64": lambda array: array.astype(np.float64),
    "array of int64": lambda array: array.astype(np.int64),
    "array of big-endian numbers": lambda array: array.astype(">f4"),
    "array that is read-only": read_only,
    "array turned backwards twice": lambda array: array[::-1].copy()[::-1],
    "csr matrix": csr_matrix,
    "csr array of bytes": lambda array: csr_array(array.astype(np.uint8)),
}
kinds = pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in KINDS.items()])


@kinds
def test_every_kind_of_matrix_gives_the_same_float32_rows(make):
    array = numbered(6)
    dataset = RowDataset(make(array), ["a", "b", "c"])
    assert (len(dataset), dataset.num_features, dataset.feature_names) == (6, 3, ["a", "b", "c"])
    for rows, expected in (
        (dataset[4], array[4]),
        (dataset[-1], array[-1]),
        (dataset.__getitems__([5, 0, 0]), array[[5, 0, 0]]),
        (torch.stack(list(dataset)), array),
    ):
        assert rows.dtype == torch.float32
        assert not rows.requires_grad
        assert torch.equal(rows, torch.from_numpy(expected))


@kinds
def test_a_dataset_survives_pickling(make):
    dataset = pickle.loads(pickle.dumps(RowDataset(make(numbered(4)), list("abc"))))
    assert torch.equal(dataset.__getitems__([3, 1]), torch.from_numpy(numbered(4)[[3, 1]]))
    assert dataset.feature_names == list("abc")


@kinds
def test_a_fetched_batch_can_be_written_to_without_changing_the_rows(make):
    dataset = RowDataset(make(numbered(4)))
    dataset.__getitems__([0, 1]).zero_()
    assert torch.equal(dataset.__getitems__([0, 1, 2, 3]), torch.from_numpy(numbered(4)))


@kinds
def test_a_row_beyond_the_end_is_an_index_error(make):
    with pytest.raises(IndexError):
        RowDataset(make(numbered(4)))[4]


@pytest.mark.parametrize(
    ("rows", "names", "error", "message"),
    [
        pytest.param(np.zeros(3), None, ValueError, r"2-D.*got shape \(3,\)", id="a vector"),
        pytest.param(torch.zeros(2, 3, 4), None, ValueError, r"got shape \(2, 3, 4\)", id="images"),
        pytest.param(np.zeros((2, 3)), ["a"], ValueError, "each of the 3 columns.*got 1 names", id="too few names"),
        pytest.param([[1.0]], None, TypeError, "got list", id="a list"),
        pytest.param(np.array([["a"]]), None, TypeError, "ndarray of <U1", id="text"),
        pytest.param(np.zeros((2, 3), complex), None, TypeError, "complex128", id="complex"),
        pytest.param(csc_matrix((2, 3)), None, TypeError, "csc_matrix", id="columns compressed"),
        pytest.param(torch.zeros(2, 3).to_sparse(), None, TypeError, "got Tensor", id="sparse tensor"),
    ],
)
def test_bad_rows_say_what_must_hold(rows, names, error, message):
    with pytest.raises(error, match=message):
        RowDataset(rows, names)


# Splits


def first_column(dataset):
    return dataset.__getitems__(list(range(len(dataset))))[:, 0].int().tolist()


@st.composite
def grouped_frames(draw):
    n = draw(st.integers(2, 40))
    groups = draw(st.lists(st.none() | st.sampled_from(["", "G1", "G2", "G3", "G4"]), min_size=n, max_size=n))
    frame = pd.DataFrame({"id": [f"S{i}" for i in range(n)], "number": np.arange(n), "other": 1})
    if draw(st.booleans()):
        return frame.assign(**{GROUP: groups}), groups
    return frame.set_index(pd.Index(groups, name=GROUP, dtype=object)), groups


@settings(max_examples=100, deadline=None)
@given(grouped_frames(), st.floats(0.01, 0.99) | st.integers(1, 40), st.integers(0, 2**32))
def test_a_split_is_a_partition_no_group_straddles_and_the_seed_decides(frame_groups, val_size, seed):
    frame, groups = frame_groups
    groups = [group or f"alone {i}" for i, group in enumerate(groups)]
    wanted = val_size if isinstance(val_size, int) else max(1, round(val_size * len(frame)))
    if len(set(groups)) < 2 or (isinstance(val_size, int) and val_size >= len(frame)):
        with pytest.raises(ValueError, match="got"):
            split_train_val(frame, ["number"], val_size, seed)
        return
    train, val = (first_column(side) for side in split_train_val(frame, ["number"], val_size, seed))
    assert sorted(train + val) == list(range(len(frame)))
    assert train
    assert val
    assert (train, val) == (sorted(train), sorted(val))
    assert not {groups[i] for i in train} & {groups[i] for i in val}
    largest = max(groups.count(group) for group in groups)
    assert len(val) < wanted + largest
    assert len(val) >= wanted or len({groups[i] for i in train}) == 1
    again = split_train_val(frame, ["number"], val_size, seed)
    assert [first_column(side) for side in again] == [train, val]


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 50), st.integers(1, 49), st.integers(0, 99))
def test_without_groups_the_number_of_rows_is_exact(n, val_size, seed):
    val_size = min(val_size, n - 1)
    _, val = split_train_val(numbered(n), val_size=val_size, random_seed=seed)
    assert len(val) == val_size


@kinds
def test_every_kind_of_matrix_is_split_alike(make):
    train, val = split_train_val(make(numbered(10)), list("abc"), val_size=0.3)
    expected = split_train_val(pd.DataFrame(numbered(10)), val_size=0.3)
    assert (first_column(train), first_column(val)) == tuple(first_column(side) for side in expected)
    assert train.feature_names == val.feature_names == list("abc")


def test_another_seed_gives_another_split():
    splits = {tuple(first_column(split_train_val(numbered(30), random_seed=seed)[1])) for seed in range(5)}
    assert len(splits) == 5


def test_species_default_to_the_columns_of_numbers():
    frame = pd.DataFrame({"id": list("wxyz"), "a": [0, 1, 0, 1], "b": [True, False] * 2, GROUP: [None] * 4})
    train, _ = split_train_val(frame)
    assert train.feature_names == ["a", "b"]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(pd.array([1, 0, 1, None], dtype="Int64"), id="nullable"),
        pytest.param(pd.arrays.SparseArray([1, 0, 1, 0]), id="sparse"),
        pytest.param(np.array([True, False, True, False]), id="boolean"),
        pytest.param(np.array([1, 0, 1, 0], dtype=np.float16), id="half precision"),
    ],
)
def test_columns_of_several_kinds_are_read_together(other):
    frame = pd.DataFrame({"number": np.arange(4), "other": other})
    for dataset in split_train_val(frame, val_size=1):
        for row in dataset:
            assert row[1] == 1 - row[0] % 2 or (row[1].isnan() and row[0] == 3)


def test_species_choose_columns_in_their_order():
    train, val = split_train_val(pd.DataFrame(numbered(6), columns=list("abc")), ["c", "a"])
    assert train.feature_names == ["c", "a"]
    assert torch.equal(train[0] - val[0], (train[0] - val[0])[[1, 0]])
    assert train[0][0] == train[0][1] + 2


def test_a_sparse_frame_stays_sparse_and_equals_the_dense_one():
    dense = pd.DataFrame((numbered(20) % 5 == 0).astype(np.uint8), columns=list("abc"))
    sparse = dense.astype(pd.SparseDtype(np.uint8, 0))
    for from_sparse, from_dense in zip(split_train_val(sparse), split_train_val(dense), strict=True):
        assert isinstance(from_sparse.rows, (csr_matrix, csr_array))
        everything = list(range(len(from_dense)))
        assert torch.equal(from_sparse.__getitems__(everything), from_dense.__getitems__(everything))


def test_a_sparse_frame_that_is_full_of_something_else_is_read_right():
    frame = pd.DataFrame({"a": pd.arrays.SparseArray([1.0, 1, 0, 1], fill_value=1.0)})
    train, val = split_train_val(frame)
    assert sorted(first_column(train) + first_column(val)) == [0, 1, 1, 1]


def test_groups_survive_from_the_file_through_a_slice_to_the_split(tmp_path):
    data = load_ebird_data(write_example_ebd(tmp_path / "e.txt", 300))
    matrix, species = create_species_matrix(data, min_species_observations=5, apply_quality_filters=False)
    part = matrix[: len(matrix) // 2].assign(number=np.arange(len(matrix) // 2))
    train, val = (first_column(side) for side in split_train_val(part, ["number", *species]))
    assert part.index.duplicated().any()
    assert not set(part.index[train]) & set(part.index[val])


SHARED = pd.DataFrame({CHECKLIST: [f"S{n}" for n in range(40)], "number": np.arange(40)})
SHARED.index = pd.Index([f"G{n % 20}" for n in range(40)], name=GROUP)
FACTS = pd.DataFrame({CHECKLIST: SHARED[CHECKLIST].tolist(), "LATITUDE": 9.5})
KEEP_GROUPS = {
    "as it came": lambda: SHARED,
    "join": lambda: SHARED.join(FACTS.set_index(CHECKLIST), on=CHECKLIST),
    "the groups as a column, then merge": lambda: SHARED.reset_index().merge(FACTS, on=CHECKLIST),
    "merge with facts that hold the groups": lambda: SHARED.merge(FACTS.assign(**{GROUP: SHARED.index}), on=CHECKLIST),
    "checklists beside the groups in the index": lambda: SHARED.set_index(CHECKLIST, append=True),
}
LOSE_GROUPS = {
    "merge": lambda: SHARED.merge(FACTS, on=CHECKLIST),
    "a new index": lambda: SHARED.reset_index(drop=True),
    "the checklists as the index": lambda: SHARED.set_index(CHECKLIST),
    "merge of two groups": lambda: SHARED.reset_index().merge(FACTS.assign(**{GROUP: "G"}), on=CHECKLIST),
}


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in KEEP_GROUPS.items()])
def test_groups_survive_what_keeps_them(change, caplog):
    train, val = (first_column(side) for side in split_train_val(change(), ["number"]))
    assert not {n % 20 for n in train} & {n % 20 for n in val}
    assert not caplog.text


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in LOSE_GROUPS.items()])
def test_checklists_that_lost_their_groups_are_warned_of(change, caplog):
    split_train_val(change(), ["number"])
    assert f"has {CHECKLIST} but no {GROUP}" in caplog.text


def test_rows_of_one_checklist_stay_together_where_it_has_no_group():
    frame = pd.DataFrame({CHECKLIST: [f"S{n % 9}" for n in range(27)], "number": np.arange(27), GROUP: None})
    frame.loc[:4, GROUP] = "G1"
    train, val = (first_column(side) for side in split_train_val(frame[5:], ["number"]))
    assert not {n % 9 for n in train} & {n % 9 for n in val}
    train, val = (set(first_column(side)) for side in split_train_val(frame, ["number"]))
    assert {0, 1, 2, 3, 4} <= train or {0, 1, 2, 3, 4} <= val


@pytest.mark.parametrize("val_size", [0, 1.0, 0.0, -0.1, 10, -1, True, float("nan"), 1.5], ids=str)
def test_a_val_size_that_empties_a_side_is_refused(val_size):
    with pytest.raises(ValueError, match=r"val_size must be a fraction in \(0, 1\), or a number of rows from 1 to 9"):
        split_train_val(numbered(10), val_size=val_size)


@pytest.mark.parametrize(
    ("frame", "species", "message"),
    [
        pytest.param(pd.DataFrame({"a": [1, 2], GROUP: ["G", "G"]}), None, "two groups.*2 rows in 1", id="one group"),
        pytest.param(pd.DataFrame({"a": [1]}), None, "two groups.*1 rows", id="one row"),
        pytest.param(pd.DataFrame({"a": []}), None, "two groups.*0 rows", id="no row"),
        pytest.param(pd.DataFrame({"a": [1, 2]}), ["b"], r"columns of numbers in.*\['b'\]", id="unknown species"),
        pytest.param(pd.DataFrame({"a": [1, 2], "b": ["x", "y"]}), ["b"], r"got \['b'\]", id="a column of text"),
        pytest.param(pd.DataFrame({"a": [1, 2]}), [], r"at least one column.*got \[\]", id="no species"),
        pytest.param(pd.DataFrame({"a": [1, 2]}), "a", "got 'a'", id="a name instead of a list"),
        pytest.param(pd.DataFrame({"a": ["x", "y"]}), None, "column of numbers", id="no numbers"),
    ],
)
def test_a_frame_that_cannot_be_split_says_why(frame, species, message):
    with pytest.raises(ValueError, match=message):
        split_train_val(frame, species)


# Loaders


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


def test_a_frame_of_polars_is_split_as_the_same_frame_of_pandas():
    columns = {"GROUP IDENTIFIER": [f"G{k // 3}" for k in range(30)], "a": range(30), "b": [k / 2 for k in range(30)]}
    for ours, theirs in zip(
        split_train_val(pl.DataFrame(columns)), split_train_val(pd.DataFrame(columns)), strict=True
    ):
        assert ours.indices.tolist() == theirs.indices.tolist()
        assert torch.equal(ours.rows, theirs.rows)
        assert ours.feature_names == theirs.feature_names == ["a", "b"]


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


def test_rows_that_were_moved_are_the_same_dense_and_of_their_own_type():
    sparse = csr_matrix(np.eye(4, dtype=np.uint8))
    moved = RowDataset(sparse, list("abcd")).to("cpu")
    assert moved.rows.dtype == torch.uint8
    assert moved.feature_names == list("abcd")
    assert torch.equal(moved.__getitems__([2, 0]), torch.eye(4)[[2, 0]])


@kinds
def test_each_side_of_a_split_knows_which_rows_of_the_matrix_it_has(make):
    matrix = numbered(20)
    for side in split_train_val(make(matrix), val_size=0.3):
        assert side.__getitems__(list(range(len(side))))[:, 0].tolist() == matrix[side.indices, 0].tolist()
        assert side.to("cpu").indices is side.indices


def test_indices_are_a_number_for_each_row():
    assert RowDataset(numbered(4)).indices.tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="a number for each of the 4 rows"):
        RowDataset(numbered(4), indices=np.arange(3))

"""A split is a partition that keeps groups together, and a function of its seed."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array, csr_matrix
from support.rows import first_column, kinds, numbered

from ignite_recipes.data import create_species_matrix, load_ebird_data, split_train_val, write_example_ebd

GROUP, CHECKLIST = "GROUP IDENTIFIER", "SAMPLING EVENT IDENTIFIER"


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


def test_a_frame_of_polars_is_split_as_the_same_frame_of_pandas():
    columns = {"GROUP IDENTIFIER": [f"G{k // 3}" for k in range(30)], "a": range(30), "b": [k / 2 for k in range(30)]}
    for ours, theirs in zip(
        split_train_val(pl.DataFrame(columns)), split_train_val(pd.DataFrame(columns)), strict=True
    ):
        assert ours.indices.tolist() == theirs.indices.tolist()
        assert torch.equal(ours.rows, theirs.rows)
        assert ours.feature_names == theirs.feature_names == ["a", "b"]


@kinds
def test_each_side_of_a_split_knows_which_rows_of_the_matrix_it_has(make):
    matrix = numbered(20)
    for side in split_train_val(make(matrix), val_size=0.3):
        assert side.__getitems__(list(range(len(side))))[:, 0].tolist() == matrix[side.indices, 0].tolist()
        assert side.to("cpu").indices is side.indices

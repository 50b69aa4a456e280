"""Every row is on one side, classes have their shares, groups are whole, and what is validated on comes after."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data.table_split import split_rows

SIZES = st.one_of(st.floats(0.05, 0.9), st.integers(1, 19))


def check_sides(train, val, rows):
    assert sorted([*train, *val]) == list(range(rows))
    assert len(train)
    assert len(val)
    assert (np.diff(train) > 0).all()
    assert (np.diff(val) > 0).all()


@given(rows=st.integers(20, 200), val_size=SIZES, seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_every_row_is_on_one_side_and_the_seed_says_which(rows, val_size, seed):
    train, val = split_rows(rows, val_size, seed)
    check_sides(train, val, rows)
    assert len(val) == (val_size if isinstance(val_size, int) else max(1, round(val_size * rows)))
    again = split_rows(rows, val_size, seed)
    assert [*again[0]] == [*train]


@given(counts=st.lists(st.integers(20, 60), min_size=2, max_size=4), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_each_class_has_its_share(counts, seed):
    labels = np.repeat(np.arange(len(counts)), counts)
    train, val = split_rows(len(labels), 0.25, seed, labels=labels)
    check_sides(train, val, len(labels))
    for k, count in enumerate(counts):
        assert abs((labels[val] == k).sum() - count / 4) <= 1


@given(groups=st.lists(st.integers(0, 9), min_size=20, max_size=80), seed=st.integers(0, 9), classes=st.booleans())
@settings(max_examples=30, deadline=None)
def test_no_group_is_on_both_sides(groups, seed, classes):
    groups = np.array([0, 1, *groups])
    labels = np.arange(len(groups)) % 3 if classes else None
    train, val = split_rows(len(groups), 0.2, seed, labels=labels, groups=groups)
    check_sides(train, val, len(groups))
    assert not set(groups[train]) & set(groups[val])


@given(times=st.lists(st.integers(0, 30), min_size=20, max_size=80))
@settings(max_examples=30, deadline=None)
def test_what_is_validated_on_comes_after_all_that_is_trained_on(times):
    times = np.array([*times, -1])
    train, val = split_rows(len(times), 0.2, times=times)
    check_sides(train, val, len(times))
    assert times[train].max() < times[val].min()


def test_groups_get_about_the_wanted_rows_and_shares_of_classes():
    groups, labels = np.repeat(np.arange(100), 10), np.tile([0, 0, 0, 1], 250)
    _, val = split_rows(1000, 0.2, 0, labels=labels, groups=groups)
    assert len(val) == 200
    assert labels[val].mean() == pytest.approx(0.25, abs=0.05)


def test_a_class_of_one_row_is_trained_on(caplog):
    labels = np.array([0] * 20 + [1] * 20 + [2])
    for seed in range(5):
        train, _ = split_rows(41, 0.2, seed, labels=labels)
        assert 40 in train
    assert not caplog.records


def test_too_few_rows_for_shares_are_drawn_all_the_same_and_it_is_said(caplog):
    train, val = split_rows(6, 1, 0, labels=np.array([0, 0, 1, 1, 2, 2]))
    check_sides(train, val, 6)
    assert "too few rows of some classes" in caplog.text


REFUSED = {
    "fraction": ({"num_rows": 9, "val_size": 1.0}, r"val_size must be a fraction in \(0, 1\).* got 1.0"),
    "all rows": ({"num_rows": 9, "val_size": 9}, "leaves some of the 9 to train on; got 9"),
    "a truth": ({"num_rows": 9, "val_size": True}, "got True"),
    "not a number": ({"num_rows": 9, "val_size": float("nan")}, "got nan"),
    "one row": ({"num_rows": 1}, "some of the 1"),
    "one group": ({"num_rows": 9, "groups": np.zeros(9)}, "at least two groups; got 1"),
    "one time": ({"num_rows": 9, "times": np.zeros(9)}, "at least two times"),
    "both": ({"num_rows": 9, "times": np.arange(9), "groups": np.arange(9)}, "by group or by time; got both"),
}


@pytest.mark.parametrize(("arguments", "said"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_split_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        split_rows(**arguments)

"""Every row is validated on once, groups are not torn apart, and nobody trains on the future."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data.folds import fold_rows


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(2, 7), st.integers(0, 3), st.booleans(), st.booleans(), st.data())
def test_every_row_is_validated_on_once_and_trained_on_in_all_other_folds(n, folds, seed, by_class, by_group, data):
    labels = np.array(data.draw(st.lists(st.integers(0, 3), min_size=n, max_size=n))) if by_class else None
    groups = np.array(data.draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))) if by_group else None
    try:
        sides = fold_rows(n, folds, seed, labels=labels, groups=groups)
    except ValueError:  # fewer rows or groups than folds, or groups that leave one without any
        assert n < folds or by_group
        return
    assert len(sides) == folds
    assert sorted(np.concatenate([val for _, val in sides])) == list(range(n))
    for train, val in sides:
        assert sorted([*train, *val]) == list(range(n))
        assert len(val)
        if groups is not None:
            assert not set(groups[train]) & set(groups[val])


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), min_size=2, max_size=50), st.integers(2, 6))
def test_a_fold_by_time_trains_on_what_was_before_it_only(times, folds):
    moments = np.array(times)
    if len(set(times)) <= folds:
        with pytest.raises(ValueError, match=f"at least {folds + 1} times"):
            fold_rows(len(times), folds, times=moments)
        return
    sides = fold_rows(len(times), folds, times=moments)
    assert len(sides) == folds
    for (train, val), following in zip(sides, [*sides[1:], None], strict=True):
        assert moments[train].max() < moments[val].min()
        if following is not None:
            assert sorted(following[0]) == sorted([*train, *val])
    assert sides[-1][1].max() == len(times) - 1 or moments[sides[-1][1]].max() == moments.max()


def test_parts_by_time_are_of_about_one_size():
    sides = fold_rows(600, 5, times=np.arange(600))
    assert [len(val) for _, val in sides] == [100] * 5
    assert len(sides[0][0]) == 100


def test_each_fold_has_its_share_of_every_class():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    for _, val in fold_rows(100, 5, labels=labels):
        assert np.bincount(labels[val]).tolist() == [10, 6, 4]


def test_the_folds_are_a_function_of_the_seed():
    first, again, other = (fold_rows(50, 3, seed)[0][1] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_class_with_fewer_rows_than_folds_is_said_and_is_no_error(caplog):
    sides = fold_rows(22, 5, labels=np.repeat([0, 1], [20, 2]))
    assert len(sides) == 5
    assert "the rarest class has 2 rows" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"num_rows": 3, "folds": 5}, "at least as many rows; got 3"),
        ({"num_rows": 9, "folds": 1}, "folds must be a whole number of at least 2; got 1"),
        ({"num_rows": 9, "folds": 2.5}, "whole number"),
        ({"num_rows": 4, "folds": 3, "groups": np.array([0, 0, 1, 1])}, "at least as many groups; got 2"),
        ({"num_rows": 4, "folds": 2, "groups": np.arange(4), "times": np.arange(4)}, "by group or by time; got both"),
    ],
)
def test_what_cannot_be_divided_is_refused(arguments, said):
    with pytest.raises(ValueError, match=said):
        fold_rows(**arguments)

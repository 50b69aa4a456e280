"""A plan holds every combination once, and each member has a name that is a folder's on every system."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ignite_recipes.many.planning import NAMES_LENGTH, plan_members, seeds_of, setting_label

TEXTS = st.text("ab/\\ .é-_=", max_size=6) | st.just("long" * 80)
VALUES = st.one_of(st.integers(-3, 3), st.floats(allow_nan=False), st.booleans(), st.none(), TEXTS, st.just(("a", 1)))


@given(
    st.lists(st.integers(0, 2**32), min_size=1, max_size=4, unique=True),
    st.dictionaries(
        st.sampled_from(["learning_rate", "a_long_name_of_a_setting", "x"]),
        st.lists(VALUES, min_size=1, max_size=3, unique_by=lambda value: (type(value), value)),
        max_size=3,
    ),
    st.sampled_from([None, 2, 5]),
)
def test_every_combination_is_a_member_with_a_name_of_its_own(seeds, sweep, folds):
    texts = [[setting_label({name: value}).lower() for value in values] for name, values in sweep.items()]
    if any(len(set(own)) < len(own) for own in texts):  # values that are written alike, as 1 and 1.0
        with pytest.raises(ValueError, match="names of members must each be given once"):
            plan_members(seeds, sweep, folds)
        return
    members = plan_members(seeds, sweep, folds)
    count = len(seeds) * (folds or 1)
    for values in sweep.values():
        count *= len(values)
    assert len(members) == count
    names = [member.name for member in members]
    assert len({name.lower() for name in names}) == count  # some systems do not tell a from A
    for name in names:
        assert re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9=._+-]*", name)
        assert len(name) <= NAMES_LENGTH


def test_the_seeds_are_outermost_so_that_a_part_of_it_can_be_compared():
    names = [member.name for member in plan_members([3, 1], {"rate": [0.1, 1e-5]}, 2)]
    assert names == [
        *("rate=0.1_seed=3_fold=1", "rate=0.1_seed=3_fold=2", "rate=1e-05_seed=3_fold=1", "rate=1e-05_seed=3_fold=2"),
        *("rate=0.1_seed=1_fold=1", "rate=0.1_seed=1_fold=2", "rate=1e-05_seed=1_fold=1", "rate=1e-05_seed=1_fold=2"),
    ]


@pytest.mark.parametrize(
    ("seeds", "sweep", "folds", "said"),
    [
        ([1, 1], None, None, "seeds must each be given once; got 1 twice"),
        ([], None, None, "seeds must be at least one"),
        ([-1], None, None, "at least 0; got -1"),
        ([0], {"rate": []}, None, "the values of rate must be at least one"),
        ([0], {"rate": [1, 1]}, None, "the values of rate must each be given once; got 1 twice"),
        ([0], {"rate": 0.1}, None, "a list of values to rate; got 0.1"),
        ([0], {"rate": "0.1,0.2"}, None, "a list of values to rate"),
        ([0], {"rate": [1, "1"]}, None, "names of members"),
        ([0], {"kind": ["a", "A"]}, None, "names of members"),
        ([0], None, 1, "folds must be a whole number of at least 2"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(seeds, sweep, folds, said):
    with pytest.raises(ValueError, match=re.escape(said)):
        plan_members(seeds, sweep, folds)


def test_seeds_are_a_number_or_a_list():
    assert seeds_of(3) == [0, 1, 2]
    assert seeds_of(2, first=7) == [7, 8]
    assert seeds_of((4, 2)) == [4, 2]
    for wrong in (0, -1, 1.5, [], "8"):
        with pytest.raises(ValueError, match="seeds must be"):
            seeds_of(wrong)


def test_a_setting_is_called_by_its_values():
    assert setting_label({"rate": 0.001, "layers": 2, "scheduler": None, "on": True}) == (
        "rate=0.001, layers=2, scheduler=none, on=true"
    )

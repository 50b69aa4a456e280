"""How many runs there is room for is measured with the first."""

import pytest

from ignite_recipes.many.room import Room


@pytest.mark.parametrize(
    ("free", "grown", "expected"),
    [(1000, 100, 8), (1000, 790, 1), (1000, 5000, 1), (1000, 0, 800), (10**12, 10**6, 800_000)],
)
def test_the_first_run_shows_what_one_needs(free, grown, expected):
    used = iter([70, 70 + grown])
    room = Room(free, lambda: next(used))
    assert room.runs(0) == 1
    assert [room.runs(begun) for begun in (1, 2, 5)] == [expected] * 3


def test_where_the_system_says_nothing_all_fit(monkeypatch):
    monkeypatch.setattr("ignite_recipes.many.room._free", lambda: None)
    assert Room().runs(0) > 10**6


def test_this_system_says_something_sensible():
    assert Room().runs(0) in (1, 10**9)

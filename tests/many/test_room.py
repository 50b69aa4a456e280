"""How many runs there is room for is measured with the first."""

from pathlib import Path

import pytest

from ignite_recipes.many import room as module
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


def test_of_several_first_runs_each_needs_its_part():
    used = iter([70, 270])
    assert Room(1000, lambda: next(used)).runs(2) == 8


def test_what_is_free_is_the_least_that_the_system_and_the_control_group_leave(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "Path", lambda path: Path(f"{tmp_path}{path}"))
    for folder in ("proc", "sys/fs/cgroup"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "proc/meminfo").write_text("MemTotal: 9 kB\nMemAvailable: 5 kB\n")
    assert module._free() == 5 * 1024
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("3000\n")
    (tmp_path / "sys/fs/cgroup/memory.current").write_text("1000\n")
    assert module._free() == 2000
    (tmp_path / "sys/fs/cgroup/memory.max").write_text("max\n")
    assert module._free() == 5 * 1024

"""The benchmark of tables measures every program on the same rows, and memory in a process of its own."""

import sys

import pytest

from benchmarks import tables as benchmark


def test_every_program_is_measured_on_the_same_rows(monkeypatch):
    found = {name: data for name, data in benchmark.data_sets().items() if name in ("wine", "modechoice, chosen")}
    assert len(found) == 2
    seen = []
    for name in benchmark.PROGRAMS:
        monkeypatch.setitem(
            benchmark.PROGRAMS,
            name,
            lambda data, train, test, seed: seen.append(test.index.tolist()) or {"accuracy": 50.0, "log_loss": 0.5},
        )
    monkeypatch.setattr(benchmark, "data_sets", lambda: found)
    assert benchmark.tables(1).count("50.0 ± 0.0") == 2 * len(benchmark.PROGRAMS)
    assert seen[0] == seen[1] == seen[2]
    assert seen[-1] != seen[0]


def test_each_program_learns_something():
    wine, diabetes = (benchmark.data_sets()[name] for name in ("wine", "diabetes"))
    for program in benchmark.PROGRAMS.values():
        assert program(wine, *benchmark.held_out(wine, 0), 0)["accuracy"] > 60
    assert benchmark.ours(diabetes, *benchmark.held_out(diabetes, 0), 0)["rmse"] < 70


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_is_measured_beside_the_numbers(monkeypatch, tmp_path):
    monkeypatch.setattr(benchmark, "ROWS", 2000)
    lines = benchmark.table_memory(tmp_path).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["train one epoch", "predict"]
    assert all(float(line.split("|")[2]) > 0 for line in lines[2:])

"""Programs run in turns, in processes of their own; each workload runs; ratios are taken round by round."""

import functools
import importlib
import os
import time

import pytest

from benchmarks.measuring import Figures, in_turns, ratio, table


def noting(path, name):
    """A program that notes each of its runs, and the process it is in."""

    def work():
        with open(path, "a") as file:
            file.write(f"{name} {os.getpid()}\n")

    return work


def holding(mebibytes):
    def work():
        block = bytearray(mebibytes * 2**20)
        block[::4096] = b"x" * len(block[::4096])
        time.sleep(0.01)

    return work


def failing():
    return lambda: 1 / 0


def missing():
    import no_such_framework  # noqa: F401


def test_programs_run_in_turns_each_in_a_process_of_its_own_beginning_with_another_in_each_round(tmp_path):
    path = tmp_path / "runs"
    programs = {name: functools.partial(noting, path, name) for name in "abc"}
    figures = in_turns(programs, rounds=3, warm_up=0)
    lines = [line.split() for line in path.read_text().splitlines()]
    assert "".join(name for name, _ in lines) == "abcbcacab"
    assert len({pid for _, pid in lines}) == 3
    assert [len(figures[name].seconds) for name in "abc"] == [3, 3, 3]


def test_memory_is_that_of_the_program_and_one_that_cannot_be_made_is_left_out(capfd):
    figures = in_turns(
        {"small": functools.partial(holding, 1), "large": functools.partial(holding, 80), "no": missing}, 1
    )
    assert list(figures) == ["small", "large"]
    assert 70 < figures["large"].peak - figures["small"].peak < 95
    assert 70 < figures["large"].grown < 95
    assert "left out: no, for No module named 'no_such_framework'" in capfd.readouterr().err


def test_a_program_that_fails_is_named(capfd):
    with pytest.raises(RuntimeError, match="the program 'bad' failed"):
        in_turns({"bad": failing}, 1)
    assert "ZeroDivisionError" in capfd.readouterr().err


def test_a_ratio_compares_runs_of_one_round():
    slow_machine_in_round_two = Figures([1.0, 20.0, 3.0], 0, 0), Figures([2.0, 40.0, 4.0], 0, 0)
    assert ratio(*slow_machine_in_round_two) == (0.5, 0.5, 0.75)


def test_a_table_is_markdown():
    assert table(["a", "b"], [["x", 1]]).splitlines() == ["| a | b |", "| --- | ---: |", "| x | 1 |"]


# The modules are imported where they are used: every process of the tests above would take torch in.

TINY = {
    "mlp": {"ROWS": 96, "VAL_ROWS": 32, "EPOCHS": 2},
    "vae": {"ROWS": 256, "VAL_ROWS": 128, "EPOCHS": 1, "SPECIES": 20, "WIDTH": 16},
    "traffic": {"WINDOWS": 64, "VAL_WINDOWS": 32, "BATCH": 32, "EPOCHS": 1},
    "overhead": {"STEPS": 3, "EPOCHS": 1},
    "memory": {"ROWS": 256, "WIDTH": 16},
    "cuda": {"VAE_ROWS": 256, "VAE_EPOCHS": 1, "MLP_EPOCHS": 1},
}


@pytest.mark.parametrize("workload", TINY)
def test_every_program_but_those_of_other_frameworks_runs_more_than_once(workload, monkeypatch):
    for name, sizes in TINY.items():
        for constant, size in sizes.items():
            monkeypatch.setattr(importlib.import_module(f"benchmarks.{name}"), constant, size)
    module = importlib.import_module(f"benchmarks.{workload}")
    if workload == "memory":
        programs = [program for program, _ in module.PROGRAMS.values()]
    elif workload == "cuda":
        known = module.programs("cpu").values()
        programs = [program for of_it in known for name, program in of_it.items() if "compile" not in name]
    else:
        own = ("**", "loop", "matrix")  # others turn the log off, for their process
        programs = [program for name, program in module.PROGRAMS.items() if any(part in name for part in own)]
    for program in programs:
        work = program()
        work()
        work()


def test_what_compiling_brings_is_told_of_each_recipe(monkeypatch):
    from benchmarks import compiled

    runs = []

    def epochs(recipe, *, compile):
        runs.append(compile)
        return [9.0, 5.0, 1.0, 2.0, 1.5, 1.0] if compile else [1.0, 1.0, 2.0, 4.0, 3.0, 2.0]

    monkeypatch.setattr(compiled, "_epochs", epochs)
    lines = compiled.compiled(2).splitlines()
    assert runs == [False, True] * 6
    assert [line.split(" | ")[1:] for line in lines[2:]] == [["0.50", "12.0 |"]] * 3


@pytest.mark.slow
def test_growth_draws_time_and_memory_against_all_that_grows(tmp_path, monkeypatch):
    from benchmarks import growth

    for name, sizes in (
        ("WIDTHS", (4, 8)),
        ("ROW_COUNTS", (3_200,)),
        ("HANDLER_COUNTS", (0, 2)),
        ("RUN_LENGTHS", (100, 200)),
        ("STEPS", 5),
    ):
        monkeypatch.setattr(growth, name, sizes)
    growth._batches.cache_clear()
    alone = []

    def in_turns(programs, rounds, warm_up):
        alone.extend(programs)
        return {name: Figures([program()()], peak=9.0, grown=7.0) for name, program in programs.items()}

    monkeypatch.setattr(growth, "in_turns", in_turns)
    text = growth.growth(1, tmp_path / "growth.png")
    growth._batches.cache_clear()
    assert alone == [
        *("tuned loop 4", "tuned loop 8", "ours, everything on 4", "ours, everything on 8"),
        *("ours, everything on 3200", "a bare trainer 0", "a bare trainer 2"),
    ]
    assert text.count("| ours, everything on |") == 6
    assert text.count("| tuned loop | 7 | 7 |") == 1
    assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_the_command_lists_its_names_and_says_what_was_not_measured(capsys):
    from benchmarks.__main__ import main

    with pytest.raises(SystemExit):
        main(["nonsense"])
    assert "ebird-large" in capsys.readouterr().err
    assert main(["cuda", "--rounds", "1"]) == 0
    assert "### cuda" in capsys.readouterr().out

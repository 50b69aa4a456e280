"""A recipe that is killed at any moment, also inside a write, and resumed ends as if nothing had happened."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from ignite_recipes import write_checkpoint
from ignite_recipes.checkpoint.newest import newest_checkpoint
from ignite_recipes.checkpoint.run import FORMAT

HARNESS = Path(__file__).parent / "support" / "kill_harness.py"
COLUMNS = ["recipe", "workers", "inside", "at random", "in writes", "too early", "runs", "equal"]
RECIPES = ["vae", "classify", "supervised", "traffic", "table"]


pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")


def killed(folder, *arguments):
    """The harness's table, whose runs ended as those that were left alone."""
    command = [sys.executable, HARNESS, "--few", *arguments]
    environment = {**os.environ, "TMPDIR": str(folder)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.replace("every ", "").split() for line in done.stdout.splitlines()]
    table = {line[0]: dict(zip(COLUMNS, line, strict=True)) for line in lines if line and line[0] in RECIPES}
    for row in table.values():
        assert int(row["in writes"]) >= 1
        assert int(row["equal"]) == int(row["runs"]) >= 1
    return table


@pytest.mark.slow
def test_every_recipe_that_is_killed_and_resumed_ends_with_the_bits_of_a_run_left_alone(tmp_path):
    table = killed(tmp_path, "--kills", "12")
    assert list(table) == RECIPES
    for row in table.values():
        assert int(row["at random"]) + int(row["in writes"]) >= 3


@pytest.mark.slow
def test_a_recipe_that_is_killed_inside_a_write_and_resumed_ends_with_the_bits_of_a_run_left_alone(tmp_path):
    assert list(killed(tmp_path, "--recipe", "supervised", "--kills", "1")) == ["supervised"]


@pytest.mark.slow
def test_so_it_does_where_its_steps_are_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("IGNITE_RECIPES_CACHE", str(tmp_path / "cache"))
    assert list(killed(tmp_path, "--recipe", "supervised", "--compile", "step", "--kills", "2")) == ["supervised"]


def test_an_epoch_that_was_killed_between_its_files_is_done_again(tmp_path):
    for epoch, name in ((3, "best_model.pt"), (2, "epoch_2.pt"), (2, "latest_checkpoint.pt")):
        run = {"format": FORMAT, "progress": {"iteration": 5 * epoch, "epoch": epoch, "epoch_length": 5}, "parts": {}}
        write_checkpoint({"epoch": epoch, "model_state_dict": {}, "run": run}, tmp_path / name)
    assert newest_checkpoint(tmp_path) == tmp_path / "latest_checkpoint.pt"

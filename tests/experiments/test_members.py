"""An experiment of many is known by its plan; a damaged one is told of, and costs no member."""

from pathlib import Path

import pytest

from ignite_recipes import ExperimentManager, list_experiments
from ignite_recipes.cli import main
from ignite_recipes.experiments.manager import copy_experiment
from ignite_recipes.experiments.members import (
    Member,
    is_group,
    members_folder,
    outer_folder,
    read_plan,
    write_plan,
)

MEMBERS = [Member("rate=0.1_seed=0_fold=1", 0, {"rate": 0.1}, 1), Member("rate=0.1_seed=0_fold=2", 0, {"rate": 0.1}, 2)]


def test_a_plan_is_read_as_it_was_written(tmp_path):
    write_plan(tmp_path, {"members": MEMBERS, "folds": 2, "recipe": "supervised"})
    assert is_group(tmp_path)
    assert read_plan(tmp_path) == {"members": MEMBERS, "folds": 2, "recipe": "supervised"}


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"members": 3}', '{"members": [{"seed": 0}]}', '{"members": [{"name": "../x", "seed": 0}]}'],
)
def test_a_damaged_plan_names_the_members_that_are_there(tmp_path, text, capsys):
    whole = ExperimentManager(tmp_path, settings={"recipe": "supervised"}).experiment_dir
    ExperimentManager(members_folder(whole), new_exp="seed=0")
    Path(whole, "members.json").write_text(text)
    with pytest.raises(ValueError, match=r"members.json must hold the plan of many runs.*seed=0"):
        read_plan(whole)
    assert main(["show", "exp1", "--runs-dir", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert main(["list", "--runs-dir", str(tmp_path)]) == 0  # the others are listed all the same
    assert "must hold the plan of many runs" in capsys.readouterr().out


def test_a_new_experiment_may_have_a_name_in_place_of_a_number(tmp_path):
    made = ExperimentManager(tmp_path, new_exp="seed=3", settings={"seed": 3})
    assert Path(made.experiment_dir) == tmp_path / "seed=3"
    assert list_experiments(tmp_path) == ["seed=3"]
    with pytest.raises(FileExistsError, match="there is an experiment already"):
        ExperimentManager(tmp_path, new_exp="seed=3")
    for wrong in ("", ".hidden", "a/b", "..", "a\0b"):
        with pytest.raises(ValueError, match="without a path"):
            ExperimentManager(tmp_path, new_exp=wrong)
    assert ExperimentManager(tmp_path, resume_exp="seed=3").settings() == {"seed": 3}


def test_the_folder_of_members_is_inside_an_experiment(tmp_path):
    write_plan(tmp_path / "exp1", {"members": MEMBERS})
    assert outer_folder(members_folder(tmp_path / "exp1")) == tmp_path
    assert outer_folder(tmp_path) == tmp_path
    assert outer_folder(tmp_path / "members") == tmp_path / "members"  # somebody's own folder of that name


def test_a_copy_has_the_next_number_and_all_files_but_the_lock(tmp_path):
    source = Path(ExperimentManager(tmp_path, new_exp="seed=1").experiment_dir)
    (source / "checkpoints" / "latest.pt").write_bytes(b"weights")
    (source / ".lock").touch()
    ExperimentManager(tmp_path / "runs")
    copy = copy_experiment(source, tmp_path / "runs")
    assert copy == tmp_path / "runs" / "exp2"
    assert (copy / "checkpoints" / "latest.pt").read_bytes() == b"weights"
    assert not (copy / ".lock").exists()
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["exp1", "exp2"]

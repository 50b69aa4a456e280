"""Experiments get different numbers, appear complete, and stay inside their folder."""

import os
import subprocess
import sys

import pytest

from ignite_recipes.experiment import ExperimentManager


def test_numbers_go_up_even_over_gaps(tmp_path):
    (tmp_path / "exp7").mkdir()
    (tmp_path / "exp12x").mkdir()
    names = [os.path.basename(ExperimentManager(str(tmp_path)).experiment_dir) for _ in range(3)]
    assert names == ["exp8", "exp9", "exp10"]


def test_an_experiment_has_its_settings_and_is_found_again(tmp_path):
    made = ExperimentManager(str(tmp_path), settings={"epochs": 3, "file": None})
    found = ExperimentManager(str(tmp_path), resume_exp="exp1")
    assert found.settings() == {"epochs": 3, "file": None}
    assert vars(found) == vars(made)
    assert os.path.isdir(made.checkpoints_dir)
    found.write_settings({"epochs": 4})
    assert made.settings() == {"epochs": 4}
    assert sorted(os.listdir(made.experiment_dir)) == ["checkpoints", "config.yaml"]


def test_many_processes_get_different_experiments(tmp_path):
    code = "import sys; from ignite_recipes.experiment import ExperimentManager as E; E(sys.argv[1])"
    code = f"{code}; E(sys.argv[1]); E(sys.argv[1]); E(sys.argv[1])"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(4)]
    assert [process.wait() for process in processes] == [0] * 4
    assert sorted(os.listdir(tmp_path), key=lambda name: int(name[3:])) == [f"exp{n}" for n in range(1, 17)]


@pytest.mark.parametrize("name", ["../x", "/tmp", "a/b", "..", ".", ""])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match="without a path"):
        ExperimentManager(str(tmp_path), resume_exp=name)


def test_a_missing_experiment_is_named_with_those_there_are(tmp_path):
    ExperimentManager(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"'exp5'.*there are: exp1"):
        ExperimentManager(str(tmp_path), resume_exp="exp5")


def test_damaged_settings_are_named(tmp_path):
    made = ExperimentManager(str(tmp_path))
    for text in ("[1, 2", "- a list\n", ""):
        with open(made.config_file, "w") as file:
            file.write(text)
        with pytest.raises(ValueError, match=r"config\.yaml must hold"):
            made.settings()


def test_only_an_experiment_without_results_is_discarded(tmp_path):
    used, unused = ExperimentManager(str(tmp_path)), ExperimentManager(str(tmp_path))
    open(os.path.join(used.checkpoints_dir, "latest_checkpoint.pt"), "w").close()
    used.discard_unused()
    unused.discard_unused()
    assert os.listdir(tmp_path) == ["exp1"]

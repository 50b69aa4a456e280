"""Experiments get different numbers, appear complete, stay inside their folder, and are trained by one at a time."""

import logging
import os
import re
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.damage import truncate
from torch import nn

from ignite_recipes.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from ignite_recipes.experiments.manager import ExperimentBusyError, ExperimentManager, list_experiments

ROOT = Path(__file__).parents[2]
LOGGER = logging.getLogger("ignite_recipes.a_module")


def run(code, *arguments):
    command = [sys.executable, "-W", "ignore", "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def save(experiment, name, epoch):
    path = Path(experiment.checkpoints_dir) / name
    save_checkpoint(nn.Linear(2, 1), None, epoch, 0.5, 0.5, path)
    return path


def files_in(folder):
    return sorted(os.listdir(folder))


# New ones, and names


def test_numbers_go_up_even_over_gaps(tmp_path):
    (tmp_path / "exp7").mkdir()
    (tmp_path / "exp12x").mkdir()
    names = [os.path.basename(ExperimentManager(str(tmp_path)).experiment_dir) for _ in range(3)]
    assert names == ["exp8", "exp9", "exp10"]


def test_an_experiment_has_its_settings_and_is_found_again(tmp_path):
    made = ExperimentManager(str(tmp_path), settings={"epochs": 3, "file": None})
    found = ExperimentManager(str(tmp_path), resume_exp="exp1")
    assert found.settings() == {"epochs": 3, "file": None}
    assert vars(found) == vars(made) | {"resume_exp": "exp1"}
    assert os.path.isdir(made.checkpoints_dir)
    found.write_settings({"epochs": 4})
    assert made.settings() == {"epochs": 4}
    assert files_in(made.experiment_dir) == ["checkpoints", "config.yaml"]


def test_without_settings_there_is_an_empty_config(tmp_path):
    assert Path(ExperimentManager(str(tmp_path)).config_file).read_text() == "{}\n"


def test_settings_that_cannot_be_written_leave_the_old_ones_and_no_experiment(tmp_path):
    made = ExperimentManager(str(tmp_path), settings={"epochs": 3})
    with pytest.raises(Exception, match="cannot represent"):
        made.write_settings({"epochs": object()})
    with pytest.raises(Exception, match="cannot represent"):
        ExperimentManager(str(tmp_path), settings={"epochs": object()})
    assert made.settings() == {"epochs": 3}
    assert files_in(tmp_path) == ["exp1"]


AT_ONCE = """
import multiprocessing, sys
from ignite_recipes.experiments.manager import ExperimentManager
context = multiprocessing.get_context("fork")
barrier = context.Barrier(32)
def make():
    barrier.wait()
    ExperimentManager(sys.argv[1], settings={"a": 1})
processes = [context.Process(target=make) for _ in range(32)]
[process.start() for process in processes]
[process.join() for process in processes]
print([process.exitcode for process in processes])
"""


@pytest.mark.slow
def test_processes_that_ask_at_the_same_moment_get_different_experiments(tmp_path):
    assert run(AT_ONCE, tmp_path).strip() == str([0] * 32)
    assert list_experiments(tmp_path) == [f"exp{n}" for n in range(1, 33)]
    assert len(os.listdir(tmp_path)) == 32


NAMES = ["../x", "../../x", "/tmp", "/", "a/b", "a/", "..", ".", "", ".new-x", "exp1\0", "\0"]


@pytest.mark.parametrize("option", ["resume_exp", "fork_exp"])
@pytest.mark.parametrize("name", NAMES)
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name, option):
    base = tmp_path / "deep" / "runs"
    ExperimentManager(str(base))
    (base / ".new-x").mkdir()
    (tmp_path / "x").mkdir()
    (base / "a" / "b").mkdir(parents=True)
    with pytest.raises(ValueError, match="without a path"):
        ExperimentManager(str(base), **{option: name})


@pytest.mark.parametrize("option", ["resume_exp", "fork_exp"])
@pytest.mark.parametrize("name", ["exp5", "x" * 300, "\ud800"], ids=["exp5", "too long", "no text"])
def test_a_missing_experiment_is_named_with_those_there_are(tmp_path, option, name):
    ExperimentManager(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=re.escape(repr(name)) + r".*there are: exp1"):
        ExperimentManager(str(tmp_path), **{option: name})
    assert files_in(tmp_path) == ["exp1"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"seed: 1\n[1, 2", r"it is damaged, the mistake is in line \d: correct it, put back a copy"),
        (b"\xff\xfe\x00", r"it is damaged, it is not YAML: correct it"),
        (b"- a list\n", r"it is damaged, got list: put back a copy of it, or start"),
        (b"", r"it is damaged, it is empty: put back"),
        (None, r"there is no such file: put back a copy of it, or start a new experiment$"),
    ],
)
def test_damaged_settings_are_named_with_what_to_do(tmp_path, text, said):
    made = ExperimentManager(str(tmp_path))
    os.remove(made.config_file)
    if text is not None:
        Path(made.config_file).write_bytes(text)
    named = r"exp1/config\.yaml must hold the settings of an experiment.*" + said
    for read in (made.settings, lambda: ExperimentManager(str(tmp_path), fork_exp="exp1")):
        with pytest.raises(ValueError, match=named) as told:
            read()
        assert "\n" not in str(told.value)


def test_experiments_are_listed_as_people_count(tmp_path):
    for name in ("exp10", "exp2", "exp2b", "baseline", "7", "exp²", ".new-x"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").touch()
    (tmp_path / "no_experiment").mkdir()
    (tmp_path / "file").touch()
    assert list_experiments(tmp_path) == ["7", "baseline", "exp2", "exp2b", "exp10", "exp²"]
    assert list_experiments(str(tmp_path / "missing")) == []


def test_only_an_experiment_without_results_is_discarded(tmp_path):
    kept = ["checkpoints/latest_checkpoint.pt", "training_log.csv", "events.out"]
    for name in kept:
        used = ExperimentManager(str(tmp_path))
        (Path(used.experiment_dir) / name).touch()
        used.discard_unused()
    source = ExperimentManager(str(tmp_path), resume_exp="exp1")
    save(source, "best_model.pt", 3)
    unused = ExperimentManager(str(tmp_path), fork_exp="exp1")
    with unused.lock(), unused.log_to_file():
        LOGGER.error("it failed")
    assert files_in(unused.experiment_dir) == [".lock", "checkpoints", "config.yaml", "initial_weights.pt", "run.log"]
    unused.discard_unused()
    assert files_in(tmp_path) == ["exp1", "exp2", "exp3"]


def test_an_experiment_that_somebody_else_trains_is_not_discarded(tmp_path):
    mine, other = ExperimentManager(str(tmp_path)), ExperimentManager(str(tmp_path), resume_exp="exp1")
    with other.lock():
        mine.discard_unused()
        assert files_in(tmp_path) == ["exp1"]
        other.discard_unused()
        assert files_in(tmp_path) == []


# Forks


def test_a_fork_is_a_new_experiment_with_the_settings_and_the_best_weights_of_its_source(tmp_path):
    source = ExperimentManager(str(tmp_path), settings={"epochs": 3, "seed": 1, "forked_from": "exp0"})
    best, latest = save(source, "best_model.pt", 2), save(source, "latest_checkpoint.pt", 3)
    fork = ExperimentManager(str(tmp_path), fork_exp="exp1", settings={"epochs": 5, "new": None})
    assert fork.settings() == {"epochs": 5, "seed": 1, "forked_from": "exp1", "new": None}
    assert os.path.basename(fork.experiment_dir) == "exp2"
    assert os.listdir(fork.checkpoints_dir) == []
    assert fork.initial_weights == os.path.join(fork.experiment_dir, "initial_weights.pt")
    assert Path(fork.initial_weights).samefile(best)  # a link: nothing was copied
    assert source.settings()["forked_from"] == "exp0"
    whole = best.read_bytes()
    save(source, "best_model.pt", 9)  # the source continues
    assert Path(fork.initial_weights).read_bytes() == whole != best.read_bytes()
    again = ExperimentManager(str(tmp_path), resume_exp="exp2")
    assert again.initial_weights == fork.initial_weights
    assert source.initial_weights is None
    truncate(best)
    assert ExperimentManager(str(tmp_path), fork_exp="exp1").initial_weights is not None
    assert latest.samefile(tmp_path / "exp3" / "initial_weights.pt")


def test_without_a_sound_best_model_the_latest_sound_epoch_is_forked(tmp_path, caplog):
    source = ExperimentManager(str(tmp_path))
    for epoch in (10, 2, 7, 9, 11, 5):
        save(source, f"epoch_{epoch}.pt", epoch)
    truncate(Path(source.checkpoints_dir) / "epoch_11.pt")
    Path(source.checkpoints_dir, "best_model.pt").write_text("nonsense")
    for epoch in (10, 9, 7, 5, 2):
        fork = ExperimentManager(str(tmp_path), fork_exp="exp1")
        assert read_checkpoint(fork.initial_weights)["epoch"] == epoch
        os.remove(os.path.join(source.checkpoints_dir, f"epoch_{epoch}.pt"))
    assert "passed over" in caplog.text
    assert "best_model.pt" in caplog.text


def test_a_source_without_checkpoints_can_be_forked_one_with_damaged_ones_cannot(tmp_path):
    source = ExperimentManager(str(tmp_path))
    fork = ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert fork.initial_weights is None
    assert fork.settings() == {"forked_from": "exp1"}
    truncate(save(source, "best_model.pt", 1))
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        ExperimentManager(str(tmp_path), fork_exp="exp1")
    os.remove(source.config_file)
    with pytest.raises(ValueError, match="must hold the settings"):
        ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert files_in(tmp_path) == ["exp1", "exp2"]


def test_where_there_are_no_links_the_weights_are_copied(tmp_path, monkeypatch):
    def no_links(*args):
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", no_links)
    source = ExperimentManager(str(tmp_path))
    best = save(source, "best_model.pt", 1)
    fork = ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert Path(fork.initial_weights).read_bytes() == best.read_bytes()
    assert not Path(fork.initial_weights).samefile(best)


def test_the_weights_behind_a_symbolic_link_are_forked_not_the_link(tmp_path):
    source = ExperimentManager(str(tmp_path))
    save(source, "epoch_1.pt", 1)
    Path(source.checkpoints_dir, "best_model.pt").symlink_to("epoch_1.pt")
    fork = ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert read_checkpoint(fork.initial_weights)["epoch"] == 1


def test_a_fork_appears_with_its_weights(tmp_path, monkeypatch):
    save(ExperimentManager(str(tmp_path)), "best_model.pt", 1)
    appeared, rename = [], Path.rename

    def watched(self, target):
        appeared.append(files_in(self))
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", watched)
    ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert appeared == [["checkpoints", "config.yaml", "initial_weights.pt"]]


def test_a_fork_runs_no_code_from_its_source(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = ExperimentManager(str(tmp_path))
    torch.save({"model_state_dict": nn.Linear(1, 1)}, Path(source.checkpoints_dir) / "best_model.pt")
    Path(source.config_file).write_text("!!python/object/apply:os.mkdir ['made']")
    with pytest.raises(ValueError, match="must hold the settings"):
        ExperimentManager(str(tmp_path), fork_exp="exp1")
    source.write_settings({})
    with pytest.raises(CheckpointError, match="none of the 1"):
        ExperimentManager(str(tmp_path), fork_exp="exp1")
    assert files_in(tmp_path) == ["exp1"]


def test_resume_and_fork_exclude_each_other(tmp_path):
    ExperimentManager(str(tmp_path))
    with pytest.raises(ValueError, match="not both"):
        ExperimentManager(str(tmp_path), resume_exp="exp1", fork_exp="exp1")
    with pytest.raises(ValueError, match="not both"):
        ExperimentManager(str(tmp_path), "exp1", "exp1")


# The lock


def take(experiment):
    with experiment.lock():
        return "taken"


def test_another_manager_of_the_same_process_is_refused_the_same_one_is_not(tmp_path):
    mine, other = ExperimentManager(str(tmp_path)), ExperimentManager(str(tmp_path), resume_exp="exp1")
    elsewhere = ExperimentManager(str(tmp_path))
    with mine.lock():
        assert take(mine) == take(elsewhere) == "taken"
        for _ in range(2):
            message = rf"exp1 must not be trained twice .* process {os.getpid()} on .* start an experiment"
            with pytest.raises(ExperimentBusyError, match=message):
                take(other)
    assert take(other) == "taken"


def test_the_lock_ends_with_an_exception_which_is_passed_on(tmp_path):
    mine, other = ExperimentManager(str(tmp_path)), ExperimentManager(str(tmp_path), resume_exp="exp1")
    for error in (BlockingIOError("of the block's own"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as raised, mine.lock():
            raise error
        assert raised.value is error
        assert take(other) == "taken"


# A run that holds the lock, with a worker that was forked while it did and outlives it.
HOLDER = """
import os, sys, time
from ignite_recipes.experiments.manager import ExperimentManager
with ExperimentManager(sys.argv[1], resume_exp="exp1").lock():
    worker = os.fork()
    if worker:
        print(worker, flush=True)
    time.sleep(600)
"""


def test_another_process_is_refused_until_the_holder_is_killed_though_its_workers_live(tmp_path):
    mine = ExperimentManager(str(tmp_path))
    command = [sys.executable, "-W", "ignore", "-c", HOLDER, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as holder:
        worker = int(holder.stdout.readline())
        try:
            with pytest.raises(ExperimentBusyError, match=f"exp1 .* process {holder.pid} on "):
                take(mine)
            holder.kill()
            holder.wait()
            os.kill(worker, 0)  # it lives
            assert take(mine) == "taken"
        finally:
            holder.kill()
            os.kill(worker, signal.SIGKILL)


# The log


@contextmanager
def no_handlers():
    """Python's logging as a user's script finds it."""
    loggers = [logging.getLogger(), logging.getLogger("ignite_recipes")]
    before = [(logger.handlers[:], logger.level) for logger in loggers]
    for logger in loggers:
        logger.handlers.clear()
    try:
        yield loggers[1]
    finally:
        for logger, (handlers, level) in zip(loggers, before, strict=True):
            logger.handlers[:] = handlers
            logger.setLevel(level)


def test_what_the_package_logs_is_appended_with_the_time_and_the_level_is_left_alone(tmp_path):
    experiment, package = ExperimentManager(str(tmp_path)), logging.getLogger("ignite_recipes")
    before = package.handlers[:], package.level
    for number in (1, 2):
        with experiment.log_to_file():
            with experiment.log_to_file():  # a recipe inside a command: each record once
                LOGGER.warning("warning %d, ä", number)
            LOGGER.debug("too fine")
            logging.getLogger("another.library").warning("not ours")
        LOGGER.warning("outside")
        assert (package.handlers[:], package.level) == before
    lines = (tmp_path / "exp1" / "run.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" WARNING ")[1] for line in lines] == [
        "ignite_recipes.a_module: warning 1, ä",
        "ignite_recipes.a_module: warning 2, ä",
    ]
    assert all(re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} WARNING", line) for line in lines)


def test_an_exception_ends_the_log(tmp_path):
    before = logging.getLogger("ignite_recipes").handlers[:]
    with pytest.raises(KeyboardInterrupt), ExperimentManager(str(tmp_path)).log_to_file():
        raise KeyboardInterrupt
    assert logging.getLogger("ignite_recipes").handlers == before


def test_a_finer_level_of_the_users_is_followed(tmp_path):
    experiment = ExperimentManager(str(tmp_path))
    with no_handlers() as package, experiment.log_to_file():
        package.setLevel(logging.INFO)
        LOGGER.info("fine")
        LOGGER.debug("too fine")
    assert (tmp_path / "exp1" / "run.log").read_text().endswith("INFO ignite_recipes.a_module: fine\n")


def test_warnings_are_seen_as_before_while_they_go_to_the_file_too(tmp_path, capsys):
    experiment = ExperimentManager(str(tmp_path))
    with no_handlers() as package:
        with experiment.log_to_file():
            LOGGER.warning("seen")
            LOGGER.info("not seen")
        LOGGER.warning("seen again")
        assert package.handlers == []
    assert capsys.readouterr().err == "seen\nseen again\n"


def test_two_experiments_have_logs_of_their_own(tmp_path):
    one, two = ExperimentManager(str(tmp_path)), ExperimentManager(str(tmp_path))
    with one.log_to_file():
        LOGGER.warning("first")
        with two.log_to_file():
            LOGGER.warning("both")
    assert len((tmp_path / "exp1" / "run.log").read_text().splitlines()) == 2
    assert len((tmp_path / "exp2" / "run.log").read_text().splitlines()) == 1


def test_where_nothing_is_logged_there_is_no_log(tmp_path):
    with ExperimentManager(str(tmp_path)).log_to_file():
        pass
    assert "run.log" not in files_in(tmp_path / "exp1")

"""Every command keeps an experiment that can be forked, resumed, listed and checked."""

import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.commands import SMALL, every_recipe, latest, run, settings_of, train

import ignite_recipes
import ignite_recipes.data.mnist
from ignite_recipes import ExperimentManager, compare_experiments, plot_history, read_checkpoint, read_training_log
from ignite_recipes.cli import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")


@every_recipe
def test_it_keeps_settings_log_events_and_checkpoints(capsys, recipe):
    train(capsys, recipe, "--epochs", "2")
    files = {path.name for path in Path("runs/exp1").iterdir()}
    assert {"config.yaml", "training_log.csv", "run.log", "checkpoints"} <= files
    assert any(name.startswith("events.out.tfevents") for name in files)
    log = read_training_log("runs/exp1/training_log.csv")
    assert log["epoch"] == [1, 2]
    assert log["val_loss"] == latest("exp1")["history"]["val_loss"]
    assert "Epoch 2/2" in Path("runs/exp1/run.log").read_text()
    assert settings_of("exp1")["recipe"] == recipe


@every_recipe
def test_a_fork_begins_with_the_best_weights_and_changed_settings_and_says_where_it_came_from(capsys, recipe):
    train(capsys, recipe, "--epochs", "2", "--seed", "4")
    out = run(capsys, recipe, "--fork", "exp1", "--epochs", "1", "--learning-rate", "1e-12", "--device", "cpu")
    assert out[0] == 0, out[2]
    assert "runs/exp2" in out[1].splitlines()[-1]
    source, fork = settings_of("exp1"), settings_of("exp2")
    assert fork["forked_from"] == "exp1"
    changed = {name for name in source if source[name] != fork[name]}
    assert changed == {"forked_from", "epochs", "learning_rate"}
    best = read_checkpoint("runs/exp1/checkpoints/best_model.pt")["model_state_dict"]
    trained = latest("exp2")["model_state_dict"]
    for name, value in best.items():  # a rate of next to nothing leaves them, except for running statistics
        if value.is_floating_point() and "running" not in name:
            torch.testing.assert_close(trained[name], value, rtol=0, atol=1e-6)
    assert latest("exp2")["epoch"] == 1
    assert run(capsys, recipe, "--resume", "exp2", "--epochs", "2")[0] == 0


def test_a_fork_of_another_architecture_is_refused_and_leaves_nothing(capsys):
    train(capsys, "vae", "--epochs", "1")
    code, _, err = run(capsys, "vae", "--fork", "exp1", "--hidden-dimension", "8", "--epochs", "1")
    assert code == 2
    assert "another architecture" in err
    assert os.listdir("runs") == ["exp1"]


def test_a_resumed_fork_that_was_stopped_before_its_first_checkpoint_has_its_first_weights(capsys):
    train(capsys, "vae", "--epochs", "2")
    run(capsys, "vae", "--fork", "exp1", "--epochs", "2")
    run(capsys, "vae", "--fork", "exp1", "--epochs", "2")
    for path in (*Path("runs/exp3/checkpoints").iterdir(), Path("runs/exp3/training_log.csv")):
        path.unlink()
    assert run(capsys, "vae", "--resume", "exp3")[0] == 0
    for name, value in latest("exp2")["model_state_dict"].items():
        assert torch.equal(value, latest("exp3")["model_state_dict"][name])


MISTAKES = {
    "an unknown data set": (["classify", "--dataset", "mnits"], "did you mean 'mnist'"),
    "an unknown model": (["classify", "--model", "mynett"], "did you mean 'mynet'"),
    "missing files": (["classify", "--dataset", "fashion_mnist"], "train-images-idx3-ubyte"),
    "no files": (["classify", "--dataset", "idx", "--data-root", "nowhere"], "no folder"),
    "a folder for what ships with a package": (["classify", "--data-root", "data"], "takes no root"),
    "no such experiment to fork": (["classify", "--fork", "exp9"], "no experiment 'exp9'"),
    "an experiment outside": (["classify", "--fork", "../../x"], "../../x"),
    "both": (["vae", "--fork", "exp1", "--resume", "exp1"], "give one of them"),
    "another recipe's": (["classify", "--fork", "exp1"], "not an experiment of the command classify"),
    "a folder that cannot be written": (["vae", "--runs-dir", "/proc/runs"], "/proc/runs"),
    "an unknown key": (["classify", "--config", "unknown.yaml"], "colour"),
    "a wrong policy": (["classify", "--non-finite", "hope"], "non_finite must be one of"),
    "a setting that has another name here": (["vae", "--epochs", "0"], "epochs must be a whole number"),
    "no recipe to check": (["resume-check", "list"], "one of vae, classify"),
    "a resume to check": (["resume-check", "vae", "--resume", "exp1"], "leave out --resume"),
}


@pytest.mark.parametrize(("arguments", "named"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, monkeypatch, arguments, named):
    train(capsys, "vae", "--epochs", "1")
    Path("unknown.yaml").write_text("colour: red\n")
    monkeypatch.setattr("ignite_recipes.data.mnist._provide", _no_network(ignite_recipes.data.mnist))
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert named in err
    assert os.listdir("runs") == ["exp1"]


def _no_network(mnist):
    provide = mnist._provide
    return lambda folder, hashes, url: provide(folder, hashes, None)


def test_list_shows_what_there_is_and_the_best_of_every_experiment(capsys):
    out = run(capsys, "list")[1]
    assert f"recipes      {', '.join(sorted(SMALL))}" in out
    assert "lenet, mlp, mynet" in out
    assert "fashion_mnist, folder, idx, kmnist, mnist" in out
    assert "none in 'runs' yet" in out
    train(capsys, "vae", "--epochs", "2")
    train(capsys, "classify", "--epochs", "2")
    run(capsys, "classify", "--fork", "exp2", "--epochs", "1")
    ExperimentManager(settings={"recipe": "vae", "epochs": 7})
    Path("runs/exp5").mkdir()
    Path("runs/exp5/config.yaml").write_text("[")
    code, out, _ = run(capsys, "list")
    rows = {line.split()[0]: line for line in out.splitlines() if line.startswith("exp")}
    loss, accuracy = min(latest("exp1")["history"]["val_loss"]), max(latest("exp2")["history"]["val_accuracy"])
    assert code == 0
    assert f"val_loss {loss:.5g} at epoch 2" in rows["exp1"]
    assert f"val_accuracy {accuracy:.5g}%" in rows["exp2"]
    assert "2/2" in rows["exp2"]
    assert "forked from exp2" in rows["exp3"]
    assert "0/7" in rows["exp4"]
    assert "config.yaml must hold" in rows["exp5"]


@every_recipe
def test_a_run_that_a_signal_stopped_inside_an_epoch_resumes_exactly(capsys, recipe):
    train(capsys, recipe, "--epochs", "2")
    code, _, err = run(capsys, recipe, *SMALL[recipe], "--device", "cpu", "--epochs", "2", "--stop-at-iteration", "2")
    assert code == 143
    assert err.splitlines() == [f"ignite-recipes: stopped; resume with: ignite-recipes {recipe} --resume exp2"]
    assert latest("exp2")["run"]["progress"]["iteration"] == 2
    assert run(capsys, recipe, "--resume", "exp2")[0] == 0
    for name, value in latest("exp1")["model_state_dict"].items():
        assert torch.equal(value, latest("exp2")["model_state_dict"][name])
    assert latest("exp1")["history"] == latest("exp2")["history"]


@pytest.mark.slow
def test_resume_check_says_that_a_recipe_resumes_exactly(capsys):
    everything = ["--ema-decay", "0.9", "--save-every-iterations", "2", "--accumulation-steps", "2", "--non-finite"]
    code, out, err = run(capsys, "resume-check", "vae", *SMALL["vae"], *everything, "rollback", "--batch-size", "512")
    assert (code, err) == (0, "")
    assert out.splitlines()[0] == "run again, not cut:        equal"
    assert out.splitlines()[-1].startswith("vae resumes exactly on this machine: ")
    assert not Path("runs").exists()


@pytest.mark.slow
def test_resume_check_names_what_differs_first(capsys, monkeypatch):
    monkeypatch.setattr("ignite_recipes.handlers.History.load_state_dict", lambda self, state: None)
    code, out, err = run(capsys, "resume-check", "vae", *SMALL["vae"], "--batch-size", "1024")
    assert code == 1
    assert "history" in out
    assert err.splitlines() == ["ignite-recipes: vae does not resume exactly on this machine, with these options"]


def test_a_run_of_an_experiment_that_is_locked_is_refused_and_begins_when_nothing_holds_the_lock(capsys):
    train(capsys, "vae", "--epochs", "1")
    with ExperimentManager(resume_exp="exp1").lock():
        code, _, err = run(capsys, "vae", "--resume", "exp1", "--epochs", "2")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert f"process {os.getpid()} on" in err
    assert run(capsys, "vae", "--resume", "exp1", "--epochs", "2")[0] == 0


@pytest.mark.slow
def test_a_second_run_of_an_experiment_that_is_being_trained_is_refused(capsys, tmp_path):
    command = [sys.executable, "-m", "ignite_recipes", "vae", *SMALL["vae"], "--epochs", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not (tmp_path / "runs/exp1/checkpoints/latest_checkpoint.pt").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        code, _, err = run(capsys, "vae", "--resume", "exp1")
        assert code == 2
        assert len(err.splitlines()) == 1
        assert f"process {process.pid} on" in err
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    epoch = latest("exp1")["epoch"]
    assert run(capsys, "vae", "--resume", "exp1", "--epochs", str(epoch + 2))[0] == 0  # at once: nothing holds the lock


def test_an_experiment_whose_checkpoints_were_removed_is_not_begun_anew_over_its_log(capsys):
    train(capsys, "classify", "--epochs", "3")
    for path in Path("runs/exp1/checkpoints").iterdir():
        path.unlink()
    log = Path("runs/exp1/training_log.csv").read_bytes()
    for recipe in ("classify", "vae"):
        if recipe == "vae":
            train(capsys, "vae", "--epochs", "3")
            for path in Path("runs/exp2/checkpoints").iterdir():
                path.unlink()
        code, _, err = run(capsys, recipe, "--resume", "exp1" if recipe == "classify" else "exp2")
        assert code == 2
        assert "has a log of 3 epochs and no checkpoint to resume from" in err
    assert Path("runs/exp1/training_log.csv").read_bytes() == log


def test_a_setting_that_was_changed_by_hand_is_noticed_on_a_resume(capsys):
    train(capsys, "classify", "--epochs", "2")
    config = Path("runs/exp1/config.yaml")
    config.write_text(config.read_text().replace("learning_rate: 0.005", "learning_rate: 0.05"))
    code, _, err = run(capsys, "classify", "--resume", "exp1", "--epochs", "3")
    assert code == 2
    assert "learning_rate is" in err


def test_a_one_cycle_that_is_over_is_said_when_the_run_continues(capsys, caplog):
    train(capsys, "classify", "--epochs", "2")
    assert "has ended" not in caplog.text
    assert run(capsys, "classify", "--resume", "exp1", "--epochs", "3")[0] == 0
    assert "the one-cycle schedule of 12 steps has ended" in caplog.text


def test_a_schedule_is_stretched_where_that_is_asked_for(capsys, caplog):
    train(capsys, "classify", "--epochs", "2")
    assert run(capsys, "classify", "--resume", "exp1", "--epochs", "3", "--stretch-schedule")[0] == 0
    assert "has ended" not in caplog.text
    assert "the OneCycleLR schedule is stretched from 12 to 18" in caplog.text
    assert read_training_log("runs/exp1/training_log.csv")["learning_rate"][2] > 1e-4


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["classify", "--accumulation-steps", "0"], "accumulation_steps must be"),
        (["classify", "--save-every", "0"], "save_every must be"),
        (["classify", "--epochs", "0"], "epochs must be"),
        (["vae", "--runs-dir", ""], "--runs-dir must name a folder"),
        (["resume-check", "vae", "--batch-size", "5000", "--epochs", "1"], "cannot be cut"),
    ],
)
def test_numbers_that_make_no_sense_are_refused_before_an_experiment_is_made(capsys, arguments, named):
    code, _, err = run(capsys, *arguments)
    assert code == 2
    assert len(err.splitlines()) == 1
    assert named in err
    assert not Path("runs").exists()


def test_a_signal_before_the_first_step_is_one_line_and_leaves_no_experiment(capsys, monkeypatch):
    def stop(*_):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("ignite_recipes.cli.vae.set_seed", stop)
    code, _, err = run(capsys, "vae")
    assert code == 143
    assert err.splitlines() == ["ignite-recipes: stopped before anything was trained"]
    assert os.listdir("runs") == []


OWN = """
import torch
from ignite_recipes import BaseDataset, DatasetRegistry, ModelRegistry


@DatasetRegistry.register("two colours")
def two_colours(seed=0):
    labels = torch.arange(60) % 2
    images = labels.view(-1, 1, 1, 1) * torch.ones(60, 1, 8, 8)
    return BaseDataset(images[:40], labels[:40], images[40:], labels[40:], name="two colours", seed=seed)


@ModelRegistry.register("tiny")
def tiny(num_classes, input_shape):
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))
"""


@pytest.mark.usefixtures("registries")
def test_classify_knows_the_data_sets_and_models_of_a_module_also_when_it_is_resumed(capsys, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("own.py").write_text(OWN)
    own = ["classify", "--module", "own.py", "--dataset", "two colours", "--model", "tiny", "--device", "cpu"]
    assert main([*own, "--epochs", "2", "--num-workers", "1"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert main(["classify", "--resume", "exp1", "--runs-dir", "../runs", "--epochs", "3"]) == 0
    assert "at epoch" in capsys.readouterr().out
    assert len(read_training_log("../runs/exp1/training_log.csv")["epoch"]) == 3


def test_classify_reads_idx_files_from_any_folder_also_when_they_have_moved(capsys):
    names = ("train-images.idx3-ubyte", "train-labels.idx1-ubyte", "t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte")
    Path("kana").mkdir()
    for name, shape in zip(names, [(64, 8, 8), (64,), (32, 8, 8), (32,)], strict=True):
        header = bytes([0, 0, 8, len(shape)]) + b"".join(size.to_bytes(4, "big") for size in shape)
        Path("kana", name).write_bytes(header + bytes(k % 13 for k in range(math.prod(shape))))
    run = ["classify", "--dataset", "idx", "--data-root", "kana", "--model", "mlp", "--device", "cpu", "--epochs", "1"]
    assert main(run) == 0
    assert torch.load("runs/exp1/checkpoints/best_model.pt")["model_config"]["num_classes"] == 13
    Path("kana").rename("moved")
    assert main(["classify", "--resume", "exp1", "--epochs", "2"]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert main(["classify", "--resume", "exp1", "--epochs", "2", "--data-root", "moved"]) == 0


def test_a_module_with_the_name_of_another_is_refused(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("json.py").write_text("")
    assert main(["classify", "--module", "json.py"]) == 2
    assert "rename it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (None, "there is no Python file"),
        ("import torch\n\nundefined", "line 3 of"),
        ("\ndef f(:", "line 2 of"),
    ],
)
def test_a_module_that_is_not_there_or_fails_is_one_line(capsys, monkeypatch, text, named):
    monkeypatch.setattr(sys, "path", [*sys.path])
    if text is not None:
        Path("broken.py").write_text(text)
    assert main(["classify", "--module", "broken.py"]) == 2
    err = capsys.readouterr().err
    assert named in err
    assert err.count("\n") == 1
    assert not Path("runs").exists()


OWN_DATA = "from ignite_recipes import DatasetRegistry\n@DatasetRegistry.register('wrong')\n"
OWN_MODEL = "from ignite_recipes import ModelRegistry\n@ModelRegistry.register('wrong')\n"


@pytest.mark.parametrize(
    ("name", "text", "named"),
    [
        ("wrong.py", f"{OWN_DATA}def wrong():\n    return 1", "data set 'wrong': "),
        (
            "wrong.py",
            f"{OWN_DATA}def wrong(seed):\n    return 1, 2",
            "data set 'wrong' must make a BaseDataset; got tuple",
        ),
        (
            "wrong.py",
            f"{OWN_MODEL}def wrong(**sizes):\n    return None",
            "model 'wrong' must make a torch.nn.Module; got",
        ),
        ("wrong.md", "", "ends in .py"),
    ],
)
@pytest.mark.usefixtures("registries")
def test_what_a_module_registers_wrongly_is_one_line(capsys, monkeypatch, name, text, named):
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "wrong", raising=False)
    Path(name).write_text(text)
    kind = "--model" if "ModelRegistry.register" in text else "--dataset"
    assert main(["classify", "--module", name, kind, "wrong", "--epochs", "1"]) == 2
    err = capsys.readouterr().err
    assert named in err
    assert err.count("\n") == 1


@pytest.mark.usefixtures("registries")
def test_a_module_that_was_moved_is_named_anew_on_a_resume(capsys, monkeypatch):
    monkeypatch.setattr(sys, "path", [*sys.path])
    Path("here.py").write_text(OWN.replace("two colours", "colours"))
    run = ["classify", "--device", "cpu"]
    assert main([*run, "--module", "here.py", "--dataset", "colours", "--model", "tiny", "--epochs", "1"]) == 0
    for registry in (ignite_recipes.DatasetRegistry, ignite_recipes.ModelRegistry):
        monkeypatch.setattr(registry, "_entries", {k: v for k, v in registry._entries.items() if k != "colours"})
    ignite_recipes.ModelRegistry._entries.pop("tiny")
    Path("here.py").rename("there.py")
    assert main([*run, "--resume", "exp1", "--epochs", "2"]) == 2
    assert main([*run, "--resume", "exp1", "--module", "there.py", "--epochs", "2"]) == 0
    assert len(read_training_log("runs/exp1/training_log.csv")["epoch"]) == 2


def test_a_damaged_log_is_named_by_its_line_and_hides_nothing_else(capsys):
    train(capsys, "vae", "--epochs", "2")
    log = Path("runs/exp1/training_log.csv")
    log.write_text(log.read_text().replace("\n1,", "\n1,?", 1))
    named = r"training_log\.csv.*is damaged: line 2 must hold a number for \w+; got '\?.*: correct that line"
    for read in (plot_history, lambda name: compare_experiments([name])):
        with pytest.raises(ValueError, match=named):
            read("exp1")
    code, out, _ = run(capsys, "list")
    assert code == 0
    row = out.splitlines()[-1]
    assert re.search(named, row)
    assert row.split()[:3] == ["exp1", "vae", "?/2"]
    for path in Path("runs/exp1/checkpoints").iterdir():
        path.unlink()
    code, out, err = run(capsys, "vae", "--resume", "exp1", "--epochs", "3")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert re.search(named, err)

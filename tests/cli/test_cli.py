"""The command trains, keeps what it made, resumes, and answers a mistake with one line and exit code 2."""

import json
import logging
import math
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support.commands import run, settings_of
from support.damage import truncate

from ignite_recipes import (
    TrainingLog,
    VariationalAutoencoder,
    load_checkpoint,
    read_checkpoint,
    write_example_ebd,
)
from ignite_recipes.cli import main
from ignite_recipes.exchange.ranks import LostRankError

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

SMALL = ["--hidden-dimension", "16", "--latent-dimension", "3", "--batch-size", "512", "--device", "cpu"]


def vae(capsys, *arguments):
    return run(capsys, "vae", *SMALL, *arguments)


@pytest.mark.draws
def test_without_arguments_of_its_own_it_trains_on_the_digits_and_says_what_was_reached(capsys, tmp_path):
    code, out, err = vae(capsys, "--epochs", "2")
    assert (code, err) == (0, "")
    last = out.splitlines()[-1]
    history = read_checkpoint("runs/exp1/checkpoints/latest_checkpoint.pt")["history"]
    best = min(history["val_loss"])
    assert last.startswith(f"Best validation loss {best:.3f} nats per vector, at epoch 2 of 2")
    assert "runs/exp1" in last
    found = {str(path.relative_to(tmp_path / "runs/exp1")) for path in (tmp_path / "runs/exp1").rglob("*")}
    events = {name for name in found if name.startswith("events.out.tfevents.")}
    assert len(events) == 1
    assert found - events == {
        ".lock",
        "run.log",
        "training_log.csv",
        "config.yaml",
        "checkpoints",
        "checkpoints/best_model.pt",
        "checkpoints/latest_checkpoint.pt",
        "training_curves.png",
        "model.safetensors",
        "provenance.json",
        "vae.pt2",
    }
    settings = settings_of("exp1")
    assert settings["recipe"] == "vae"
    assert settings["epochs"] == 2
    assert settings["hidden_dimension"] == 16


def test_the_model_file_holds_the_best_weights(capsys):
    vae(capsys, "--epochs", "3", "--learning-rate", "0.1")
    program = torch.export.load("runs/exp1/vae.pt2").module()
    model = VariationalAutoencoder(64, 3, 16)
    load_checkpoint("runs/exp1/checkpoints/best_model.pt", model)
    x = torch.rand(5, 64)
    torch.testing.assert_close(program(x)[0], model.embed(x))


def test_it_trains_on_an_ebird_file(capsys):
    write_example_ebd("kerala.txt", 400)
    code, out, _ = vae(capsys, "kerala.txt", "--epochs", "2", "--min-species-observations", "5")
    assert code == 0
    assert "runs/exp1" in out.splitlines()[-1]
    extra = {"features.json": ""}
    torch.export.load("runs/exp1/vae.pt2", extra_files=extra)
    assert "House Crow" in json.loads(extra["features.json"])


def test_a_stopped_experiment_is_resumed_with_its_own_settings_and_equals_the_whole_run(capsys):
    vae(capsys, "--epochs", "4", "--seed", "3")
    vae(capsys, "--epochs", "2", "--seed", "3")
    code, out, _ = run(capsys, "vae", "--resume", "exp2", "--epochs", "4")
    assert code == 0
    assert "at epoch 4 of 4" in out
    whole, resumed = (read_checkpoint(f"runs/{name}/checkpoints/latest_checkpoint.pt") for name in ("exp1", "exp2"))
    assert whole["history"] == resumed["history"]
    for name, value in whole["model_state_dict"].items():
        assert torch.equal(value, resumed["model_state_dict"][name])
    assert settings_of("exp2")["epochs"] == 4


def test_a_damaged_newest_checkpoint_is_passed_over(capsys, caplog, tmp_path):
    vae(capsys, "--epochs", "3", "--save-every", "1")
    latest = tmp_path / "runs/exp1/checkpoints/latest_checkpoint.pt"
    epochs = sorted(p.name for p in latest.parent.glob("epoch_*"))
    assert epochs == ["epoch_1.pt", "epoch_2.pt", "epoch_3.pt"]
    for path in (latest, latest.parent / "epoch_3.pt", latest.parent / "best_model.pt"):
        truncate(path)
    code, out, _ = run(capsys, "vae", "--resume", "exp1")
    assert code == 0
    assert "Epoch 2/3" not in out
    assert "Epoch 3/3" in out
    assert "latest_checkpoint.pt" in caplog.text


def test_a_config_file_gives_settings_and_options_win_over_it(capsys):
    Path("settings.yaml").write_text("epochs: 1\nnoise_std: 0.3\n")
    assert vae(capsys, "--config", "settings.yaml", "--seed", "2")[0] == 0
    settings = settings_of("exp1")
    assert (settings["epochs"], settings["noise_std"], settings["seed"]) == (1, 0.3, 2)


@pytest.mark.parametrize("spelling", [["--config", "settings.yaml"], ["--config=settings.yaml"]])
@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("recipe: classify\ndataset: digits\n", "settings of vae; they are of 'classify': use ignite-recipes classify"),
        ("recipe: Trainer\n", "settings of vae; they are of 'Trainer': take the line recipe out of it"),
        ("epochs: 1\nseed: [1", "settings, as name: value; the mistake is in line 2"),
        ("- epochs\n", "settings, as name: value; got list"),
        ("", "settings, as name: value; it is empty"),
    ],
)
def test_a_config_file_of_another_recipe_or_without_settings_is_named(capsys, spelling, text, said):
    Path("settings.yaml").write_text(text)
    for arguments in (spelling, [*spelling, "--print-config"]):
        code, out, err = vae(capsys, *arguments)
        assert (code, out) == (2, "")
        assert err == f"ignite-recipes: --config settings.yaml must hold {said}\n"
    assert not Path("runs").exists()


MISTAKES = {
    "no such command": (["vea"], "vea"),
    "no such option": (["vae", "--epoch-count", "3"], "epoch-count"),
    "no number": (["vae", "--epochs", "many"], "many"),
    "no epochs": (["vae", "--epochs", "0"], "must be a whole number of at least 1; got 0"),
    "negative noise": (["vae", "--noise-std", "-1"], "noise_std must not be negative"),
    "no such device": (["vae", "--device", "abacus"], "device must be"),
    "missing file": (["vae", "missing.txt"], "missing.txt"),
    "not an eBird file": (["vae", "other.txt"], "COMMON NAME"),
    "empty file": (["vae", "empty.txt"], "empty"),
    "filters leave nothing": (["vae", "kerala.txt", "--min-species-observations", "10000"], "10000"),
    "no such experiment": (["vae", "--resume", "exp7"], "no experiment 'exp7'"),
    "an experiment outside": (["vae", "--resume", "../x"], "../x"),
    "missing config": (["vae", "--config", "none.yaml"], "none.yaml"),
    "unknown key in config": (["vae", "--config", "unknown.yaml"], "colour"),
    "runs in a file": (["vae", "--runs-dir", "empty.txt"], "empty.txt"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_on_stderr_exit_code_2_and_leaves_no_experiment(capsys, tmp_path, name):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "other.txt").write_text("a\tb\n1\t2\n")
    (tmp_path / "unknown.yaml").write_text("colour: red\n")
    write_example_ebd("kerala.txt", 50)
    arguments, named = MISTAKES[name]
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert named in err
    assert "Traceback" not in err
    assert not list(tmp_path.glob("runs/*"))


def test_a_resume_with_another_setting_is_refused_and_named(capsys):
    vae(capsys, "--epochs", "1")
    code, _, err = run(capsys, "vae", "--resume", "exp1", "--noise-std", "0.5")
    assert code == 2
    assert "noise_std cannot be changed" in err


def test_a_refused_resume_changes_nothing(capsys):
    vae(capsys, "--epochs", "2")
    for arguments in (["--device", "nonsense"], ["--epochs", "1"]):
        before = settings_of("exp1")
        assert run(capsys, "vae", "--resume", "exp1", *arguments)[0] == 2
        assert settings_of("exp1") == before
    for path in Path("runs/exp1/checkpoints").iterdir():
        path.unlink()
    assert run(capsys, "vae", "--resume", "exp1", "--device", "nonsense")[0] == 2
    assert Path("runs/exp1/config.yaml").exists()


def test_a_resume_whose_checkpoints_are_all_damaged_is_refused(capsys):
    vae(capsys, "--epochs", "1")
    for path in Path("runs/exp1/checkpoints").iterdir():
        truncate(path)
    code, _, err = run(capsys, "vae", "--resume", "exp1", "--epochs", "2")
    assert code == 2
    assert "none of the 2 checkpoints" in err


@pytest.mark.parametrize("line", ["seed: null", "epochs: many", "colour: red", "[1"])
def test_settings_that_were_spoilt_by_hand_are_named(capsys, line):
    vae(capsys, "--epochs", "1")
    config = Path("runs/exp1/config.yaml")
    config.write_text(config.read_text() + line + "\n")
    code, _, err = run(capsys, "vae", "--resume", "exp1")
    assert code == 2
    assert len(err.splitlines()) == 1
    assert "config.yaml" in err


def test_an_experiments_settings_can_be_the_config_of_another(capsys):
    vae(capsys, "--epochs", "1", "--noise-std", "0.3")
    assert run(capsys, "vae", "--config", "runs/exp1/config.yaml", "--seed", "5")[0] == 0
    assert settings_of("exp2") == {**settings_of("exp1"), "seed": 5}


def test_options_may_be_spelt_as_in_the_file(capsys):
    assert vae(capsys, "--epochs", "1", "--noise_std=0.2")[0] == 0
    assert settings_of("exp1")["noise_std"] == 0.2


@pytest.mark.draws
def test_the_supervised_command_trains_resumes_and_beats_guessing(capsys):
    code, out, err = run(capsys, "supervised", "--epochs", "6", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "better than the" in out.splitlines()[-1]
    assert Path("runs/exp1/training_curves.png").exists()
    code, out, _ = run(capsys, "supervised", "--resume", "exp1", "--epochs", "7")
    assert code == 0
    assert "Epoch 7/7" in out
    code, _, err = run(capsys, "vae", "--resume", "exp1")
    assert code == 2
    assert "not an experiment of the command vae" in err


@pytest.mark.slow
@pytest.mark.draws
def test_the_traffic_command_trains_on_the_co2_series_and_on_a_csv_file_and_resumes(capsys):
    code, out, err = run(capsys, "traffic", "--epochs", "12", "--device", "cpu")
    assert (code, err) == (0, "")
    assert "better than the baselines" in out.splitlines()[-1]
    assert Path("runs/exp1/training_curves.png").exists()
    code, out, _ = run(capsys, "traffic", "--resume", "exp1", "--epochs", "13")
    assert code == 0
    assert "Epoch 13/13" in out
    rows = [f"{k},{math.sin(k / 9):.4f},{math.cos(k / 7):.4f},{int(k % 3 == 0)}" for k in range(300)]
    Path("series.csv").write_text("\n".join(["time,a,b,sent", *rows]) + "\n")
    small = ["--epochs", "2", "--device", "cpu", "--time-column", "time", "--hidden-size", "8"]
    assert run(capsys, "traffic", "series.csv", *small, "--flag-column", "sent")[0] == 0
    code, _, err = run(capsys, "traffic", "missing.csv")
    assert code == 2
    assert "missing.csv" in err


def test_a_diverging_run_is_one_line_and_exit_code_1(capsys):
    code, _, err = vae(capsys, "--epochs", "30", "--learning-rate", "1e18")
    assert code == 1
    assert len(err.splitlines()) == 1
    assert "not finite" in err or "is nan" in err or "is inf" in err


@pytest.mark.parametrize("arguments", [["--help"], ["vae", "--help"], ["--version"]])
def test_help_and_version(capsys, arguments):
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 0
    out = capsys.readouterr().out
    if arguments == ["vae", "--help"]:
        for option in ("--epochs", "--patience", "--resume", "--runs-dir", "--noise-std", "--device", "--seed"):
            assert option in out
        assert "standard deviation of the Gaussian noise" in " ".join(out.split())


@pytest.mark.parametrize(
    ("signum", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_the_module_is_the_command_a_pipe_gets_no_control_characters_and_a_signal_says_how_to_resume(
    tmp_path, signum, code
):
    command = [sys.executable, "-m", "ignite_recipes", "vae", *SMALL, "--epochs", "100000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    latest = tmp_path / "runs/exp1/checkpoints/latest_checkpoint.pt"
    deadline = time.monotonic() + 60
    while not latest.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signum)
    out, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert err.splitlines() == ["ignite-recipes: stopped; resume with: ignite-recipes vae --resume exp1"]
    assert "Epoch 1/100000" in out
    assert "\r" not in out + err
    assert "\x1b" not in out + err
    assert read_checkpoint(latest)["epoch"] >= 1


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_one_line_that_says_how_to_resume(capsys, monkeypatch, signum, code):
    monkeypatch.setattr(TrainingLog, "__call__", lambda *_: signal.raise_signal(signum))
    assert vae(capsys, "--epochs", "9")[::2] == (
        code,
        "ignite-recipes: stopped; resume with: ignite-recipes vae --resume exp1\n",
    )
    assert read_checkpoint("runs/exp1/checkpoints/latest_checkpoint.pt")["epoch"] == 1


def test_a_signal_that_follows_from_a_lost_rank_does_not_take_its_message(capsys, monkeypatch):
    """Where one process has ended, torchrun asks the others to end, at any moment of their own end."""

    def lose(argv):
        try:
            raise LostRankError("rank 0 of 2 cannot reach the others")
        finally:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("ignite_recipes.cli.vae.main", lose)
    assert vae(capsys) == (1, "", "ignite-recipes: rank 0 of 2 cannot reach the others\n")


def test_of_several_processes_only_the_first_shows_what_all_would_warn_of(capsys, monkeypatch):
    shown = []
    monkeypatch.setattr(logging, "basicConfig", lambda **settings: shown.extend(settings["handlers"]))
    main(["list"])
    warning = logging.makeLogRecord({"levelno": logging.WARNING})
    assert shown[0].filter(warning)
    monkeypatch.setattr("ignite_recipes.cli.rank", lambda: 1)
    assert not shown[0].filter(warning)

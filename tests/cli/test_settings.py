"""A command finds the experiment that it is given and its settings, and prints them as a file for ``--config``."""

import os
from pathlib import Path

import pytest
import torch
import yaml
from support.commands import SMALL, every_recipe, latest, run, settings_of, train

from ignite_recipes import compare_experiments, plot_history, read_checkpoint
from ignite_recipes.cli import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")


def test_an_experiment_can_be_named_by_its_folder(capsys):
    assert main(["vae", *SMALL["vae"], "--epochs", "1", "--runs-dir", "a/b"]) == 0
    assert main(["vae", "--resume", "a/b/exp1", "--epochs", "2"]) == 0
    assert main(["vae", "--fork", "a/b/exp1/", "--epochs", "1"]) == 0
    assert sorted(path.name for path in Path("a/b").iterdir()) == ["exp1", "exp2"]


def printed(capsys, *arguments):
    code, out, err = run(capsys, *arguments)
    assert (code, err) == (0, ""), err
    Path("printed.yaml").write_text(out)
    return yaml.safe_load(out)


@pytest.mark.parametrize(
    ("recipe", "option"),
    [
        ("supervised", "patience"),
        ("supervised", "gradient-clip"),
        ("traffic", "gradient-clip"),
        ("vae", "patience"),
    ],
)
def test_a_run_with_an_option_that_is_none_is_resumed_and_forked(capsys, recipe, option):
    train(capsys, recipe, f"--{option}", "none", "--epochs", "1")
    assert run(capsys, recipe, "--resume", "exp1", "--epochs", "2", "--device", "cpu")[0] == 0
    assert run(capsys, recipe, "--fork", "exp1", "--epochs", "1", "--device", "cpu")[0] == 0
    assert settings_of("exp2")[option.replace("-", "_")] is None


def test_the_file_that_settings_name_is_read_unless_the_command_names_another(capsys):
    for name, target in (("first.csv", "price"), ("second.csv", "price")):
        rows = "".join(f"{k * k % 17},{2 * k}\n" for k in range(20))
        Path(name).write_text(f"size,{target}\n{rows}")
    words = ["--epochs", "1", "--device", "cpu"]
    assert run(capsys, "supervised", "first.csv", "--target", "price", *words)[0] == 0
    assert run(capsys, "supervised", "--config", "runs/exp1/config.yaml")[0] == 0
    assert run(capsys, "supervised", "second.csv", "--config", "runs/exp1/config.yaml")[0] == 0
    files = [yaml.safe_load(Path(f"runs/exp{k}/config.yaml").read_text())["file"] for k in (1, 2, 3)]
    assert [Path(file).name for file in files] == ["first.csv", "first.csv", "second.csv"]


@every_recipe
@pytest.mark.parametrize("spelling", ["--print-config", "--print_config"])
def test_printed_settings_are_a_config_file_of_the_same_run_and_train_nothing(capsys, recipe, spelling):
    chosen = [*SMALL[recipe], "--device", "cpu", "--epochs", "1", "--learning-rate", "1e-5", "--runs-dir", "kept"]
    found = printed(capsys, recipe, *chosen, spelling)
    assert not Path("kept").exists()
    assert (found["learning_rate"], found["runs_dir"]) == (1e-5, "kept")
    assert run(capsys, recipe, "--config", "printed.yaml")[0] == 0
    assert run(capsys, recipe, *chosen)[0] == 0
    given, typed = (yaml.safe_load(Path("kept", name, "config.yaml").read_text()) for name in ("exp1", "exp2"))
    assert given == typed
    saved = (read_checkpoint(f"kept/{name}/checkpoints/latest_checkpoint.pt") for name in ("exp1", "exp2"))
    first, second = (contents["model_state_dict"] for contents in saved)
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert printed(capsys, recipe, "--config", "printed.yaml", spelling) == found


@pytest.mark.parametrize("option", ["--fork", "--resume"])
def test_printed_settings_of_a_fork_or_a_resume_are_those_of_the_experiment_with_the_changes(capsys, option):
    train(capsys, "vae", "--epochs", "1", "--noise-std", "0.3")
    found = printed(capsys, "vae", option, "exp1", "--epochs", "2", "--print-config")
    assert (found[option[2:]], found["noise_std"], found["epochs"]) == ("exp1", 0.3, 2)
    assert run(capsys, "vae", "--config", "printed.yaml")[0] == 0
    name = "exp2" if option == "--fork" else "exp1"
    assert latest(name)["epoch"] == 2
    assert settings_of(name)["noise_std"] == 0.3


@pytest.mark.slow
@every_recipe
def test_a_fork_of_a_path_goes_where_runs_dir_says_and_else_next_to_its_source(capsys, recipe):
    train(capsys, recipe, "--epochs", "1", "--seed", "4")
    for number, runs_dir in enumerate([["--runs-dir", "out"], ["--runs-dir=out"], ["--runs_dir", "out"]], start=1):
        assert run(capsys, recipe, *runs_dir, "--fork", "runs/exp1", "--epochs", "1", "--device", "cpu")[0] == 0
        made = yaml.safe_load(Path(f"out/exp{number}/config.yaml").read_text())
        assert made == {**settings_of("exp1"), "forked_from": str(Path("runs/exp1").resolve())}
        weights = read_checkpoint(f"out/exp{number}/initial_weights.pt")["model_state_dict"]
        best = read_checkpoint("runs/exp1/checkpoints/best_model.pt")["model_state_dict"]
        assert all(torch.equal(value, weights[name]) for name, value in best.items())
    assert os.listdir("runs") == ["exp1"]
    found = printed(capsys, recipe, "--runs-dir", "runs", "--fork", "out/exp1", "--print-config")
    assert (found["runs_dir"], found["fork"]) == ("runs", "out/exp1")
    assert "runs_dir" not in printed(capsys, recipe, "--fork", "out/exp1", "--print-config")
    Path("where.yaml").write_text("runs_dir: out\n")
    assert (
        run(capsys, recipe, "--config", "where.yaml", "--fork", "runs/exp1", "--device", "cpu", "--epochs", "1")[0] == 0
    )
    assert run(capsys, recipe, "--resume", "out/exp4", "--epochs", "2")[0] == 0
    assert run(capsys, recipe, "--fork", "runs/exp1/", "--epochs", "1", "--device", "cpu")[0] == 0
    assert sorted(os.listdir("runs")) == ["exp1", "exp2"]
    assert settings_of("exp2")["forked_from"] == "exp1"
    Path("where.yaml").write_text("runs_dir: runs\n")  # the default, said
    assert run(capsys, recipe, "--config=where.yaml", "--fork", "out/exp1", "--epochs", "1", "--device", "cpu")[0] == 0
    assert settings_of("exp3")["forked_from"] == str(Path("out/exp1").resolve())


def test_a_resume_of_a_path_elsewhere_than_runs_dir_says_so(capsys):
    train(capsys, "vae", "--epochs", "1")
    code, _, err = run(capsys, "vae", "--runs-dir", "out", "--resume", "runs/exp1", "--epochs", "2")
    assert (code, err.count("\n")) == (2, 1)
    assert "runs/exp1 is not in --runs-dir out: leave one of them out" in err
    assert not Path("out").exists()
    assert run(capsys, "vae", "--runs-dir", "./runs", "--resume", "runs/exp1", "--epochs", "2")[0] == 0
    for option in ("--resume", "--fork"):
        code, _, err = run(capsys, "vae", option, "runs/exp9")
        assert (code, err) == (
            2,
            f"ignite-recipes: there is no experiment runs/exp9: check {option}, or see ignite-recipes list\n",
        )


def test_an_experiment_is_found_from_the_folder_that_it_is_in(capsys, monkeypatch):
    train(capsys, "vae", "--epochs", "1")
    monkeypatch.chdir("runs")
    assert run(capsys, "vae", "--resume", "exp1/", "--epochs", "2")[0] == 0
    assert run(capsys, "vae", "--fork", "exp1/", "--epochs", "1")[0] == 0
    assert sorted(os.listdir()) == ["exp1", "exp2"]


def damage(kind):
    """What is left of runs/exp1 when it is damaged in this way, and what is said of it."""
    config, log = Path("runs/exp1/config.yaml"), Path("runs/exp1/training_log.csv")
    texts = {
        "no config": (None, "config.yaml must hold the settings of an experiment; there is no such file: put back"),
        "empty config": ("", "it is empty: put back"),
        "damaged config": ("seed: [1", "it is damaged, the mistake is in line 1: correct it"),
        "no recipe": ("epochs: 2", "does not name its recipe; if it is this one, add the line recipe: vae"),
        "of another": (
            "recipe: classify",
            "not an experiment of the command vae but of 'classify': use ignite-recipes",
        ),
        "from Python": (
            "recipe: Trainer",
            "made in Python by 'Trainer': continue there, with ExperimentManager(resume_exp",
        ),
    }
    text, said = texts[kind]
    config.unlink()
    if text is not None:
        config.write_text(text)
    log.write_text(f"# a note\n\n{log.read_text()}\n3,0.")
    return said


@pytest.mark.parametrize(
    "kind", ["no config", "empty config", "damaged config", "no recipe", "of another", "from Python"]
)
def test_an_experiment_without_its_settings_is_told_apart_in_one_line_and_still_read(capsys, kind):
    train(capsys, "vae", "--epochs", "2")
    said = damage(kind)
    for option in ("--resume", "--fork"):
        code, out, err = run(capsys, "vae", option, "exp1", "--epochs", "3")
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert said in err
        assert "runs/exp1" in err
    assert os.listdir("runs") == ["exp1"]
    code, out, err = run(capsys, "list")
    assert (code, err) == (0, "")
    row = out.splitlines()[-1]
    assert row.startswith("exp1 ")
    assert " 2/" in row
    assert "val_loss" in row
    assert ("config.yaml must hold" in row) == (kind in ("no config", "empty config", "damaged config"))
    assert len(compare_experiments(["exp1"]).axes[0].lines[0].get_xdata()) == 2
    assert plot_history("runs/exp1").axes

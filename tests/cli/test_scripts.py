"""The command in scripts: JSON, quiet, names and tags, none, the home folder, any code page, a reader that has gone."""

import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from support.commands import SMALL, run, settings_of, train
from support.experiments import OF_TABLES
from support.tables import TABLE

from ignite_recipes import compare_experiments
from ignite_recipes.cli import _COMMANDS, main
from ignite_recipes.cli.options import ALSO, option_names, parse_settings
from ignite_recipes.cli.streams import PrintOptions, printing

pytestmark = pytest.mark.usefixtures("no_pictures")
TRAINING = [name for name in _COMMANDS if name in SMALL]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    TABLE.write_csv(folder / "table.csv")
    of_table = ["supervised", f"{folder}/table.csv", "--target", "kind", *OF_TABLES, "--runs-dir", f"{folder}/runs"]
    assert main([*of_table, "--name", "first try", "--tag", "small,old"]) == 0
    assert main([*of_table, "--learning-rate", "0.05", "--tag", "small"]) == 0
    return folder


@pytest.fixture
def copied(trained, in_an_empty_folder):
    shutil.copytree(trained / "runs", "runs")
    shutil.copy(trained / "table.csv", "table.csv")


ASKED = {
    "list": ["list"],
    "show": ["show", "exp1"],
    "compare": ["compare", "exp1", "exp2"],
    "predict": ["predict", "exp1", "table.csv", "--device", "cpu"],
    "evaluate": ["evaluate", "exp1", "table.csv", "--device", "cpu"],
    "report": ["report", "exp1", "--device", "cpu"],
    "export": ["export", "exp1", "--format", "safetensors", "--device", "cpu"],
    "completion": ["completion", "bash"],
    "supervised": ["supervised", "--resume", "exp1", "--epochs", "3"],
    "print-config": ["supervised", "table.csv", "--target", "kind", "--print-config"],
}


@pytest.mark.usefixtures("copied")
@pytest.mark.parametrize("case", ASKED)
def test_json_is_one_document_on_standard_output_and_nothing_else(capsys, case):
    code, out, err = run(capsys, *ASKED[case], "--json")
    assert (code, len(out.splitlines())) == (0, 1)
    assert isinstance(json.loads(out), dict)
    assert out.isascii()
    assert ("Epoch 3/3" in err) == (case == "supervised")


@pytest.mark.usefixtures("copied")
def test_the_facts_are_those_of_the_text(capsys):
    listed = json.loads(run(capsys, "list", "--json")[1])["experiments"]
    assert [(one["experiment"], one["name"], one["tags"]) for one in listed] == [
        ("exp1", "first try", ["small", "old"]),
        ("exp2", None, ["small"]),
    ]
    shown = json.loads(run(capsys, "show", "exp2", "--json")[1])
    assert shown["settings"] == settings_of("exp2")
    assert shown["measured_at_best"]["val_loss"] == shown["best"]["value"]
    made = json.loads(run(capsys, "predict", "exp1", "table.csv", "--device", "cpu", "--json")[1])
    assert (made["rows"], made["output"]) == (TABLE.height, "predictions.csv")
    assert 0 <= made["measures"]["accuracy"] <= 100


@pytest.mark.usefixtures("in_an_empty_folder")
@pytest.mark.parametrize("recipe", TRAINING)
def test_a_training_says_its_best_epoch_and_where_it_is(capsys, recipe):
    facts = json.loads(train(capsys, recipe, "--epochs", "1", "--json", "--name", "one"))
    assert (facts["experiment"], facts["path"], facts["name"], facts["recipe"]) == ("exp1", "runs/exp1", "one", recipe)
    assert (facts["best_epoch"], facts["epochs_trained"]) == (1, 1)


@pytest.mark.usefixtures("copied")
def test_a_mistake_prints_no_document(capsys):
    code, out, err = run(capsys, "show", "exp9", "--json")
    assert (code, out, len(err.splitlines())) == (2, "", 1)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_quiet_leaves_the_result(capsys):
    out = train(capsys, "vae", "--epochs", "2", "--quiet")
    assert out.startswith("Best validation loss")
    assert len(out.splitlines()) == 1


@pytest.mark.usefixtures("copied")
def test_an_experiment_is_found_by_its_name_and_by_a_tag_that_it_alone_has(capsys):
    for label in ("first try", "old"):
        assert "first try" in run(capsys, "show", label)[1]
    code, _, err = run(capsys, "show", "small")
    assert code == 2
    assert err.endswith("'small' must be one experiment of 'runs'; exp1, exp2 are tagged so: choose\n")
    code, _, _ = run(capsys, "supervised", "--resume", "first try", "--epochs", "3", "--name", "second try")
    assert code == 0
    assert settings_of("exp1")["name"] == "second try"
    assert run(capsys, "supervised", "--fork", "second try", "--epochs", "1")[0] == 0
    assert (settings_of("exp3")["name"], settings_of("exp3")["tag"]) == (None, "small,old")
    assert run(capsys, "list", "--tag", "old")[1].count("\nexp") == 3  # with the line of their columns' names


@pytest.mark.usefixtures("copied")
def test_a_comparison_has_what_differs_and_what_it_brought(capsys):
    facts = json.loads(run(capsys, "compare", "exp1", "exp2", "--json")[1])
    assert facts["differences"] == {"learning_rate": {"exp1": 0.001, "exp2": 0.05}}
    best = {name: one["value"] for name, one in facts["best"].items()}
    assert facts["brought"] == {"exp2": best["exp2"] - best["exp1"]}
    assert (facts["metric"], facts["mode"]) == ("val_loss", "min")
    text = run(capsys, "compare", "exp1", "exp2")[1]
    assert ("better" in text) == (best["exp2"] < best["exp1"])
    assert "batch_size" not in text
    assert run(capsys, "compare", "--tag", "small")[1] == text
    assert text.endswith(f"{facts['caution']}\n")
    assert "the luck of a seed: train each with --seeds 5" in facts["caution"]
    legend = compare_experiments(["exp1", "exp2"]).legends[0].get_texts()
    assert [line.get_text().partition("):")[0] for line in legend] == [
        "exp1 (first try, learning_rate 0.001",
        "exp2 (learning_rate 0.05",
    ]


@pytest.mark.usefixtures("copied")
def test_list_names_the_epoch_of_the_best_weights(capsys):
    best = json.loads(run(capsys, "show", "exp1", "--json")[1])["best"]
    log = json.loads(run(capsys, "evaluate", "exp1", "--device", "cpu", "--json")[1])
    assert best["metric"] == "val_loss"
    assert best["value"] == pytest.approx(log["measures"]["log_loss"], rel=1e-4)


@pytest.mark.parametrize("command", _COMMANDS)
def test_none_is_a_word_on_every_option_that_may_be_none(command, tmp_path):
    parser = _COMMANDS[command].parser()
    needed = [action for action in parser._actions if not action.option_strings and action.nargs is None]
    given = ["bash"] * len(needed)
    optional = [
        action
        for action in parser._actions
        if action.option_strings and "None" in str(getattr(action, "_typehint", "")) and "+" not in action.dest
    ]
    for action in optional:
        for word in ("none", "None"):
            settings = parse_settings(parser, [*given, action.option_strings[0], word])
            assert settings[action.dest] is None, action.dest
        (tmp_path / "file.yaml").write_text(f"{action.dest}: none\n")
        assert parse_settings(parser, [*given, "--config", str(tmp_path / "file.yaml")])[action.dest] is None
    assert optional or command in ("completion", "resume-check", "show")


@pytest.mark.parametrize("command", TRAINING)
def test_one_setting_has_one_name_in_all_commands_and_its_documented_one(command):
    parser = _COMMANDS[command].parser()
    known = {option for action in parser._actions for option in action.option_strings}
    for name in ALSO:
        assert not known & set(option_names(name)) or known >= set(option_names(name))


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_home_folder_is_meant_by_its_sign_in_every_path(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    home = tmp_path / "home"
    home.mkdir()
    TABLE.write_csv(home / "table.csv")
    (home / "settings.yaml").write_text("target: kind\n")
    for number, config in enumerate((["--config", "~/settings.yaml"], ["--config=~/settings.yaml"]), start=1):
        assert run(capsys, "supervised", "~/table.csv", *config, *OF_TABLES, "--runs-dir=~/runs")[0] == 0
        assert (home / f"runs/exp{number}/model.safetensors").is_file()
    assert run(capsys, "predict", "~/runs/exp1", "~/table.csv", "--device", "cpu", "--output", "~/p.csv")[0] == 0
    assert run(capsys, "compare", "~/runs/exp1", "~/runs/exp2")[0] == 0
    assert "exp1" in run(capsys, "list", "--runs-dir", "~/runs")[1]
    assert run(capsys, "supervised", "--fork", "~/runs/exp1", "--epochs", "1")[0] == 0
    assert (home / "runs/exp3").is_dir()
    assert not Path("~").exists()


@pytest.mark.usefixtures("copied")
def test_a_character_that_the_code_page_lacks_ends_nothing(monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(shown, encoding="ascii"))
    config = Path("runs/exp1/config.yaml")
    config.write_text(yaml.safe_dump({**yaml.safe_load(config.read_text()), "name": "★ größer"}))
    assert main(["list"]) == 0
    assert b"\\u2605 gr\\xf6\\xdfer" in shown.getvalue()


def test_a_reader_that_has_gone_ends_nothing(monkeypatch):
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        with printing(PrintOptions(json=False, quiet=False)) as out:
            for _ in range(3):
                print("progress " * 10_000)  # noqa: T201  # as a training does
                out.flush()
        pipe.write("what the program still has to say at its end")


@pytest.mark.slow
def test_any_locale_and_a_closed_pipe_in_a_process_of_its_own(tmp_path):
    (tmp_path / "größe.csv").write_text("größe,ziel\n" + "1,schön\n2,öde★\n" * 40, encoding="utf-8")
    posix = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": ""}
    command = [sys.executable, "-m", "ignite_recipes", "supervised", "größe.csv", "--target", "größe", "--epochs", "1"]
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "wb") as nobody:
        done = subprocess.run(
            [*command, "--device", "cpu", "--name", "★"],
            cwd=tmp_path,
            env={**os.environ, **posix},
            stdout=nobody,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, b"")
    settings = yaml.safe_load((tmp_path / "runs/exp1/config.yaml").read_text())
    assert (settings["name"], settings["target"]) == ("★", "größe")
    assert (tmp_path / "runs/exp1/training_curves.png").is_file()


@pytest.mark.usefixtures("copied")
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_commands_options_and_experiments(capsys):
    Path("script").write_text(run(capsys, "completion", "bash")[1])
    asked = [("co",), ("supervised", "--targ"), ("show", "exp"), ("supervised", "--resume", "exp")]
    lines = [f"COMP_WORDS=(ignite-recipes {' '.join(words)}); COMP_CWORD={len(words)}; f" for words in asked]
    text = "\n".join(["source ./script", 'f() { _ignite_recipes; echo "${COMPREPLY[*]}"; }', *lines])
    told = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout.splitlines()
    assert told == ["compare completion", "--target", "exp1 exp2", "exp1 exp2"]
    assert all(f" {name} " in run(capsys, "completion", "zsh")[1].replace(")", " ") for name in _COMMANDS)

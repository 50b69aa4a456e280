"""``evaluate``, ``report`` and ``export`` answer on the command line, and a mistake is one line."""

import json
from pathlib import Path

import pytest
from support.commands import run
from support.experiments import OF_TABLES
from support.tables import TABLE, mixed_table

from ignite_recipes import evaluate, load_model
from ignite_recipes.cli import main


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    TABLE.write_csv(folder / "table.csv")
    assert (
        main(["supervised", f"{folder}/table.csv", "--target", "kind", *OF_TABLES, "--runs-dir", f"{folder}/runs"]) == 0
    )
    return folder


@pytest.fixture(autouse=True)
def _folder(trained, in_an_empty_folder):
    Path("runs").symlink_to(trained / "runs")
    TABLE.drop("kind").write_csv("unknown.csv")
    mixed_table(30, seed=4).write_csv("known.csv")


def test_each_measure_is_a_line(capsys):
    code, out, err = run(capsys, "evaluate", "exp1", "known.csv", "--device", "cpu")
    assert (code, err) == (0, "")
    measures = evaluate("exp1", "known.csv", device="cpu")
    lines = out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == list(measures)
    assert lines[0] == f"accuracy           {measures['accuracy']:.4g}%"
    assert lines[-1] == f"exp1 on {Path('known.csv').resolve()}, with the weights of runs/exp1/model.safetensors"


def test_without_a_file_it_is_the_data_that_the_run_was_validated_on(capsys):
    out = run(capsys, "evaluate", "runs/exp1", "--device", "cpu")[1]
    assert out.splitlines()[-1].startswith("exp1 on the data it was validated on")


def test_an_export_says_how_far_it_is_off_and_leaves_the_model_file_of_use(capsys):
    code, out, _ = run(capsys, "export", "exp1", "--device", "cpu", "--output", "made/m.pt2")
    assert (code, out) == (0, "Wrote made/m.pt2, of exp1's epoch 2; its outputs are within 0 of the model's own\n")
    assert run(capsys, "export", "exp1", "--format", "safetensors", "--device", "cpu")[0] == 0
    assert load_model("runs/exp1/model.safetensors").trained["epoch"] == 2
    assert "model.safetensors" in run(capsys, "predict", "exp1", "known.csv", "--device", "cpu")[1]


def test_the_model_file_and_the_start_say_what_was_trained_on(trained):
    import hashlib

    said = load_model("runs/exp1/model.safetensors").trained
    contents = (trained / "table.csv").read_bytes()
    assert said["recipe"] == "supervised"
    assert said["data"]["sha256"] == hashlib.sha256(contents).hexdigest()
    (start,) = json.loads(Path("runs/exp1/provenance.json").read_text())["starts"]
    assert start["command"][:3] == ["ignite-recipes", "supervised", f"{trained}/table.csv"]
    assert start["data"] == said["data"]
    assert start["versions"]["torch"].startswith("2.")


def test_a_resume_is_another_start(capsys):
    run(capsys, "vae", "--epochs", "1", "--hidden-dimension", "8", "--device", "cpu", "--runs-dir", "own")
    run(capsys, "vae", "--resume", "exp1", "--epochs", "2", "--runs-dir", "own")
    starts = json.loads(Path("own/exp1/provenance.json").read_text())["starts"]
    assert [start["command"][2] for start in starts] == ["--epochs", "--resume"]
    assert load_model("own/exp1/model.safetensors").trained["epoch"] == 2


MISTAKES = {
    "no experiment": (["evaluate", "exp9"], "no experiment 'exp9'"),
    "a path to none": (["report", "here/exp9"], "no experiment 'exp9' in 'here'"),
    "no target": (["evaluate", "exp1", "unknown.csv"], "must have the target's column 'kind' to evaluate with"),
    "no target to report on": (["report", "exp1", "unknown.csv"], "must have the target's column 'kind' to report on"),
    "another ending of a report": (
        ["report", "exp1", "--output", "r.pdf"],
        "must be written to a file that ends in .html",
    ),
    "another format": (["export", "exp1", "--format", "tflite"], "--format must be one of pt2, onnx, safetensors"),
    "a format and another ending": (["export", "exp1", "--output", "m.onnx"], "--output must end in .pt2"),
    "no module": (["evaluate", "exp1", "--module", "none.py"], "there is no Python file"),
    "a device": (["evaluate", "exp1", "--device", "toaster"], "device must be 'cpu'"),
    "no name": (["report"], "experiment"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_writes_nothing(capsys, name):
    arguments, said = MISTAKES[name]
    before = sorted(map(str, Path().rglob("*")))
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert said in err
    assert sorted(map(str, Path().rglob("*"))) == before


def test_without_onnx_the_line_says_what_to_install(capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = run(capsys, "export", "exp1", "--format", "onnx", "--device", "cpu")
    assert code == 2
    assert err.endswith("pip install 'ignite-recipes[onnx]'\n")


def test_a_model_of_the_users_own_is_registered_by_its_module(capsys):
    Path("own_model.py").write_text(
        "import torch\nfrom ignite_recipes import ModelRegistry\n\n\n"
        '@ModelRegistry.register("tiny")\ndef tiny(num_classes, input_shape):\n'
        "    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, num_classes))\n"
    )
    common = ["--module", "own_model.py", "--device", "cpu", "--runs-dir", "own"]
    assert run(capsys, "classify", "--model", "tiny", "--epochs", "1", *common)[0] == 0
    assert run(capsys, "evaluate", "exp1", *common)[0] == 0
    from ignite_recipes import ModelRegistry

    ModelRegistry._entries.pop("tiny")
    code, _, err = run(capsys, "evaluate", "exp1", "--device", "cpu", "--runs-dir", "own")
    assert code == 2
    assert "tiny" in err

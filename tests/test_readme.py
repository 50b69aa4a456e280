"""The README's code runs as it stands, prints what the README shows, and its commands are CI's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

import ignite_recipes
from ignite_recipes.cli import main

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


TABLE = [[cell.strip() for cell in line.split("|")[1:-1]] for line in README.split("## Handlers")[1].splitlines()]
HANDLERS = {row[0].strip("`"): row for row in TABLE if len(row) == 5 and row[0].startswith("`")}


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
@pytest.mark.usefixtures("registries")
def test_the_code_runs_without_a_warning(tmp_path, monkeypatch, capsys, code):
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().err == ""


def test_the_first_picture_is_the_one_that_the_code_below_it_draws(tmp_path, monkeypatch):
    name = re.search(r"!\[[^]]+\]\((.*?)\)", README)[1]
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r"num_epochs=\d+", "num_epochs=1", BLOCKS[0]), {})
    with Image.open(Path(name).name) as drawn, Image.open(ROOT / name) as shown:
        assert abs(drawn.width - shown.width) < 10
        assert abs(drawn.height - shown.height) < 10


@pytest.mark.filterwarnings("ignore:mixed precision does nothing")  # on a CPU
def test_every_handler_is_in_the_table_as_it_is_used(tmp_path, monkeypatch):
    """The lines of both columns, run with what they name."""
    monkeypatch.chdir(tmp_path)
    kinds = [
        value for value in map(vars(ignite_recipes).get, ignite_recipes.handlers.__all__) if isinstance(value, type)
    ]
    assert set(HANDLERS) == {kind.__name__ for kind in kinds if hasattr(kind, "attach")}
    for by_hand, attached in (row[3:] for row in HANDLERS.values()):
        names = _what_the_lines_name()
        if by_hand:
            exec(by_hand.split("`")[1], names)
        exec(attached.strip("`"), names)


def _what_the_lines_name():
    names = {name: getattr(ignite_recipes, name) for name in ignite_recipes.__all__}
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    x, labels = torch.rand(3, 4), torch.tensor([0, 1, 1])
    outputs = model(x)

    def loss_fn(model, inputs, batch):
        return {"loss": torch.nn.functional.cross_entropy(model(inputs), labels)}

    loss = torch.nn.functional.cross_entropy(outputs, labels)
    loss.backward(retain_graph=True)
    clipper, callback = ignite_recipes.GradientClipper(), ignite_recipes.GradientClipCallback()
    stopping, ema = ignite_recipes.EarlyStopping(verbose=False), ignite_recipes.ExponentialMovingAverage()
    for handler in (callback, stopping, ema):
        handler.set_model(model)
    history = {"train_loss": [2.0, 1.0], "val_loss": [2.0, 1.5]}
    return names | {
        "torch": torch,
        "model": model,
        "optimizer": optimizer,
        "x": x,
        "labels": labels,
        "outputs": outputs,
        "loss": loss,
        "val_loss": 1.5,
        "epoch": 1,
        "history": history,
        "flip": lambda x: x.flip(0),
        "val_loader": [x],
        "clipper": clipper,
        "callback": callback,
        "stopping": stopping,
        "ema": ema,
        "guard": ignite_recipes.NonFiniteGuard(),
        "precision": ignite_recipes.MixedPrecisionTrainer(enabled=False),
        "scheduler": ignite_recipes.LearningRateScheduler(optimizer, "plateau"),
        "metrics": ignite_recipes.MetricsTracker(),
        "saving": ignite_recipes.Checkpointing("saved"),
        "evaluator": ignite_recipes.create_evaluator(model, loss_fn),
        "trainer": ignite_recipes.create_trainer(model, optimizer, loss_fn),
    }


@pytest.mark.usefixtures("registries")
def test_a_data_set_and_a_model_of_ones_own_are_known_to_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [*sys.path])
    command = re.search(r"`ignite-recipes (classify --module (\S+) .*?)`", README)
    Path(command[2]).write_text(next(block for block in BLOCKS if "@ModelRegistry" in block))
    assert main([*command[1].split(), "--device", "cpu"]) == 0
    assert "Best validation accuracy 100.00%" in capsys.readouterr().out


def test_what_is_linked_to_is_there():
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_printed_order_is_the_one_shown(capsys):
    code = next(block for block in BLOCKS if "create_evaluator" in block)
    exec(code, {})
    shown = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert capsys.readouterr().out.startswith(shown[1])


def test_every_file_of_the_tests_that_is_named_is_there():
    named = re.findall(r"`(?:python )?(tests/[^\s`]+\.py)", README)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_ci_runs_the_readmes_test_command_and_the_slow_tests_after_it():
    script = (ROOT / ".ci/run").read_text()
    program = re.search(r"awk .*?'(.*?)'", script)[1]
    names = re.findall(r'"(the [^"]+)"', re.search(r"(?m)^for name in (.*); do$", script)[1])
    found = []
    for name in names:
        command = ["awk", "-v", f"marker=<!-- {name} -->", program, ROOT / "README.md"]
        found.append(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert [command.count("\n") for command in found] == [1, 1]
    assert all("-m pytest" in command for command in found)
    assert ["-m slow" in command for command in found] == [False, True]

"""The report on many runs holds what was compared, in words and pictures, and opens without a network."""

import re
from pathlib import Path

import pytest
import torch

from ignite_recipes import Runs, multilayer_perceptron, report, train_many, train_model_advanced
from ignite_recipes.cli import main

G = torch.Generator().manual_seed(0)
X = torch.randn(40, 4, generator=G)
Y = (X.sum(1) > 0).long()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two widths and three seeds; a name that would be HTML."""
    folder = tmp_path_factory.mktemp("runs")
    train_many(
        train_model_advanced,
        lambda width, name="<b>": multilayer_perceptron(4, 2, width),
        (X, Y),
        (X, Y),
        seeds=3,
        sweep={"width": [2, 64], "name": ["<b>"]},
        epochs=2,
        device="cpu",
        experiment=folder,
        together=False,
    )
    return folder


def test_it_says_what_was_compared_and_whether_it_can_be_told_apart(folder, tmp_path):
    page = report("exp1", tmp_path / "page.html", runs_dir=folder).read_text(encoding="utf-8")
    for title in ("Settings", "Can they be told apart?", "Curves", "The ensemble", "Members", "What was run"):
        assert f">{title}</h2>" in page
    assert page.count("data:image/png;base64,") == 3  # the metric against the width, and the curves of both losses
    assert "http://" not in page
    assert "https://" not in page
    assert "&lt;b&gt;" in page  # what stands in names is text
    assert "<b>" not in page
    verdict = Runs("exp1", runs_dir=folder).compare()["verdict"][0].replace("<", "&lt;").replace(">", "&gt;")
    assert verdict in page
    assert len(re.findall(r"width=\d+_name=-b-_seed=\d", page)) >= 6


def test_the_command_writes_it_beside_the_members(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder)
    assert main(["report", "exp1", "--runs-dir", "."]) == 0
    assert "exp1/report.html" in capsys.readouterr().out
    assert Path("exp1/report.html").is_file()
    assert main(["report", "exp1", "--runs-dir", ".", "--output", "page.txt"]) == 2
    assert "ends in .html" in capsys.readouterr().err

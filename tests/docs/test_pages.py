"""README and every page of the documents run as they stand: from the top, in an empty folder, without a warning."""

import ast
import re
import sys
import textwrap
from pathlib import Path

import pytest
from support.pages import ROOT, blocks, pages, run

from ignite_recipes.cli import main

OWN_TESTS = {"birds.rst", "many.rst", "metrics.rst", "vae.rst"}  # which run the page, and look at what comes out
SLOW = {
    "README.md",  # a hundred epochs; tests/test_readme.py runs its code with fewer
    "whole_step.rst",  # a program is compiled
    "train_a_small_model_faster.md",  # the same
}


def _marked(path):
    is_slow = path.name in SLOW or path.parent.name == "howto"  # there are some forty of them
    return pytest.param(path, id=str(path.relative_to(ROOT)), marks=[pytest.mark.slow] if is_slow else [])


@pytest.mark.parametrize("path", [_marked(path) for path in pages() if path.name not in OWN_TESTS])
@pytest.mark.usefixtures("registries", "in_an_empty_folder", "no_pictures")
def test_a_page_runs_as_it_stands(monkeypatch, capsys, path):
    monkeypatch.setattr(sys, "path", [*sys.path])  # of files that --module names
    run(path)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("path", sorted((ROOT / "docs").glob("**/*.rst")), ids=lambda path: path.stem)
def test_no_python_stands_in_a_block_that_is_not_run(path):
    literals = re.findall(r"(?<!\.)::\n\n((?: +[^\n]*\n|\n)+)", path.read_text(encoding="utf-8"))
    found = [text for text in map(textwrap.dedent, literals) if _is_python(text)]
    assert found == []


def _is_python(text):
    try:
        return bool(ast.parse(text).body)
    except SyntaxError:
        return False


def test_every_block_of_a_page_is_run_or_said_to_be_for_reading():
    known = {"python", "console", "bash", "text"}
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        assert "~~~" not in text
        kinds = re.findall(r"(?m)^ *```(.*)$", text)[::2]  # each second one ends a block
        assert [kind for kind in kinds if not kind.startswith("{") and kind not in known] == [], path


def test_the_printed_order_is_the_one_shown(capsys):
    page = ROOT / "docs" / "trainer.md"
    run(page)
    shown = re.search(r"```text\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    assert capsys.readouterr().out.startswith(shown[1])


@pytest.mark.usefixtures("registries", "in_an_empty_folder", "no_pictures")
def test_a_data_set_and_a_model_of_ones_own_are_known_to_the_command(monkeypatch, capsys):
    monkeypatch.setattr(sys, "path", [*sys.path])
    page = ROOT / "docs" / "howto" / "add_a_data_set_or_a_model.md"
    command = re.search(r"`ignite-recipes (classify --module (\S+) .*?)`", page.read_text(encoding="utf-8"))
    Path(command[2]).write_text(next(text for _, text in blocks(page) if "@ModelRegistry" in text))
    assert main([*command[1].split(), "--device", "cpu"]) == 0
    assert "Best validation accuracy 100.00%" in capsys.readouterr().out


def test_every_file_of_the_tests_that_is_named_is_there():
    text = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs").rglob("*.md"))
    named = re.findall(r"`(?:python )?(tests/[^\s`]+\.py)", text)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []

"""The README's code runs as it stands, prints what the README shows, and its commands are CI's."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_the_code_runs_without_a_warning(tmp_path, monkeypatch, capsys, code):
    monkeypatch.chdir(tmp_path)
    exec(code, {})
    assert capsys.readouterr().err == ""


def test_the_printed_order_is_the_one_shown(capsys):
    code = next(block for block in BLOCKS if "create_evaluator" in block)
    exec(code, {})
    shown = re.search(r"```text\n(.*?)```", README, flags=re.DOTALL)
    assert capsys.readouterr().out.startswith(shown[1])


def test_ci_runs_the_readmes_test_command():
    script = (ROOT / ".ci/run").read_text()
    program = re.search(r"awk '(.*?)'", script)[1]
    found = subprocess.run(["awk", program, ROOT / "README.md"], capture_output=True, text=True, check=True).stdout
    assert found.count("\n") == 1
    assert "-m pytest" in found

"""README is short, what it links to is there, and its commands are CI's; ``tests/docs/test_pages.py`` runs its code."""

import re
import subprocess
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", README, flags=re.DOTALL)


def test_it_is_read_in_two_minutes():
    assert len(README.splitlines()) <= 170


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
@pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")
def test_its_code_runs_with_fewer_epochs(capsys, code):
    exec(re.sub(r"epochs=\d+", "epochs=2", code), {})
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_first_picture_is_the_one_that_the_code_below_it_draws():
    name = re.search(r"!\[[^]]+\]\((.*?)\)", README)[1]
    exec(re.sub(r"num_epochs=\d+", "num_epochs=1", BLOCKS[0]), {})
    with Image.open(Path(name).name) as drawn, Image.open(ROOT / name) as shown:
        assert abs(drawn.width - shown.width) < 10
        assert abs(drawn.height - shown.height) < 10


def test_what_is_linked_to_is_there():
    text = re.sub(r"```.*?```", "", README, flags=re.DOTALL)
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


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

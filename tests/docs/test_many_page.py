"""The page on many runs: its code runs as it stands, one block after the other."""

import re
import textwrap
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "many.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_code_runs():
    names = {}
    for block in BLOCKS:
        exec(textwrap.dedent(block), names)
    assert len(BLOCKS) == 3
    assert {path.name for path in Path().glob("*.png")} == {"curves.png", "rates.png"}
    assert sorted(path.name for path in Path("runs").iterdir()) == ["exp1", "exp2", "exp3"]
    assert len(names["runs"].predictions) == 442

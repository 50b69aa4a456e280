"""The page on many runs: its code runs as it stands, one block after the other."""

import re
import textwrap
from pathlib import Path

import pytest

from ignite_recipes import read_checkpoint

PAGE = (Path(__file__).parents[2] / "docs" / "many.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_code_runs():
    names = {}
    for block in BLOCKS:
        exec(textwrap.dedent(block), names)
    assert len(BLOCKS) == 5
    assert {path.name for path in Path().glob("*.png")} == {"curves.png", "rates.png"}
    assert sorted(path.name for path in Path("runs").iterdir()) == ["exp1", "exp2", "exp3"]
    assert len(names["table_runs"].predictions) == 442
    assert len(names["runs"].table("val_loss")) == 4
    assert read_checkpoint("searches/exp2/checkpoints/latest_checkpoint.pt")["epoch"] == 3

"""The page on metrics and loggers: its code runs as it stands, one block after the other, without a warning."""

import logging
import re
import textwrap
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_code_runs(capsys, caplog):
    names = {}
    for block in BLOCKS:
        exec(textwrap.dedent(block), names)
    assert len(BLOCKS) == 3
    assert "val_matrix" in names["result"]["report"]
    assert names["trainer"].state.metrics["val_auroc"] > 0.5
    assert Path("best.pt").exists()
    assert next(Path("events").iterdir()).read_bytes().count(b"step/loss") == 2
    assert capsys.readouterr().err == ""
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert [text for text in warnings if "not a number" not in text] == []

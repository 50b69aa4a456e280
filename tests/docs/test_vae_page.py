"""The page on variational autoencoders: its code runs as it stands, and its options are those of the command."""

import logging
import re
import textwrap
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "vae.rst").read_text(encoding="utf-8")
BLOCKS = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)


@pytest.mark.usefixtures("in_an_empty_folder")
def test_the_code_runs(capsys, caplog):
    caplog.set_level(logging.WARNING)
    names = {}
    for block in BLOCKS:
        exec(textwrap.dedent(block), names)
    assert len(BLOCKS) == 5
    history = names["history"]
    assert history["val_loss"][-1] < history["val_loss"][0]
    assert names["r"].shape == (20,)
    assert names["bound"].nll < 60
    assert names["latent"].active_units > 0
    assert names["monitor"].active_units[-1] == 0
    assert list(names["frame"].columns) == ["place", "latitude", "z1", "z2", "z3", "z4"]
    said = {record.getMessage().split(": ")[1] for record in caplog.records}
    assert said == {"the latent space is collapsing"}  # where it was made to
    assert "[0.0, 0.5, 1.0, 0.0, 0.25]" in capsys.readouterr().out

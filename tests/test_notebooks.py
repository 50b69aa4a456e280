"""Every notebook, run again from a clean kernel in an empty folder, shows what is committed.

The words are the same, a number differs by 10% or 0.02 at most (sums are rounded otherwise on another processor, and
training amplifies that), the pictures are there, and nothing is written to stderr.

``python tests/test_notebooks.py [NAME ...]`` runs them and writes what they show into the files.
"""

import math
import os
import re
import sys
import tempfile
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?(?!\w)")
RELATIVE, ABSOLUTE = 0.1, 0.02
# All are shown, and fail the test, but those of torch's own distributed package, which ignite.handlers imports.
WARNINGS = "default,ignore::DeprecationWarning:torch.jit._script"


def run(path, folder):
    """The notebook, run in the folder with one thread: two would wait for each other where tests run side by side."""
    notebook = nbformat.read(path, as_version=4)
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute(env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": WARNINGS})
    del notebook.metadata["language_info"]  # it holds the version of Python
    return notebook


def shown(cell):
    """What a code cell shows: its text, and the kinds of its other outputs."""
    text, others = "", []
    for output in cell.outputs:
        assert output.get("name") != "stderr", output.text
        if output.output_type == "stream":
            text += output.text
            continue
        kinds = sorted(output.data)
        others.append(kinds)
        if kinds == ["text/plain"]:  # else it is the name of the object that a picture or a table shows
            text += output.data["text/plain"] + "\n"
        text += re.sub(r"<[^>]*>", " ", output.data.get("text/html", ""))
    return text, others


def assert_same(now, committed):
    assert NUMBER.sub("#", now) == NUMBER.sub("#", committed)
    for a, b in zip(NUMBER.findall(now), NUMBER.findall(committed), strict=True):
        assert math.isclose(float(a), float(b), rel_tol=RELATIVE, abs_tol=ABSOLUTE), f"{a} in place of {b}: {now}"


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_shows_what_is_committed(path, tmp_path):
    committed = nbformat.read(path, as_version=4)
    now = run(path, tmp_path)
    numbers = [cell.execution_count for cell in committed.cells if cell.cell_type == "code"]
    assert numbers == list(range(1, len(numbers) + 1)), "not run from a clean kernel, from the top"
    for cell, before in zip(now.cells, committed.cells, strict=True):
        if cell.cell_type == "code":
            (text, kinds), (text_before, kinds_before) = shown(cell), shown(before)
            assert kinds == kinds_before, cell.source
            assert_same(text, text_before)


def test_a_number_beyond_the_tolerance_and_another_word_are_told():
    assert_same("loss 1.05 after 10 epochs", "loss 1.00 after 10 epochs")
    for other in ("loss 1.20 after 10 epochs", "loss 1.00 after 12 epochs", "cost 1.00 after 10 epochs", "loss nan"):
        with pytest.raises(AssertionError):
            assert_same(other, "loss 1.00 after 10 epochs")


if __name__ == "__main__":
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if path.stem in sys.argv[1:] or not sys.argv[1:]:
            with tempfile.TemporaryDirectory() as folder:
                nbformat.write(run(path, folder), path)

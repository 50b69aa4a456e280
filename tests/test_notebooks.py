"""Every notebook, run again from a clean kernel in an empty folder, shows what is committed.

Words and whole numbers are the same, the pictures are there, and nothing is written to stderr. A number with decimals
may depend on the last bit of a sum, which another processor rounds otherwise and training amplifies. How far is
measured: a notebook is run as three processors would run it, with one and with two threads, and the largest relative
difference of a cell's numbers is kept in the cell's metadata, as "spread". The test allows twice the spread, and 1%
for processors that were not measured. A cell with a spread above 0.1 is compared by its words and whole numbers only.
What a notebook says in its text is asserted in its cells, and so it holds in all six runs.

    python tests/test_notebooks.py [NAME ...]            run them, and write what they show into the files
    python tests/test_notebooks.py --measure [NAME ...]  the same, and measure the spread again
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
DECIMAL = re.compile(r"(?<![\w.])[-+]?\d+\.\d+(?:e[-+]?\d+)?(?!\w)")
WIDEST = 0.1  # a spread above it says nothing about a number
# All are shown, and fail the test, but those of torch's own distributed package, which ignite.handlers imports.
WARNINGS = "default,ignore::DeprecationWarning:torch.jit._script"
# What torch itself, MKL and oneDNN choose their code by; the first is this processor as it is.
PROCESSORS = [
    {},
    {"ATEN_CPU_CAPABILITY": "avx2", "MKL_ENABLE_INSTRUCTIONS": "AVX2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2", "ONEDNN_MAX_CPU_ISA": "SSE41"},
]


def run(path, **environment):
    """The notebook, run in an empty folder, with one thread: two would wait for each other beside other tests."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=300,
            kernel_name="python3",
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": WARNINGS, **environment})
        assert not os.listdir(folder), "a notebook must write into a folder of its own"
    del notebook.metadata["language_info"]  # it holds the version of Python
    return notebook


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


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


def assert_same_words(now, before):
    """Whole numbers are words; how many spaces are between two words depends on the numbers around them."""
    assert DECIMAL.sub("#", now).split() == DECIMAL.sub("#", before).split()


def assert_same(now, before, spread=0.0):
    assert_same_words(now, before)
    if spread <= WIDEST:
        for a, b in zip(DECIMAL.findall(now), DECIMAL.findall(before), strict=True):
            assert math.isclose(float(a), float(b), rel_tol=0.01 + 2 * spread), f"{a} in place of {b}: {now}"


def spread_of(texts):
    """The largest relative difference of a number between the texts, rounded up."""
    for text in texts:
        assert_same_words(text, texts[0])
    numbers = [[float(number) for number in same] for same in zip(*map(DECIMAL.findall, texts), strict=True)]
    widths = [(max(same) - min(same)) / max(map(abs, same)) for same in numbers if any(same)]
    return math.ceil(1000 * max(widths, default=0)) / 1000


def measure(path):
    """Write how far its numbers differ into the notebook, with what it shows on this processor with one thread."""
    runs = [run(path, OMP_NUM_THREADS=threads, **processor) for processor in PROCESSORS for threads in "12"]
    for cells in zip(*map(code_cells, runs), strict=True):
        cells[0].metadata.pop("spread", None)
        if spread := spread_of([shown(cell)[0] for cell in cells]):
            cells[0].metadata["spread"] = spread
    return runs[0]


@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=pytest.mark.slow) for path in sorted(NOTEBOOKS.glob("*.ipynb"))],
)
def test_a_notebook_shows_what_is_committed(path):
    committed = code_cells(nbformat.read(path, as_version=4))
    numbers = [cell.execution_count for cell in committed]
    assert numbers == list(range(1, len(numbers) + 1)), "not run from a clean kernel, from the top"
    for cell, before in zip(code_cells(run(path)), committed, strict=True):
        (text, kinds), (text_before, kinds_before) = shown(cell), shown(before)
        assert kinds == kinds_before, cell.source
        assert_same(text, text_before, before.metadata.get("spread", 0.0))


def test_a_number_beyond_the_tolerance_and_another_word_are_told():
    before = "loss 1.00 after 10 epochs"
    assert_same("loss  1.005 after 10 epochs", before)
    assert_same("loss 1.05 after 10 epochs", before, spread=0.03)
    assert_same("loss 7.5 after 10 epochs", before, spread=0.2)
    for other in ("loss 1.10 after 10 epochs", "loss 1.00 after 11 epochs", "cost 1.00 after 10 epochs", "loss nan"):
        with pytest.raises(AssertionError):
            assert_same(other, before, spread=0.03)
    assert spread_of(["1.00 of 3", "1.04 of 3", "0.99 of 3"]) == 0.049
    with pytest.raises(AssertionError):
        spread_of(["1.00 of 3", "1.00 of 4"])


if __name__ == "__main__":
    names = [name for name in sys.argv[1:] if name != "--measure"]
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        if path.stem in names or not names:
            nbformat.write(measure(path) if "--measure" in sys.argv else run(path), path)

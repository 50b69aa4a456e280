"""What the site is made by: pictures that are drawn while it is built, copies of the notebooks, versions of names."""

import importlib
import io
import sys
from types import SimpleNamespace

import pytest
from support.pages import ROOT, blocks, commands


@pytest.fixture
def part(monkeypatch):
    """A module of docs/_site, by its name."""
    monkeypatch.syspath_prepend(str(ROOT / "docs"))
    yield lambda name: importlib.import_module(f"_site.{name}")
    for name in [name for name in sys.modules if name.partition(".")[0] == "_site"]:
        del sys.modules[name]


def test_notebooks_are_copied_when_they_have_changed_and_removed_when_they_are_gone(part, monkeypatch, tmp_path):
    notebooks, docs = tmp_path / "notebooks", tmp_path / "docs"
    notebooks.mkdir()
    (docs / "tutorials").mkdir(parents=True)
    (notebooks / "a.ipynb").write_text("see [below](#In-Short) and [there](https://a.b/#Top)")
    (docs / "tutorials" / "old.ipynb").write_text("")
    module = part("notebooks")
    monkeypatch.setattr(module, "NOTEBOOKS", notebooks)
    module.copy_notebooks(SimpleNamespace(srcdir=docs))
    copy = docs / "tutorials" / "a.ipynb"
    assert copy.read_text() == "see [below](#in-short) and [there](https://a.b/#Top)"
    assert [path.name for path in (docs / "tutorials").iterdir()] == ["a.ipynb"]
    before = copy.stat().st_mtime_ns
    module.copy_notebooks(SimpleNamespace(srcdir=docs))
    assert copy.stat().st_mtime_ns == before


def test_a_name_without_a_version_is_named_with_where_to_enter_it(part):
    with pytest.raises(KeyError, match=r"not_there must be entered in .*since.py"):
        part("since").since("not_there")


def build(folder, pages):
    """Build a site of these pages: its messages, and how many pictures it has."""
    from sphinx.application import Sphinx

    for name, text in pages.items():
        (folder / f"{name}.md").write_text(f"# {name}\n{text}")
    said = io.StringIO()
    settings = {"extensions": ["myst_parser", "_site.pictures"], "exclude_patterns": ["out"]}
    application = Sphinx(folder, None, folder / "out", folder / "out" / "trees", "html", settings, None, said)
    application.build()
    return said.getvalue(), len(list((folder / "out" / "_images").glob("*.png")))


DRAWS = "from matplotlib.figure import Figure\nfigure = Figure(figsize=(1, 1))"


def test_the_blocks_of_a_page_are_one_program_and_a_page_knows_nothing_of_another(part, tmp_path):
    first = f"```{{run}}\nx = 1\nopen('kept.txt', 'w').close()\n```\n\n```{{picture}} it\nassert x\n{DRAWS}\n```\n"
    second = "```{run}\nimport os\nassert 'x' not in globals() and not os.listdir()\n```\n"
    said, pictures = build(tmp_path, {"index": first + "\n```{toctree}\nb\n```\n", "b": second})
    assert (said, pictures) == ("", 1)
    assert not (tmp_path / "kept.txt").exists()


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("x = ", "SyntaxError"),
        ("x = 1", "must make a matplotlib Figure called figure; got NoneType"),
        ("figure = 3", "got int"),
    ],
)
def test_a_picture_that_cannot_be_drawn_is_an_error_of_the_build(part, tmp_path, code, told):
    said, pictures = build(tmp_path, {"index": f"```{{picture}} it\n{code}\n```\n"})
    assert told in said
    assert "ERROR" in said
    assert pictures == 0


def test_blocks_are_found_in_their_order_and_lines_that_would_not_run_are_refused(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "<!-- first:\nx = 1\n-->\n\n```python\ny = x\n```\n- a list\n\n  ```python\n  z = y\n  ```\n"
        "```bash\nrm\n```\n"
        "```console\nignite-recipes list \\\n  --json  # all\n\n```\n"
    )
    assert [kind for kind, _ in blocks(page)] == ["python", "python", "python", "console"]
    assert [text for _, text in blocks(page)][:3] == ["x = 1\n", "y = x\n", "z = y\n"]
    assert list(commands([text for _, text in blocks(page)][3])) == [["list", "--json"]]
    with pytest.raises(AssertionError, match="calls only the command"):
        list(commands("$ ignite-recipes list"))
    page = tmp_path / "page.rst"
    page.write_text(".. first:\n\n   x = 1\n\nText.\n\n.. code-block:: python\n\n   y = x\n\n   z = y\n\nMore.\n")
    assert [text.strip() for _, text in blocks(page)] == ["x = 1", "y = x\n\nz = y"]

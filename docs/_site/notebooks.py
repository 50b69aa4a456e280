"""The notebooks lie in ``notebooks/``, where people start them; Sphinx reads copies in ``docs/tutorials/``."""

import re
from pathlib import Path

from sphinx.application import Sphinx

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def copy_notebooks(app: Sphinx) -> None:
    """Copy those that have changed, so that a second build reads nothing again, and remove what is no longer there."""
    folder = Path(app.srcdir, "tutorials")
    notebooks = {path.name: _with_our_anchors(path.read_text(encoding="utf-8")) for path in NOTEBOOKS.glob("*.ipynb")}
    for copy in folder.glob("*.ipynb"):
        if copy.name not in notebooks:
            copy.unlink()
    for name, content in notebooks.items():
        copy = folder / name
        if not copy.exists() or copy.read_text(encoding="utf-8") != content:
            copy.write_text(content, encoding="utf-8")


def _with_our_anchors(text: str) -> str:
    """Links to headings in small letters, as MyST names them; Jupyter's have the capitals of the heading."""
    return re.sub(r"\]\(#[\w-]+\)", lambda found: found[0].lower(), text)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.connect("builder-inited", copy_notebooks)
    return {"parallel_read_safe": True}

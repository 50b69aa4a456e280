"""```` ```{picture} ````: Python that draws a figure, and the figure, drawn while the site is built.

The blocks of a page are one program, run from top to bottom in a folder of its own: a block may use what those above
it have defined.
"""

import contextlib
import io
import logging
import os
import shutil
import traceback
from collections.abc import Iterator
from pathlib import Path

import torch
from docutils import nodes
from matplotlib.figure import Figure
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ignite_recipes import set_seed

_NAMES = "names of the pictures' program"  # among what Sphinx keeps while it reads a page


class Run(SphinxDirective):
    """Run its content, and show it."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        """Run it where the page's blocks before it have run."""
        code = "\n".join(self.content)
        names = self._names()
        with _quietly_in(self._folder()):
            try:
                exec(compile(code, self.get_location(), "exec"), names)
            except Exception as error:
                raise self.error(f"the code fails:\n{code}\n{traceback.format_exc()}") from error
        block = nodes.literal_block(code, code, language="python")
        self.set_source_info(block)
        return [block, *self._drawn(names)]

    def _drawn(self, names: dict[str, object]) -> list[nodes.Node]:
        return []

    def _names(self) -> dict[str, object]:
        """Of the page's program; its first block starts in an empty folder, from the same seed."""
        kept = self.env.temp_data
        if _NAMES not in kept:
            shutil.rmtree(self._folder(), ignore_errors=True)
            self._folder().mkdir(parents=True)
            kept[_NAMES] = {}
            torch.set_num_threads(1)  # the same pictures on every machine; for small models also quicker
            set_seed(0)
        names: dict[str, object] = kept[_NAMES]
        return names

    def _folder(self) -> Path:
        return Path(self.env.doctreedir, "pictures", self.env.docname)


class Picture(Run):
    """Run its content, and show it and the ``figure`` that it makes; the argument says what is seen."""

    required_arguments = 1
    final_argument_whitespace = True

    def _drawn(self, names: dict[str, object]) -> list[nodes.Node]:
        figure = names.pop("figure", None)
        if not isinstance(figure, Figure):
            raise self.error(f"the code must make a matplotlib Figure called figure; got {type(figure).__name__}")
        path = self._folder() / f"picture_{self.env.new_serialno('picture')}.png"
        figure.savefig(path)
        uri = os.path.relpath(path, self.env.doc2path(self.env.docname).parent)
        return [nodes.image(uri=uri, alt=self.arguments[0])]


@contextlib.contextmanager
def _quietly_in(folder: Path) -> Iterator[None]:
    """In this folder, without what a training prints and logs; warnings are seen."""
    before = Path.cwd()
    os.chdir(folder)
    logging.disable(logging.INFO)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(logging.NOTSET)
        os.chdir(before)


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.add_directive("run", Run)
    app.add_directive("picture", Picture)
    return {"parallel_read_safe": True}

"""What a page of the documents asks its reader to run: its Python, and the lines that call the command, in their order.

In Markdown these are blocks of ``python`` and of ``console``; what a page's code needs and need not show, like a file
to read, stands in a comment, ``<!-- first: ... -->``. In reStructuredText they are ``code-block:: python``, and a
comment that begins with ``.. first:``. Blocks of other kinds (``bash``, ``text``) are for reading.
"""

import contextlib
import io
import re
import shlex
import textwrap
from pathlib import Path

from ignite_recipes import cli

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(
    r"^(?P<indent> *)```(?P<kind>python|console)\n(?P<block>.*?)^ *```$"
    r"|^<!-- first:\n(?P<first>.*?)^-->$"
    r"|^\.\. (?:code-block:: python|first:)\n\n(?P<rst>(?:   [^\n]*\n|\n)+)",
    flags=re.DOTALL | re.MULTILINE,
)


def pages():
    """README, and every page of the site that asks for something to be run."""
    documents = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "docs").rglob("*.rst")]
    return sorted(path for path in documents if _BLOCK.search(path.read_text(encoding="utf-8")))


def blocks(path):
    """(kind, text) of each block, from the top."""
    for found in _BLOCK.finditer(path.read_text(encoding="utf-8")):
        text = next(text for text in (found["block"], found["first"], found["rst"]) if text is not None)
        yield found["kind"] or "python", textwrap.dedent(text)


def commands(text):
    """The words of each line, continued lines joined: all are calls of the command."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        assert not words or words[0] == "ignite-recipes", f"a block of console calls only the command; got {line!r}"
        if words:
            yield words[1:]


def run(path):
    """Run the page from top to bottom in the current folder, and give what its program has named."""
    names = {"__name__": path.stem}
    for kind, text in blocks(path):
        if kind == "python":
            exec(compile(text, str(path), "exec"), names)
        else:
            for words in commands(text):
                _call(words)
    return names


def _call(words):
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = cli.main(words)
    assert code == 0, f"ignite-recipes {shlex.join(words)}: {said.getvalue()}"

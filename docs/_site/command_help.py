"""``.. command-help::``: what the command and its subcommands print when they are asked for help."""

import contextlib
import io
import os

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from ignite_recipes import cli


class CommandHelp(SphinxDirective):
    """A section for the command itself and one for each subcommand."""

    def run(self) -> list[nodes.Node]:
        """Ask for it."""
        shown: list[nodes.Node] = []
        for arguments in ([], *([name] for name in cli._COMMANDS)):
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
                cli.main([*arguments, "--help"])
            if not (text := printed.getvalue()):
                raise self.error(f"the command gives no help on {arguments}")
            title = " ".join(["ignite-recipes", *arguments])
            block = nodes.literal_block(text, text, language="none")
            section = nodes.section("", nodes.title(title, title), block, names=[nodes.fully_normalize_name(title)])
            self.state.document.note_implicit_target(section)
            shown.append(section)
        return shown


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    os.environ["COLUMNS"] = "100"  # of the help
    app.add_directive("command-help", CommandHelp)
    return {"parallel_read_safe": True}

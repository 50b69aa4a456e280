"""The reference, made of the docstrings: ``python -m sphinx -W docs build/reference``."""

import ast
import contextlib
import importlib
import inspect
import io
import os
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import ignite_recipes
from ignite_recipes import cli

project = "ignite_recipes"
release = ignite_recipes.__version__
extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon"]

html_theme = "alabaster"
html_theme_options = {"page_width": "72em", "show_powered_by": False}
html_show_copyright = False
html_copy_source = False

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints_format = "short"
maximum_signature_line_length = 100
python_use_unqualified_type_names = True
# A list of settings may have one line for several names, which fields for single parameters cannot.
napoleon_use_param = napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]

nitpicky = True
# It is built without the network: names of other packages are shown, and lead nowhere.
nitpick_ignore_regex = [
    ("py:.*", r"(collections|contextlib|functools|ignite|logging|numpy|os|pathlib|pd|pl|torch)\..*"),
    (
        "py:class",
        r"ArrayLike|Figure|Rows|.*Statistic|ignite_recipes\.registry\.[FT]|EvaluationStep|.*\.EvaluationStep",
    ),  # not public, or type variables
]

_LABEL = re.compile(r"^(Runs|Reads|Writes|Stops|Keeps): +")


def _origin(name: str) -> list[str]:
    """The modules that a public name comes through, from the package to the one that defines it."""
    path = ["ignite_recipes"]
    while True:
        source = ast.parse(inspect.getsource(importlib.import_module(path[-1])))
        imports = [node for node in source.body if isinstance(node, ast.ImportFrom)]
        found = [node.module for node in imports if any(alias.name == name for alias in node.names)]
        if not found:
            return path
        path.append(str(found[0]))


class PublicNames(SphinxDirective):
    """``.. public-names:: engine events``: all of ``ignite_recipes.__all__`` that comes from these modules."""

    required_arguments = 1
    final_argument_whitespace = True

    def run(self) -> list[nodes.Node]:
        """Let autodoc document them."""
        modules = [f"ignite_recipes.{module}" for module in self.arguments[0].split()]
        origins = {name: _origin(name)[1] for name in ignite_recipes.__all__}
        if unused := set(modules) - set(origins.values()):
            raise self.error(f"no public name comes from {', '.join(sorted(unused))}")
        directives = [_directive(name) for name in ignite_recipes.__all__ if origins[name] in modules]
        return self.parse_text_to_nodes("\n\n".join(directives))


def _directive(name: str) -> str:
    value = getattr(ignite_recipes, name)
    if isinstance(value, type):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    else:
        kind = "autofunction" if inspect.isfunction(value) else "autodata"
    is_telling = kind != "autodata" or isinstance(value, (dict, str))
    return f".. {kind}:: ignite_recipes.{name}" + ("" if is_telling else "\n   :no-value:")


class CommandHelp(SphinxDirective):
    """``.. command-help::``: what the command prints when it is asked for help, and its subcommands too."""

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
            shown += [nodes.rubric(title, title), nodes.literal_block(text, text, language="none")]
        return shown


def _prepare(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Before Napoleon reads a docstring: what this house writes otherwise than it expects."""
    for k, line in enumerate(lines):
        lines[k] = _LABEL.sub(r":\1: ", line)  # a field: its text may continue, indented
        if k and lines[k - 1] == "Returns:":
            lines[k] = re.sub(r"^( +)", r"\1: ", line)  # no type stands before the first colon


def _describe_constant(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """A constant's words stand below it where it is defined, which is where autodoc does not look."""
    if what == "data":
        name = name.rpartition(".")[2]
        lines[:] = ModuleAnalyzer.for_module(_origin(name)[-1]).find_attr_docs().get(("", name), [])


def setup(app: Sphinx) -> None:
    """What Sphinx calls first."""
    os.environ["COLUMNS"] = "100"  # of the command's help
    app.add_directive("public-names", PublicNames)
    app.add_directive("command-help", CommandHelp)
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-docstring", _describe_constant, priority=600)

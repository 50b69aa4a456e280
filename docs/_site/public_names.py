"""``.. public-names:: MODULES``: the public names of some modules, as autodoc tells them, with their versions."""

import ast
import functools
import importlib
import inspect
import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.pycode import ModuleAnalyzer
from sphinx.util.docutils import SphinxDirective

import ignite_recipes
from _site.since import since

_LABEL = re.compile(r"^(Runs|Reads|Writes|Stops|Keeps): +")


@functools.cache
def _origin(name: str) -> list[str]:
    """The modules that a public name comes through, from the package to the one that defines it."""
    path = ["ignite_recipes"]
    while True:
        if name not in (imported := _imported(path[-1])):
            return path
        path.append(imported[name])


@functools.cache
def _imported(module: str) -> dict[str, str]:
    """The names that a module imports from others, and from which."""
    source = ast.parse(inspect.getsource(importlib.import_module(module)))
    imports = [node for node in source.body if isinstance(node, ast.ImportFrom)]
    return {alias.name: str(node.module) for node in imports for alias in node.names}


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
        names = [name for name in ignite_recipes.__all__ if origins[name] in modules]
        text = "\n\n".join(map(_directive, names))
        in_markdown = self.env.doc2path(self.env.docname).suffix == ".md"
        return self.parse_text_to_nodes(f"```{{eval-rst}}\n{text}\n```" if in_markdown else text)


def _directive(name: str) -> str:
    value = getattr(ignite_recipes, name)
    if isinstance(value, type):
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
    else:
        kind = "autofunction" if inspect.isfunction(value) else "autodata"
    is_telling = kind != "autodata" or isinstance(value, (dict, str))
    return f".. {kind}:: ignite_recipes.{name}" + ("" if is_telling else "\n   :no-value:")


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


def _say_since_when(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """The version that a public name came with, below its text."""
    package, _, name = name.partition(".")
    if package == "ignite_recipes" and name in ignite_recipes.__all__:
        lines += ["", f".. versionadded:: {since(name)}", ""]


def setup(app: Sphinx) -> dict[str, bool]:
    """What Sphinx calls first."""
    app.add_directive("public-names", PublicNames)
    app.connect("autodoc-process-docstring", _prepare, priority=400)  # Napoleon has 500
    app.connect("autodoc-process-docstring", _describe_constant, priority=600)
    app.connect("autodoc-process-docstring", _say_since_when, priority=700)
    return {"parallel_read_safe": True}

"""Every public name has an example that runs, and a place in the reference, which is built without a warning."""

import doctest
import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

import ignite_recipes

ROOT = Path(__file__).parents[1]
MODULES = [m.name for m in pkgutil.walk_packages(ignite_recipes.__path__, "ignite_recipes.")]


@pytest.fixture(scope="module")
def examples():
    """The examples that run, by the full name of what they stand in."""
    modules = [importlib.import_module(name) for name in MODULES if not name.endswith("__main__")]
    found = [test for module in modules for test in doctest.DocTestFinder().find(module)]
    return {test.name: [e.source for e in test.examples if not e.options.get(doctest.SKIP)] for test in found}


def _has_example(name, examples):
    """Whether a class (exceptions and typed dicts too) or function has one of its own, or a constant is used in one."""
    value = getattr(ignite_recipes, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return bool(examples.get(f"{value.__module__}.{value.__qualname__}"))
    return any(re.search(rf"\b{name}\b", source) for sources in examples.values() for source in sources)


def test_every_public_name_has_an_example_that_runs(examples):
    assert [name for name in ignite_recipes.__all__ if not _has_example(name, examples)] == []


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reference")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", str(folder)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_the_reference_holds_every_public_name_and_no_other(reference):
    entries = (reference / "objects.inv").read_bytes().split(b"\n", 4)[-1]  # below four lines of header
    listed = [line.split()[:2] for line in zlib.decompress(entries).decode().splitlines()]
    names = [name.split(".") for name, kind in listed if kind != "py:module" and name.startswith("ignite_recipes.")]
    assert {name for _, name, *members in names if not members} == set(ignite_recipes.__all__)


def test_the_reference_shows_the_help_of_every_command(reference):
    from ignite_recipes.cli import _COMMANDS

    page = (reference / "command.html").read_text(encoding="utf-8")
    assert [name for name in _COMMANDS if not re.search(rf"usage: ignite-recipes {name}\b", page)] == []

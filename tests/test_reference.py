"""Every public name has an example that runs, and is entered with the version that brought it."""

import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
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


def test_every_public_name_is_entered_with_the_version_that_brought_it():
    names = runpy.run_path(str(ROOT / "docs" / "_site" / "since.py"))["NAMES"]
    entered = [name for names in names.values() for name in names.split()]
    assert sorted(entered) == sorted(ignite_recipes.__all__), "docs/_site/since.py holds other names than the package"
    released = re.findall(r"(?m)^## \[?([0-9.]+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"))
    assert set(names) <= {*released, ignite_recipes.__version__}

"""What is no part of the core is imported where its absence is answered, and its extras are those that pip installs."""

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest

from ignite_recipes import optional
from ignite_recipes.optional import EXTRAS, MissingPackageError, check_installed, needs

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ignite_recipes"
OPTIONAL = {name for packages in EXTRAS.values() for name in packages}
FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.name != "optional.py")


def installed_by(extra, settings):
    """The packages that pip installs for an extra, by their names there; an extra may hold others."""
    found = set()
    for line in settings["options.extras_require"][extra].split():
        within = re.fullmatch(r"ignite-recipes\[(.+)\]", line)
        names = within[1].split(",") if within else []
        found |= set().union(*(installed_by(name, settings) for name in names))
        found |= set() if within else {re.match(r"[\w.-]+", line)[0].lower()}
    return found


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_installs_what_is_imported_for_it(extra):
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg", encoding="utf-8")
    assert set(EXTRAS[extra].values()) == installed_by(extra, settings)
    assert installed_by(extra, settings) <= installed_by("all", settings)


def imports_of_extras(tree):
    """(line, package, extra or None) of each import of a package of an extra; those for type checkers aside."""

    def visit(node, extra):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.With) and (call := node.items[0].context_expr) and isinstance(call, ast.Call):
            extra = ast.literal_eval(call.args[0]) if ast.unparse(call.func) == "needs" else extra
        named = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        named += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
        yield from (
            (node.lineno, name.partition(".")[0], extra) for name in named if name.partition(".")[0] in OPTIONAL
        )
        for child in ast.iter_child_nodes(node):
            yield from visit(child, extra)

    return visit(tree, None)


def is_of_the_command(path):
    return path.parent.name == "cli"  # __main__ asks for all that it needs


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_import_of_such_a_package_says_which_extra_installs_it(path):
    for line, name, extra in imports_of_extras(ast.parse(path.read_text(encoding="utf-8"))):
        installs = EXTRAS["cli"] if is_of_the_command(path) else EXTRAS.get(extra, {})
        assert name in installs, f"{path}:{line} imports {name}"


def test_what_is_missing_is_named_with_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    line = r"^optuna must be installed for this, and is not: pip install 'ignite-recipes\[search\]', or pass nothing$"
    with pytest.raises(MissingPackageError, match=line), needs("search", "pass nothing"):
        import optuna  # noqa: F401
    with pytest.raises(MissingPackageError, match=line):
        check_installed("search", "pass nothing")


def test_a_fault_of_the_package_itself_is_not_hidden():
    with pytest.raises(ModuleNotFoundError, match="no_such_module") as error, needs("tables"):
        import no_such_module  # noqa: F401
    assert not isinstance(error.value, MissingPackageError)


def test_a_lazy_module_is_loaded_at_its_first_use_and_not_by_who_looks_it_over(monkeypatch):
    lazy = optional._Lazy("colorsys", "tables")
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    assert not hasattr(lazy, "__wrapped__")
    assert "colorsys" not in sys.modules
    assert lazy.rgb_to_hsv(0, 0, 0) == (0, 0, 0)
    assert "rgb_to_hsv" in vars(lazy)
    with pytest.raises(AttributeError):
        _ = lazy.nothing_of_this_name

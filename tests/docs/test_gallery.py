"""The gallery has every picture that the library can draw; the site's build runs its lines."""

import importlib
import inspect
import pkgutil
import re

import pytest
from support.pages import ROOT

from ignite_recipes import LearningRates, Runs, plotting

CODE = re.findall(r"```{picture} .*?\n(.*?)```", (ROOT / "docs" / "gallery.md").read_text(encoding="utf-8"), re.DOTALL)
# What is drawn for an object is drawn by its method.
METHODS = {"plot_bands": Runs.plot, "plot_sweep": Runs.plot_sweep, "plot_learning_rates": LearningRates.plot}


def drawing_functions():
    """Those of the modules on pictures that give a figure."""
    modules = [
        importlib.import_module(f"{plotting.__name__}.{m.name}") for m in pkgutil.iter_modules(plotting.__path__)
    ]
    found = {name: getattr(module, name) for module in modules for name in module.__all__}
    draws = {name for name, value in found.items() if inspect.isfunction(value)}
    return sorted(name for name in draws if "Figure" in str(inspect.signature(found[name]).return_annotation))


@pytest.mark.parametrize("name", [name for name in drawing_functions() if name != "new_figure"])
def test_every_picture_is_there(name):
    drawn = f".{METHODS[name].__name__}(" if name in METHODS else f"{name}("
    assert any(drawn in code for code in CODE), f"docs/gallery.md has no picture of {name}"


def test_the_pictures_are_looked_for():
    assert {"plot_history", "plot_latent", "draw_confusion", "draw_flags", "compare_experiments"} < {
        *drawing_functions()
    }


def test_a_picture_takes_a_few_lines():
    assert len(CODE) > 15
    assert [code for code in CODE if sum(bool(line.strip()) for line in code.splitlines()) > 6] == []

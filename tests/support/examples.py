"""The examples of the documents, imported from where they stand, on a few samples each."""

import importlib.util
import sys
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs" / "examples"

# Name -> (the function that gives its data, samples, batch size): four batches, the last one short.
SMALL = {
    "actor_critic": ("starts", 14, 4),
    "dcgan": ("images", 27, 8),
    "distillation": ("digits", 30, 8),
    "lbfgs": ("patients", 27, 8),
    "wgan_gp": ("images", 34, 8),
}


@cache
def module(name):
    """An example's module."""
    spec = importlib.util.spec_from_file_location(f"example_{name}", FOLDER / f"{name}.py")
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found
    spec.loader.exec_module(found)
    return found


@cache
def _data(name):
    function, samples, _ = SMALL[name]
    data = getattr(module(name), function)()
    return tuple(part[:samples] for part in data) if isinstance(data, tuple) else data[:samples]


def make_small(name):
    """A trainer of an example and its loader of four small batches."""
    return module(name).make_run(_data(name), SMALL[name][2])

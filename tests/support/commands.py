"""The command run in this process, and what an experiment of it holds."""

from pathlib import Path

import pytest
import yaml

from ignite_recipes import read_checkpoint
from ignite_recipes.cli import main


def run(capsys, *arguments):
    """Its exit code, and what it printed on both ways."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def refused_in_one_line(capsys, said, *arguments):
    """A mistake: exit code 2, nothing printed as a result, and one line that says this."""
    code, out, err = run(capsys, *arguments)
    assert (code, out) == (2, "")
    assert said in err
    assert err.count("\n") == len(err.splitlines()) == 1


def settings_of(name):
    return yaml.safe_load(Path("runs", name, "config.yaml").read_text())


def latest(name):
    return read_checkpoint(f"runs/{name}/checkpoints/latest_checkpoint.pt")


SMALL = {
    "vae": ["--hidden-dimension", "16", "--latent-dimension", "3", "--batch-size", "256"],
    "classify": ["--model", "mlp", "--batch-size", "256"],
    "supervised": ["--hidden-dimension", "16", "--batch-size", "256"],
    "traffic": ["--hidden-size", "8", "--num-layers", "1", "--batch-size", "512"],
}
every_recipe = pytest.mark.parametrize("recipe", SMALL)


def train(capsys, recipe, *arguments):
    code, out, err = run(capsys, recipe, *SMALL[recipe], "--device", "cpu", *arguments)
    assert code == 0, err
    return out

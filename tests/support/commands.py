"""The command run in this process, and what an experiment of it holds."""

from pathlib import Path

import yaml

from ignite_recipes import read_checkpoint
from ignite_recipes.cli import main


def run(capsys, *arguments):
    """Its exit code, and what it printed on both ways."""
    code = main(list(arguments))
    out, err = capsys.readouterr()
    return code, out, err


def settings_of(name):
    return yaml.safe_load(Path("runs", name, "config.yaml").read_text())


def latest(name):
    return read_checkpoint(f"runs/{name}/checkpoints/latest_checkpoint.pt")

"""Small experiments of every recipe, trained once for a file of tests."""

from pathlib import Path

import numpy as np
import polars as pl

from ignite_recipes.cli import main
from support.commands import SMALL
from support.tables import TABLE

OF_TABLES = ["--epochs", "2", "--device", "cpu", "--hidden-dimension", "8"]
NAMES = {
    "vae": "exp1",
    "traffic": "exp2",
    "supervised": "exp3",
    "classify": "exp4",
    "classes": "exp5",
    "numbers": "exp6",
}
"""The experiments, by what they are of."""


FILES = {
    "config.yaml",
    "provenance.json",
    "model.safetensors",
    "training_log.csv",
    "training_curves.png",
    "checkpoints",
    "checkpoints/best_model.pt",
    "checkpoints/latest_checkpoint.pt",
}
"""What every finished experiment holds, besides its log, its lock and TensorBoard's events."""


def files_of(folder: Path) -> set[str]:
    """The files and folders in an experiment, but for its log and the one file of TensorBoard's events."""
    files = {str(path.relative_to(folder)) for path in folder.rglob("*")}
    events = {file for file in files if file.startswith("events.out.tfevents")}
    assert len(events) == 1
    return files - events - {"run.log"}


def train_all(folder: Path) -> None:
    """All of them in ``folder/runs``: of the data that ship with dependencies, and of a table."""
    TABLE.write_csv(folder / "table.csv")
    runs = ["--runs-dir", str(folder / "runs")]
    for recipe in [*NAMES][:4]:
        assert main([recipe, *SMALL[recipe], "--epochs", "2", "--device", "cpu", *runs]) == 0
    for target in ("kind", "count"):
        assert main(["supervised", str(folder / "table.csv"), "--target", target, *OF_TABLES, *runs]) == 0


def write_series(path: Path, rows: int = 100) -> None:
    """A CSV file for traffic predictors."""
    values = np.random.default_rng(0).normal(size=(rows, 2)).cumsum(0)
    pl.DataFrame({"hour": range(rows), "warm": np.sin(values[:, 0]), "wet": np.cos(values[:, 1])}).write_csv(path)

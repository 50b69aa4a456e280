"""Whether bfloat16 trains as well as float32: the commands for the VAE and the digits, both precisions, the same seeds.

The VAE is trained on simulated checklists of an eBird file, the classifier on scikit-learn's digits. What counts is the
best epoch on the validation data, which is always measured in float32. A seed has the same initial weights, batches and
noise in both precisions, so that the two also differ run by run.
"""

import contextlib
import io
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.measuring import one_thread, spread, table

__all__ = ["precision"]

COMMANDS = {
    "vae": ["--hidden-dimension", "64", "--batch-size", "64", "--epochs", "12"],
    "classify": ["--model", "mlp", "--epochs", "10"],
}
MEASURES: list[tuple[str, str, str, Callable[[list[float]], float]]] = [
    ("VAE, nats per checklist", "vae", "val_loss", min),
    ("digits, nats per image", "classify", "val_loss", min),
    ("digits, accuracy in %", "classify", "val_accuracy", max),
]
"""A name, the command, the column of its log, and which end of it is best."""

PRECISIONS = ("float32", "bfloat16")


def precision(folder: Path, seeds: int = 5) -> str:
    """Mean and standard deviation over the seeds, and of the differences between runs of the same seed."""
    with one_thread():
        logs = {
            (command, kind): [_log(command, kind, seed, folder) for seed in range(seeds)]
            for command in COMMANDS
            for kind in PRECISIONS
        }
    rows = []
    for name, command, column, best in MEASURES:
        whole, half = ([best(log[column]) for log in logs[command, kind]] for kind in PRECISIONS)
        differences = [b - a for a, b in zip(whole, half, strict=True)]
        rows.append([name, *(spread(values, 3) for values in (whole, half, differences))])
    return table([f"best epoch, {seeds} seeds", *PRECISIONS, "bfloat16 less float32, seed by seed"], rows)


def _log(command: str, kind: str, seed: int, folder: Path) -> dict[str, list[float]]:
    """The log of an experiment of the command."""
    from ignite_recipes.cli import main
    from ignite_recipes.experiments.log_file import read_training_log

    runs = folder / f"{command}_{kind}_{seed}"
    words = [command, *COMMANDS[command], "--precision", kind, "--seed", str(seed), "--device", "cpu"]
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        code = main([*words, "--runs-dir", str(runs)])
    if code:
        raise RuntimeError(f"ignite-recipes {' '.join(words)} failed: {said.getvalue()[-500:]}")
    print(" ".join(words), file=sys.stderr, flush=True)
    return read_training_log(runs / "exp1" / "training_log.csv")

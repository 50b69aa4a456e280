"""The presets of ``train_model_advanced`` on the digits, over seeds: what each reaches, and which can be told apart."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.measuring import table
from ignite_recipes import (
    FAST_TRAINING,
    MEMORY_CONSTRAINED_TRAINING,
    STABLE_TRAINING,
    load_digits_matrix,
    multilayer_perceptron,
    train_many,
    train_model_advanced,
)

__all__ = ["PRESETS", "presets"]

VAL_ROWS, WIDTH = 450, 64
NOTHING: dict[str, Any] = {"use_scheduler": False, "gradient_clip": None, "early_stop_patience": None}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "defaults": {},
    "fast": FAST_TRAINING,
    "stable": STABLE_TRAINING,
    "memory": MEMORY_CONSTRAINED_TRAINING,
    "nothing on": NOTHING,
}


def presets(folder: Path, seeds: int = 10, epochs: int = 60) -> str:
    """The best validation accuracy and loss of each preset, and each compared with the best, in Markdown.

    Args:
        folder: where the runs are kept while they are needed.
        seeds: of the weights and of all that is drawn; the images to train on are the same for all.
        epochs: of each run, at most.
    """
    import torch

    images, labels = load_digits_matrix()
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    data = images[order], labels[order]

    def digits(preset: str, *, seed: int, experiment: Any, handlers: Any = ()) -> Any:
        return train_model_advanced(
            multilayer_perceptron(64, 10, WIDTH),
            tuple(part[VAL_ROWS:] for part in data),
            tuple(part[:VAL_ROWS] for part in data),
            epochs=epochs,
            device="cpu",
            verbose=False,
            seed=seed,
            experiment=experiment,
            handlers=handlers,
            **PRESETS[preset],
        )

    runs = train_many(digits, sweep={"preset": list(PRESETS)}, seeds=seeds, experiment=folder)
    losses = {row["setting"]: row for row in runs.table("val_loss").to_dicts()}
    reached = [
        [row["preset"], _shown(row, 2), _shown(losses[row["setting"]], 3)]
        for row in runs.table("val_accuracy").to_dicts()
    ]
    compared = [
        [
            *(row[name].removeprefix("preset=") for name in ("setting", "against")),
            f"{row['difference']:+.2f} ({row['low']:+.2f} to {row['high']:+.2f})",
            row["verdict"].removeprefix("preset="),
        ]
        for row in runs.compare("val_accuracy").to_dicts()
    ]
    header = ["preset", f"accuracy in %, {seeds} seeds", "loss, nats an image"]
    pairs = ["preset", "against", "accuracy, points", "verdict"]
    return f"{table(header, reached)}\n\n{table(pairs, compared)}"


def _shown(row: Mapping[str, Any], digits: int) -> str:
    return f"{row['mean']:.{digits}f} ({row['low']:.{digits}f} to {row['high']:.{digits}f})"

"""What became of a member, in a file of its folder: written when it has ended, so that it is not trained again."""

import json
import math
from pathlib import Path
from typing import NamedTuple

from ignite_recipes.experiments.log_file import CLOCK_COLUMNS
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.summary import summarize
from ignite_recipes.files import replace_file
from ignite_recipes.json_values import json_value
from ignite_recipes.many.predictions import judge, write_predictions
from ignite_recipes.optional import polars as pl

__all__ = ["OUTCOME", "Outcome", "note_outcome", "read_outcome"]

OUTCOME = "outcome.json"


class Outcome(NamedTuple):
    """What a member has reached.

    Attributes:
        epochs: to which it was to be trained.
        epochs_trained: to which it was.
        best_epoch: from 1; None if what decides was never finite.
        metric, mode: by which that epoch is the best.
        measured: in that epoch, and of its predictions of the rows that it was validated on.
        seconds: the seconds of its training.
        pruned: whether a search has left it before its end.
    """

    epochs: int
    epochs_trained: int
    best_epoch: int | None
    metric: str | None
    mode: str | None
    measured: dict[str, float]
    seconds: float
    pruned: bool = False

    @property
    def stopped_early(self) -> bool:
        """Whether it ended before it had to."""
        return self.epochs_trained < self.epochs


def note_outcome(
    experiment: ExperimentManager,
    epochs: int,
    predictions: "pl.DataFrame | dict[str, float] | None",
    *,
    pruned: bool = False,
) -> Outcome:
    """Write down what a member has reached, and its predictions.

    Args:
        experiment: the experiment of the member.
        epochs: to which it was to be trained.
        predictions: as :data:`~ignite_recipes.many.predictions.PREDICTIONS` holds them, or measures by their names;
            None if there are none.
        pruned: whether a search has left it.
    """
    folder = Path(experiment.experiment_dir)
    summary = summarize(experiment)
    best = summary.best
    measured = {} if best is None else summary.at(best.epoch)
    if isinstance(predictions, dict):
        measured |= predictions
    elif predictions is not None:
        write_predictions(folder, predictions)
        known = {name: value for name, value in judge(predictions).items() if f"val_{name}" not in measured}
        measured |= known
    measured = {name: value for name, value in measured.items() if name not in (*CLOCK_COLUMNS, "learning_rate")}
    outcome = Outcome(
        epochs,
        summary.epochs_trained or 0,
        None if best is None else best.epoch,
        None if best is None else best.metric,
        None if best is None else best.mode,
        measured,
        sum((summary.log or {}).get("seconds", [])),
        pruned,
    )
    text = json.dumps({**outcome._asdict(), "measured": json_value(measured)}, indent=1)
    replace_file(folder / OUTCOME, lambda file: file.write(text.encode()))
    return outcome


def read_outcome(folder: Path) -> Outcome | None:
    """What a member has reached; None if it has not ended, or the file is damaged, so that it is trained to its end."""
    try:
        found = json.loads((folder / OUTCOME).read_text(encoding="utf-8"))
        measured = {name: math.nan if value is None else float(value) for name, value in found["measured"].items()}
        return Outcome(**{**found, "measured": measured})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None

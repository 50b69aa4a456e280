"""The model file of an experiment, which is written when its training has ended."""

import logging
from pathlib import Path

from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.experiments.manager import ExperimentManager
from ignite_recipes.experiments.provenance import read_provenance
from ignite_recipes.models.file import MODEL_FILE, Predictor, save_model

__all__ = ["write_model_file"]

logger = logging.getLogger(__name__)


def write_model_file(experiment: ExperimentManager, recipe: str, predictor: Predictor, epoch: int | None) -> None:
    """Write ``model.safetensors`` into the experiment's folder.

    Args:
        experiment: that was trained.
        recipe: by which.
        predictor: with the weights of the best epoch.
        epoch: that one, from 1.

    If the state of a model is not tensors, or the disk is full, the log says so, and the checkpoints are left: they
    hold the weights too, and what the training returns is not lost.
    """
    starts = read_provenance(experiment.experiment_dir)
    trained = {
        "recipe": recipe,
        "epoch": epoch,
        "experiment": Path(experiment.experiment_dir).name,
        **{name: starts[-1].get(name) for name in ("data", "git", "versions") if starts},
    }
    path = Path(experiment.experiment_dir) / MODEL_FILE
    try:
        on_rank_zero(lambda: save_model(path, predictor, trained=trained))
    except (TypeError, ValueError, OSError) as error:
        logger.warning("%s is not written: %s", path, error)

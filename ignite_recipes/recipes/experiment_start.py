"""Start a run that is an experiment: from its checkpoint, from another experiment's weights, or from the beginning."""

import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite_recipes.checkpoint.file import CheckpointError
from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import NoRunError, newest_checkpoint
from ignite_recipes.checkpoint.run import restore_run
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.experiments.log_file import read_training_log
from ignite_recipes.experiments.manager import ExperimentBusyError, ExperimentManager

__all__ = ["checkpoint_to_resume_from", "keep_settings", "refuse_results", "start_run"]

logger = logging.getLogger(__name__)


def checkpoint_to_resume_from(experiment: ExperimentManager) -> Path | None:
    """The checkpoint from which an experiment is resumed; None if it had none yet.

    Raises:
        CheckpointError: if checkpoints are damaged or, as the log of more than one epoch says, were removed.
    """
    path = newest_checkpoint(experiment.checkpoints_dir)
    if path is None and Path(experiment.log_file).is_file():
        epochs = len(read_training_log(experiment.log_file).get("epoch", []))
        if epochs > 1:  # a kill can come between the first row and the first checkpoint
            raise CheckpointError(
                f"{experiment.experiment_dir} has a log of {epochs} epochs and no checkpoint to resume from: put back "
                f"what was in {experiment.checkpoints_dir}, or start a new experiment"
            )
    return path


def keep_settings(experiment: ExperimentManager, recipe: str, settings: Mapping[str, Any]) -> None:
    """Write the settings of a run.

    Settings that the user has given to the experiment stay as they are. A fork of another recipe has no more of its
    source's settings than whose fork it is.
    """
    known = on_rank_zero(experiment.settings)
    if known.get("recipe") == recipe or not known:
        experiment.write_settings({**known, "recipe": recipe, **settings})
    elif experiment.fork_exp is not None and "recipe" in known:
        experiment.write_settings({"forked_from": known.get("forked_from"), "recipe": recipe, **settings})


def refuse_results(experiment: ExperimentManager) -> None:
    """Raise ExperimentBusyError if an experiment holds the results of a run, which another one would replace."""
    if not on_rank_zero(experiment.has_results):
        return
    folder, name = os.path.split(experiment.experiment_dir)
    where = "" if folder == "runs" else f"{folder!r}, "
    raise ExperimentBusyError(
        f"{experiment.experiment_dir} holds the results of a run already, which this one would replace: make another "
        f"with ExperimentManager({where.rstrip(', ')}), or continue that run with ExperimentManager({where}"
        f"resume_exp={name!r})"
    )


def start_run(
    engine: TrainingEngine,
    experiment: ExperimentManager,
    *,
    settings: Mapping[str, Any],
    epochs: int,
    start_epoch: int,
    epoch_length: int | None,
    seed: int | None,
) -> None:
    """Put a trainer where its experiment is.

    Args:
        engine: with all its handlers.
        experiment: resumed, forked or new.
        settings: what a resumed run must have as it was.
        epochs: the epoch to train to.
        start_epoch: epochs that the model was trained for; a checkpoint knows better.
        epoch_length: batches per epoch, if known.
        seed: if given, that of the run.

    Raises:
        CheckpointError, ValueError: as for :func:`~ignite_recipes.restore_run`.
        ExperimentBusyError: if the experiment is not to be resumed and holds the results of another run.
    """
    if not experiment.resume_exp:
        refuse_results(experiment)
    path = None
    if experiment.resume_exp and start_epoch:  # who says where to start knows if there is none
        try:
            path = newest_checkpoint(experiment.checkpoints_dir)
        except NoRunError:
            logger.warning("no checkpoint holds a whole run: the model continues as it is, after epoch %d", start_epoch)
    elif experiment.resume_exp:
        path = checkpoint_to_resume_from(experiment)
    if path is not None:
        restore_run(engine, path, settings=settings, num_epochs=epochs, epoch_length=epoch_length, seed=seed)
        epoch = engine.state.epoch
        if start_epoch not in (0, epoch):
            logger.warning("continues after epoch %d, where %s is, and not after %d", epoch, path, start_epoch)
        return
    if experiment.initial_weights is not None:
        load_checkpoint(experiment.initial_weights, engine.model, averaged=None)
    if start_epoch:
        if epoch_length is None:
            raise ValueError("to start after an epoch the loader must know its length; got one without")
        engine.progress.start_after(start_epoch, epoch_length)

"""The precision of a recipe's run: as it was told, that of the run that is resumed, or what is the fastest here."""

import logging
import os
from collections.abc import Iterable
from typing import Any

import torch

from ignite_recipes.checkpoint.file import read_checkpoint
from ignite_recipes.engine.parts import forget_state
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import on_rank_zero
from ignite_recipes.finding import precision as finding
from ignite_recipes.handlers import MixedPrecisionTrainer
from ignite_recipes.recipes.checks import AUTO, PRECISIONS
from ignite_recipes.recipes.options import RunOptions

__all__ = ["attach_precision", "chosen_precision", "settle_precision"]

logger = logging.getLogger(__name__)

ENOUGH = 0.95  # of float32's time: it must gain more than timings differ by, for it is less exact


def chosen_precision(options: RunOptions, device: torch.device, use_mixed_precision: bool = False) -> str:
    """``options["precision"]``; otherwise float16 if ``use_mixed_precision`` and not on a CPU."""
    mixed = "float16" if use_mixed_precision and device.type != "cpu" else "float32"
    return options["precision"] or mixed


def attach_precision(trainer: TrainingEngine, precision: str | None) -> None:
    """Let a trainer compute in a precision, by its name.

    For ``"auto"`` it is bfloat16 until :func:`settle_precision` says otherwise: what a checkpoint holds is in the order
    in which handlers were attached, whoever has chosen them.
    """
    dtype = PRECISIONS["bfloat16" if precision == AUTO else precision or "float32"]
    if dtype is not None:
        MixedPrecisionTrainer(device=trainer.device, dtype=dtype).attach(trainer)


def settle_precision(
    trainer: TrainingEngine, loader: Iterable[Any], options: RunOptions, saved: str | os.PathLike[str] | None
) -> None:
    """Where ``"auto"`` was asked for, find the precision of the run, and write it into its options and settings.

    Args:
        trainer: a trainer of the recipe, with all its handlers, before its run begins.
        loader: of its batches.
        options: the options of the run; they have the precision afterwards.
        saved: the checkpoint that is resumed, whose precision it then is: nothing is measured.

    Raises:
        FileNotFoundError, CheckpointError: if there is no valid checkpoint to resume from.
    """
    if options["precision"] != AUTO:
        return
    precision = _fastest(trainer, loader) if saved is None else _precision_of(saved)
    options["precision"] = trainer.metadata["precision"] = precision
    if precision != "bfloat16":
        forget_state(trainer, "mixed_precision")
        for update in trainer.updates.values():
            update.precision = None
        attach_precision(trainer, precision)


def _precision_of(saved: str | os.PathLike[str]) -> str:
    """That of a run that was saved."""
    precision = (read_checkpoint(saved).get("metadata") or {}).get("precision")
    return str(precision) if precision in PRECISIONS else "float32"


def _fastest(trainer: TrainingEngine, loader: Iterable[Any]) -> str:
    """What measures fastest on this machine, said in one line."""
    if not on_rank_zero(lambda: finding.has_bfloat16(trainer.device)):
        logger.info("precision='auto' is float32: %s does not compute in bfloat16 itself", trainer.device)
        return "float32"
    seconds = finding.seconds_per_step(trainer, loader)
    if "bfloat16" not in seconds:
        logger.info("precision='auto' is float32: a step cannot be computed in bfloat16, or is not finite")
        return "float32"
    ratio = seconds["bfloat16"] / seconds["float32"]
    picked = "bfloat16" if ratio < ENOUGH else "float32"
    logger.info(
        "precision='auto' is %s: a step takes %.4g ms in float32, %.4g ms in bfloat16",
        picked,
        1e3 * seconds["float32"],
        1e3 * seconds["bfloat16"],
    )
    return picked

"""Say, when a new run begins, that its folder has checkpoints of an earlier one."""

import glob
import logging
from pathlib import Path
from string import Formatter

from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import rank

__all__ = ["say_earlier_files"]

logger = logging.getLogger(__name__)


def say_earlier_files(trainer: TrainingEngine, folder: Path, filename: str) -> None:
    """Warn of the files in ``folder`` that a run which has just begun may replace, and name the two ways out.

    Args:
        trainer: whose run begins; one that is resumed, or goes back to its start, replaces its own files.
        folder: where it writes.
        filename: the name of its files; ``{epoch}`` stands for the epoch's number.
    """
    if rank() or trainer.is_recovering or trainer.progress.iteration:
        return
    found = sum(path.is_file() for path in folder.glob(_pattern(filename)))
    if found:
        logger.warning(
            "%s holds %d %s of an earlier run (%s), and this run is a new one: it replaces files of the same name. To "
            "continue the earlier run call restore_newest(trainer, folder) before run (recipes: resume_from=file); to "
            "keep its files give this run another folder",
            folder,
            found,
            "checkpoint" if found == 1 else "checkpoints",
            filename,
        )


def _pattern(filename: str) -> str:
    """What matches the names that ``filename`` stands for.

    >>> _pattern("run[1]_{epoch:03d}.pt")
    'run[[]1]_*[0-9].pt'
    """
    fields = Formatter().parse(filename)
    return "".join(glob.escape(text) + ("" if field is None else "*[0-9]") for text, field, _, _ in fields)

"""Never write over the checkpoints of another run."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from ignite.engine import Engine, Events

from ignite_recipes.exchange.ranks import on_rank_zero

__all__ = ["SetAside", "epoch_files", "set_aside"]

logger = logging.getLogger(__name__)


class SetAside:
    """Move what an earlier run has left in a folder into a folder of it, before this run writes there.

    Runs: trainer, STARTED, once. Writes: ``folder / "earlier_1"``, or the next number; nothing for a run that is
    resumed from a file in the folder.

    Args:
        folder: where checkpoints are written.
        names: the names of the files that this run writes; others in the folder are left alone.
        resume_from: the checkpoint from which this run continues, if it does.
    """

    def __init__(
        self, folder: str | os.PathLike[str], names: Sequence[str], resume_from: str | os.PathLike[str] | None
    ) -> None:
        self.folder, self.names = Path(folder).expanduser(), names
        is_inside = resume_from is not None and Path(resume_from).expanduser().resolve().parent == self.folder.resolve()
        self._is_done = is_inside

    def __repr__(self) -> str:
        return "checkpoints of an earlier run to earlier_N"

    def attach(self, trainer: Engine) -> "SetAside":
        """Look when ``trainer`` starts: a run that is refused before that moves nothing."""
        trainer.add_event_handler(Events.STARTED, self)
        return self

    def __call__(self) -> None:
        """Move them; not again where the run is started again, after an error or by a second call."""
        if not self._is_done:
            self._is_done = True
            on_rank_zero(lambda: set_aside(self.folder, self.names))


def epoch_files(num_epochs: int) -> list[str]:
    """The names of the checkpoints of epochs.

    >>> epoch_files(2)
    ['checkpoint_epoch_1.pt', 'checkpoint_epoch_2.pt']
    """
    return [f"checkpoint_epoch_{epoch}.pt" for epoch in range(1, num_epochs + 1)]


def set_aside(folder: str | os.PathLike[str], names: Sequence[str]) -> Path | None:
    """Move the files of these names into the first folder ``earlier_N`` that is not there yet; that, or None.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     for _ in range(2):
    ...         _ = Path(folder, "best.pt").write_text("weights")
    ...         print(set_aside(folder, ["best.pt"]).name)
    earlier_1
    earlier_2
    """
    place = Path(folder)
    found = [place / name for name in names if (place / name).is_file()]
    if not found:
        return None
    number = 1
    while True:
        target = place / f"earlier_{number}"
        try:
            target.mkdir()
            break
        except FileExistsError:  # by an earlier call, or by another process just now
            number += 1
    for path in found:
        path.rename(target / path.name)
    logger.warning(
        "%s holds checkpoints of an earlier run, which this one would replace: they were moved to %s. "
        'experiment="runs" keeps each run in a folder of its own',
        place,
        target,
    )
    return target

"""Find out whether a run resumes exactly: cut it, resume it, and compare it with the uninterrupted one."""

import logging
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from ignite_recipes.checkpoint.file import write_checkpoint
from ignite_recipes.checkpoint.run import restore_run, run_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.trainer import TrainingEngine

__all__ = ["ResumeReport", "check_resume", "choose_cuts", "first_difference"]

logger = logging.getLogger(__name__)

COMPARED = ("model_state_dict", "optimizer_state_dict", "history", "run")
"""What of a checkpoint must be equal to the last bit."""


@dataclass(frozen=True)
class ResumeReport:
    """The result of :func:`check_resume`.

    Attributes:
        differences: (epoch, batch) at which the run was cut -> the first part of its final state that differs
            from the uninterrupted run's, or None if all bits are equal.
        repeated: the same for a second uninterrupted run.

    >>> report = ResumeReport({(1, 2): None, (2, 1): "history['train_loss'][1] is 0.5 and 0.6"})
    >>> print(report)
    run again, not cut:        equal
    cut in epoch 1, batch 2:   equal
    cut in epoch 2, batch 1:   history['train_loss'][1] is 0.5 and 0.6
    >>> report.is_exact
    False
    """

    differences: Mapping[tuple[int, int], str | None] = field(default_factory=dict)
    repeated: str | None = None

    @property
    def is_exact(self) -> bool:
        """Whether every run ended with the same bits."""
        return self.repeated is None and not any(self.differences.values())

    def __str__(self) -> str:
        """One line a run."""
        lines = [f"run again, not cut:        {self.repeated or 'equal'}"]
        lines += [
            f"cut in epoch {epoch}, batch {batch}:".ljust(27) + (found or "equal")
            for (epoch, batch), found in self.differences.items()
        ]
        return "\n".join(lines)


def check_resume(
    make_run: Callable[[], tuple[TrainingEngine, Iterable[Any]]],
    max_epochs: int = 2,
    cuts: Sequence[tuple[int, int]] | None = None,
) -> ResumeReport:
    """Stop a small training at several points, resume it from a file, and compare it with the uninterrupted run.

    Args:
        make_run: makes, as a new process would, a trainer with all its handlers and the loader it trains on. The
            model must begin with the same weights each time (``set_seed`` before it is made).
        max_epochs: the last epoch of each run.
        cuts: (epoch, batch), both from 1, after which to stop; by default a few in every epoch, its end included.
            Inside an accumulation window the run stops at its end.

    Returns:
        The first difference for each cut; ``report.is_exact`` sums it up, and ``print(report)`` shows it.

    Raises:
        ValueError: for a loader without a length, if no cuts are given.

    >>> import torch
    >>> from ignite_recipes import create_trainer
    >>> def make_run():
    ...     torch.manual_seed(0)
    ...     model = torch.nn.Linear(2, 1)
    ...     loss = lambda model, x, batch: {"loss": model(x).square().mean()}
    ...     trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss, seed=1)
    ...     return trainer, torch.utils.data.DataLoader(torch.rand(8, 2), 4, shuffle=True)
    >>> print(check_resume(make_run))
    run again, not cut:        equal
    cut in epoch 1, batch 1:   equal
    cut in epoch 1, batch 2:   equal
    cut in epoch 2, batch 1:   equal
    """
    whole, loader = make_run()
    if cuts is None:
        cuts = choose_cuts(whole._get_data_length(loader), max_epochs)
    whole.run(loader, max_epochs=max_epochs)
    expected = run_state(whole)
    again, loader = make_run()
    again.run(loader, max_epochs=max_epochs)
    repeated = first_difference(expected, run_state(again))
    differences = {}
    with tempfile.TemporaryDirectory() as folder:
        for cut in cuts:
            path = Path(folder, "run.pt")
            first, loader = make_run()
            _run_until(cut, first, loader, max_epochs, path)
            second, loader = make_run()
            restore_run(second, path)
            second.run(loader, max_epochs=max_epochs)
            differences[cut] = first_difference(expected, run_state(second))
    return ResumeReport(differences, repeated)


def choose_cuts(epoch_length: int | None, max_epochs: int, most: int = 4) -> list[tuple[int, int]]:
    """A few points in every epoch: after its first batch, its last one, and between.

    >>> choose_cuts(10, 2, most=3)
    [(1, 1), (1, 5), (1, 10), (2, 1), (2, 5)]
    """
    if epoch_length is None:
        raise ValueError("the loader must know its length, or the cuts must be given; got neither")
    count = min(most, epoch_length)
    batches = {1 + k * (epoch_length - 1) // max(count - 1, 1) for k in range(count)}
    cuts = [(epoch, batch) for epoch in range(1, max_epochs + 1) for batch in sorted(batches)]
    if len(cuts) == 1:
        raise ValueError("a run of a single batch cannot be cut: use more epochs or smaller batches")
    return cuts[:-1]  # after the last batch of all there is nothing to resume


class _CutError(Exception):
    """Ends a run after its cut."""


def _run_until(cut: tuple[int, int], trainer: TrainingEngine, loader: Any, max_epochs: int, path: Path) -> None:
    def leave(engine: TrainingEngine) -> None:
        if (engine.progress.epoch, engine.progress.position) >= cut:
            write_checkpoint(run_state(engine), path)
            raise _CutError

    trainer.add_event_handler(TrainEvents.RESUME_POINT, leave)
    try:
        trainer.run(loader, max_epochs=max_epochs)
    except _CutError:
        return
    raise ValueError(f"a cut must lie inside the run; got {cut} of a run of {max_epochs} epochs")


def first_difference(first: Any, second: Any, place: str = "") -> str | None:
    """Where two states of a run differ first, to the last bit (NaN equals NaN); None if nowhere.

    At the top only what a resume must restore is looked at: weights, optimizer, history, handlers, counters.

    >>> first_difference({"a": [1.0, 2.0]}, {"a": [1.0, 2.5]}, "state")
    "state['a'][1] is 2.0 and 2.5"
    """
    if not place:
        parts = (first_difference(first.get(name), second.get(name), name) for name in COMPARED)
        return next((part for part in parts if part), None)
    if isinstance(first, Tensor) and isinstance(second, Tensor):
        return _tensor_difference(first, second, place)
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        if list(first) != list(second):
            return f"{place} holds {', '.join(map(str, first))} and {', '.join(map(str, second))}"
        items: Iterable[Any] = [(key, first[key], second[key]) for key in first]
    elif isinstance(first, (list, tuple)) and isinstance(second, (list, tuple)) and len(first) == len(second):
        items = [(k, *pair) for k, pair in enumerate(zip(first, second, strict=True))]
    else:
        return None if repr(first) == repr(second) else f"{place} is {first!r} and {second!r}"
    parts = (first_difference(one, other, f"{place}[{key!r}]") for key, one, other in items)
    return next((part for part in parts if part), None)


def _tensor_difference(first: Tensor, second: Tensor, place: str) -> str | None:
    if first.shape != second.shape or first.dtype != second.dtype:
        return f"{place} is {tuple(first.shape)} {first.dtype} and {tuple(second.shape)} {second.dtype}"
    one, other = first.detach().cpu(), second.detach().cpu()
    differs = (one != other) & ~((one != one) & (other != other))
    if not differs.any():
        return None
    most = (one.double() - other.double())[differs].abs().max().item()
    return f"{place}: {int(differs.sum())} of {one.numel()} numbers differ, by at most {most:.2g}"

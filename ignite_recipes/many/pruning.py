"""Leave a trial of a search that promises nothing, with a checkpoint from which it can be taken up again exactly."""

from collections.abc import Callable
from typing import Any, NamedTuple

from ignite.engine import Engine, Events

from ignite_recipes.engine.blocks import after_block
from ignite_recipes.engine.progress import Stage
from ignite_recipes.handlers._host import host_of, training_host_of
from ignite_recipes.recipes.experiment_run import ExperimentRun
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable

__all__ = ["Judge", "Pruned", "Pruning", "TrialRun"]


class Pruned(Exception):  # noqa: N818  # it is not an error: the search has decided so
    """A run was left at the end of an epoch, which is saved."""


class Judge(NamedTuple):
    """What a search makes of the numbers of a trial.

    Attributes:
        report: called with an epoch, from 1, and its number.
        is_hopeless: whether the trial is to be left, by what it has reported.
        last_epoch: called for the last epoch that it has reported; None before one.
        mode: which end of the number is better, ``"min"`` or ``"max"``.
    """

    report: Callable[[int, float], None]
    is_hopeless: Callable[[], bool]
    last_epoch: Callable[[], int | None]
    mode: str


class Pruning:
    """Report each epoch's number to a search, and leave the run after an epoch where that says so.

    The run is left where a signal would end it: its newest checkpoint holds that epoch, and a run that continues from
    it has the bits of one that was never left.

    Runs:   trainer; METRICS_READY to report; RESUME_POINT to leave, STARTED too where a run that was killed had been
            judged already.
    Reads:  ``state.metrics[metric]``.
    Stops:  with :class:`Pruned`, from ``trainer.run``; never after the last epoch, which ends by itself.
    Keeps:  nothing; what was reported is with the search.

    Args:
        judge: of the trial.
        metric: the name of the number.

    >>> numbers = {}
    >>> judge = Judge(numbers.__setitem__, lambda: max(numbers) == 2, lambda: max(numbers, default=None), "min")
    >>> from ignite_recipes import create_trainer
    >>> import torch
    >>> model = torch.nn.Linear(1, 1)
    >>> loss_fn = lambda model, inputs, batch: {"loss": model(inputs).mean()}
    >>> trainer = create_trainer(model, torch.optim.SGD(model.parameters()), loss_fn)
    >>> @trainer.on(Events.EPOCH_COMPLETED)
    ... def measure(trainer):
    ...     trainer.state.metrics["val_loss"] = 1 / trainer.state.epoch
    >>> _ = Pruning(judge, "val_loss").attach(trainer)
    >>> try:
    ...     _ = trainer.run([torch.ones(1, 1)], max_epochs=5)
    ... except Pruned as left:
    ...     print(left, numbers)
    pruned after epoch 2 {1: 1.0, 2: 0.5}
    """

    def __init__(self, judge: Judge, metric: str) -> None:
        self.judge, self.metric = judge, metric
        self._is_judged, self._is_left = False, False

    def __repr__(self) -> str:
        return f"Pruning(by {self.metric})"

    def attach(self, trainer: Engine) -> "Pruning":
        """Report what ``trainer`` measures."""
        host = training_host_of(trainer, self)
        trainer.add_event_handler(Events.STARTED, self._judge_again)
        host.to_decide(self._report)
        host.where_run_can_be_left(self)
        return self

    def _judge_again(self, trainer: Any) -> None:
        """Decide as before about an epoch that was saved, where the run was killed before it was left."""
        self._is_left = False
        epoch, is_saved = trainer.state.epoch, trainer.progress.stage == Stage.SAVED
        if epoch and is_saved and epoch == self.judge.last_epoch() and self.judge.is_hopeless():
            raise Pruned(f"pruned after epoch {epoch}")

    def _report(self, trainer: Any) -> None:
        state = trainer.state
        value = host_of(trainer).metrics.read(self.metric, self, is_first=not self._is_judged)
        if value is None:
            return
        self._is_judged = True
        self.judge.report(state.epoch, value)
        self._is_left = not self._ends(trainer) and self.judge.is_hopeless()

    @staticmethod
    def _ends(trainer: Any) -> bool:
        return bool(trainer.should_terminate) or trainer.state.epoch == trainer.state.max_epochs

    @after_block
    def __call__(self, trainer: Any) -> None:
        """Leave, if that was decided."""
        if self._is_left:
            raise Pruned(f"pruned after epoch {trainer.state.epoch}")


class TrialRun(ExperimentRun):
    """The run of a trial, which reports to its search.

    Args:
        judge: of the trial.
        *args, **options: of :class:`ExperimentRun`.
    """

    def __init__(self, judge: Judge, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.judge = judge

    def recorders(self, unit: str, measuring: Measuring) -> list[Attachable]:
        """What an experiment writes, and what reports to the search."""
        if measuring.mode != self.judge.mode:
            raise ValueError(
                f"the search must know which end of what decides is better; {measuring.monitor} is better by "
                f"{measuring.mode!r}, and not {self.judge.mode!r}: pass direction="
                f"{'maximize' if measuring.mode == 'max' else 'minimize'!r}"
            )
        return [*super().recorders(unit, measuring), Pruning(self.judge, measuring.monitor)]

"""Go back to the last good state of a run when its numbers go wrong, and continue from there with smaller steps."""

import copy
import logging
from numbers import Real
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.arguments import whole_number
from ignite_recipes.checkpoint.run import load_run_state, run_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.progress import Progress
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.handlers._host import training_host_of
from ignite_recipes.handlers._scheduled_groups import RATES_OF_A_GROUP
from ignite_recipes.handlers.nonfinite import NonFiniteError

__all__ = ["Rollback"]

logger = logging.getLogger(__name__)


class Rollback:
    """When a loss or gradient is not finite, go back to the end of the last epoch and continue with a lower rate.

    Everything goes back: weights, optimizer, schedules, every handler, history and log. The learning rate is multiplied
    by ``factor`` for every rollback to the same place, and the epoch is trained again with the same batches in the same
    order. A batch that is bad in itself is bad at any learning rate: its error reaches the caller after
    ``max_rollbacks``, or is avoided with ``NonFiniteGuard("skip")``.

    Runs:   trainer; STARTED and CHECKPOINT_READY to keep a copy of the run; when ``NonFiniteGuard("raise")`` raises.
            EXCEPTION_RAISED and STARTED are fired for every rollback.
    Keeps:  how often it went back; inside epochs the copy, so that a resumed run goes back to the same place.

    Args:
        factor: multiplies the learning rate, in (0, 1).
        max_rollbacks: how often a run may go back, at least 1; then the error reaches the caller.

    Attributes:
        num_rollbacks: the rollbacks so far.

    Raises:
        ValueError: for a factor or a number out of its range.

    >>> import math, torch
    >>> from ignite_recipes import NonFiniteGuard, create_trainer
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> def loss_fn(model, x, batch):  # finite only if the steps are small
    ...     return {"loss": model(x).square().mean() * (1 if optimizer.param_groups[0]["lr"] < 0.1 else math.inf)}
    >>> trainer = create_trainer(model, optimizer, loss_fn)
    >>> _ = NonFiniteGuard().attach(trainer)
    >>> rollback = Rollback(factor=0.5).attach(trainer)
    >>> trainer.run([torch.ones(4, 2)], max_epochs=2).epoch
    2
    >>> rollback.num_rollbacks, optimizer.param_groups[0]["lr"]
    (1, 0.05)
    """

    def __init__(self, factor: float = 0.5, max_rollbacks: int = 3) -> None:
        if not isinstance(factor, (float, Real)) or not 0 < factor < 1:
            raise ValueError(f"factor must be in (0, 1), it multiplies the learning rate; got {factor!r}")
        self.factor, self.max_rollbacks = factor, whole_number(max_rollbacks, "max_rollbacks")
        self.num_rollbacks = 0
        self._repeated = 0  # rollbacks to the current copy
        self._copy: dict[str, Any] | None = None
        # Not the trainer: an engine in a cycle would keep its loader's workers until the garbage collector comes.
        self._progress: Progress | None = None

    def __repr__(self) -> str:
        return f"Rollback(factor={self.factor}, max_rollbacks={self.max_rollbacks})"

    def attach(self, trainer: Engine) -> "Rollback":
        """Watch ``trainer``.

        Raises:
            RuntimeError: if it is not a trainer of ``create_trainer`` or ``make_resumable``, which know all of their
                state.
        """
        host = training_host_of(trainer, self)
        ours = host.require_trainer(self)
        host.keep("rollback", self)
        self._progress = ours.progress
        ours.recover = self._recover
        trainer.add_event_handler(Events.STARTED, self._begin)
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self._keep)
        return self

    def _begin(self, trainer: TrainingEngine) -> None:
        if self._copy is None or trainer.progress.iteration == 0:  # also where a trainer starts again
            self._keep(trainer)

    def _keep(self, trainer: TrainingEngine) -> None:
        self._copy, self._repeated = None, 0  # a copy holds no copy
        self._copy = copy.deepcopy(run_state(trainer))

    def _recover(self, trainer: TrainingEngine, error: BaseException) -> bool:
        """Put the run back, if this is an error to do so for."""
        if not isinstance(error, NonFiniteError) or self._copy is None:
            return False
        if self.num_rollbacks >= self.max_rollbacks:
            raise NonFiniteError(f"{error}; {self.num_rollbacks} rollbacks did not help") from error
        count, repeated, kept = self.num_rollbacks + 1, self._repeated + 1, self._copy
        try:
            load_run_state(trainer, copy.deepcopy(kept))
        except ValueError as reason:
            raise NonFiniteError(f"{error}; it cannot go back, because the run was changed since ({reason})") from error
        self.num_rollbacks, self._repeated, self._copy = count, repeated, kept
        self._slow_down(trainer, self.factor**repeated)
        rate, epoch = trainer.optimizer.param_groups[0]["lr"], trainer.progress.completed_epochs
        logger.warning(
            "%s. Back to the %s, with the learning rate %g (rollback %d of at most %d)",
            error,
            f"end of epoch {epoch}" if epoch else "start of the run",
            rate,
            count,
            self.max_rollbacks,
        )
        return True

    @staticmethod
    def _slow_down(trainer: TrainingEngine, factor: float) -> None:
        for group in [group for optimizer in trainer.optimizers.values() for group in optimizer.param_groups]:
            group.update({name: group[name] * factor for name in RATES_OF_A_GROUP if name in group})
        for handler in trainer.parts.values():
            if callable(scale := getattr(handler, "scale_learning_rate", None)):
                scale(factor)

    def state_dict(self) -> dict[str, Any]:
        """How often it went back, and inside an epoch the copy; at its end what is saved is the copy."""
        progress = self._progress
        is_at_end = progress is not None and progress.epoch == progress.completed_epochs > 0
        repeated, kept = (0, None) if is_at_end else (self._repeated, self._copy)
        return {"num_rollbacks": self.num_rollbacks, "repeated": repeated, "copy": kept}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue to count, and go back to where the saved run would have."""
        self.num_rollbacks, self._repeated = state["num_rollbacks"], state["repeated"]
        self._copy = state["copy"]

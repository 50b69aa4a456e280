"""Leave cleanly when the run is asked to: by Ctrl-C, or by a scheduler that takes the machine away."""

import signal
import threading
from collections.abc import Callable
from typing import Any

from ignite.engine import Engine, Events

from ignite_recipes.arguments import shown
from ignite_recipes.engine.blocks import after_block
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.exchange.ranks import all_reduce_max
from ignite_recipes.handlers._host import host_of
from ignite_recipes.turns import current_run

__all__ = ["StopOnSignal", "Stopped"]


class Stopped(KeyboardInterrupt):
    """A signal asked the run to stop, and it has: after its step and, if it saves, with a checkpoint.

    Attributes:
        signum: which signal it was.

    >>> try:
    ...     raise Stopped("stopped in epoch 3", signal.SIGTERM)
    ... except KeyboardInterrupt as stopped:
    ...     print(f"{stopped}; exit status {128 + stopped.signum}")
    stopped in epoch 3; exit status 143
    """

    def __init__(self, message: str = "stopped", signum: int = signal.SIGINT) -> None:
        super().__init__(message)
        self.signum = signum


class StopOnSignal:
    """On SIGINT (Ctrl-C) or SIGTERM finish the step, save, and raise :class:`Stopped`; a second one stops at once.

    Without it Python raises KeyboardInterrupt at any point: between two tensors of an optimizer, in the middle of a
    log's row, or in a destructor, where it is lost. SIGTERM ends a process without a message.

    Runs:   trainer; STARTED to listen, until COMPLETED or EXCEPTION_RAISED; RESUME_POINT to leave (another Engine:
            ITERATION_COMPLETED). An accumulation window is finished first, and an epoch whose batches are all
            trained is measured, decided on and saved first.
    Stops:  with :class:`Stopped`, a KeyboardInterrupt, from ``trainer.run``.
    Keeps:  nothing. Outside the main thread, where no signal arrives, it does nothing, unless several runs train
            together there.

    Args:
        save: a function that gets the trainer and returns the path of the file, e.g. ``Checkpointing.save``; None stops
            without saving.

    >>> trainer = Engine(lambda engine, batch: signal.raise_signal(signal.SIGTERM))
    >>> _ = StopOnSignal().attach(trainer)
    >>> try:
    ...     _ = trainer.run([0, 1])
    ... except Stopped as stopped:
    ...     print(stopped, "by", stopped.signum.name)
    stopped by SIGTERM
    """

    def __init__(self, save: Callable[[TrainingEngine], Any] | None = None) -> None:
        if save is not None and not callable(save):
            raise TypeError(f"save must be called with the trainer, or be None; got {shown(save)}")
        self.save = save
        self._received: int | None = None
        self._before: dict[int, Any] = {}

    def __repr__(self) -> str:
        return "StopOnSignal()"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_received": None, "_before": {}}  # a copy does not listen before it runs

    def attach(self, trainer: Engine) -> "StopOnSignal":
        """Stop ``trainer`` when asked to.

        Raises:
            RuntimeError: if ``save`` is given and the trainer is not one of ``create_trainer`` or ``make_resumable``.
        """
        host = host_of(trainer)
        if self.save is not None:
            host.require_trainer(self)
        trainer.add_event_handler(Events.STARTED, self._listen)
        host.where_run_can_be_left(self)
        host.at_end(self._end)
        return self

    def _listen(self, trainer: Engine) -> None:
        if not getattr(trainer, "is_recovering", False):  # after a rollback a signal that came before it still counts
            self._received = None
        if (run := current_run()) is not None:  # told by who has begun the runs
            run.note_signal = self._note
        elif not self._before and threading.current_thread() is threading.main_thread():
            # One that Python has not installed could not be put back afterwards.
            known = [signum for signum in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(signum) is not None]
            self._before = {signum: signal.signal(signum, self._note) for signum in known}

    def _note(self, signum: int, frame: Any) -> None:
        self._received = signum
        self._restore()

    @after_block
    def __call__(self, trainer: Any) -> None:
        """Leave, if a signal has come."""
        received = all_reduce_max(self._received or 0)  # a signal to one rank ends all, after the same step
        if not received:
            return
        signum, self._received = signal.Signals(received), None
        self._restore()
        if self.save is None:
            raise Stopped("stopped", signum)
        path = self.save(trainer)
        raise Stopped(f"stopped in epoch {trainer.state.epoch}; resume from {path}", signum)

    def _end(self, trainer: Engine, error: BaseException | None = None) -> None:
        """Listen no more. A signal that came after the last place to leave raises Stopped; the run is saved by then."""
        self._restore()
        if error is None and (received := self._received) is not None:
            self._received = None
            raise Stopped("stopped at the end of the run", signal.Signals(received))
        if getattr(trainer, "recover", None) is None:
            self._received = None

    def _restore(self, *_: object) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)
        self._before = {}

"""Handlers of a user's that end a run."""

import signal

from ignite.engine import Events

from ignite_recipes import TrainEvents


class StopsAfter:
    """Fails in the epoch after ``epoch``, when that one was saved, as a kill would."""

    def __init__(self, epoch):
        self.epoch = epoch

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.INPUTS_READY, self)

    def __call__(self, trainer):
        if trainer.state.epoch > self.epoch:
            raise InterruptedError


class StopAt:
    """Count the iterations of all members, which have copies of it; in one of them, ``cut``, ask the process to end."""

    count, cut = 0, None

    def attach(self, trainer):
        trainer.add_event_handler(Events.ITERATION_STARTED, self)

    def __call__(self, trainer):
        StopAt.count += 1
        if StopAt.count == StopAt.cut:
            signal.raise_signal(signal.SIGTERM)


class CutError(Exception):
    """The end of a process, for the tests."""


class CutAfter:
    """Ends a run after an iteration, as a kill would: nothing is saved but what was saved until then."""

    def __init__(self, iteration):
        self.iteration = iteration

    def attach(self, trainer):
        @trainer.on(Events.ITERATION_COMPLETED(once=self.iteration))
        def cut():
            raise CutError

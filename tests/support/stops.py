"""Handlers of a user's that end a run."""

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

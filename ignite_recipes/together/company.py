"""Train several runs together: each as it would be alone, but for its steps, which one program computes for all."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from ignite_recipes.engine.blocks import MOST_STEPS
from ignite_recipes.engine.step_program import NotOneProgramError
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.loading.same_rows import KnownPairs
from ignite_recipes.together.member import Member
from ignite_recipes.together.stacked import StackedSteps
from ignite_recipes.turns import Run, Turns, current_run

__all__ = ["run_together"]

logger = logging.getLogger(__name__)

_MOST_KNOWN = 32
_known: dict[str, StackedSteps] = {}  # of this process, those used last at the end


def run_together(
    calls: Sequence[Callable[[], Any]],
    *,
    at_once: Callable[[int], int] | int | None = None,
    ended: Callable[[Run], None] = lambda run: None,
) -> list[Run]:
    """Call functions that each train something, and let them compute their steps together.

    They take turns, one at a time computes. Whenever all of them stand at the beginning of steps, the steps of
    those that are alike, whose models, losses and batches differ in numbers only, are computed by one program,
    over stacked weights. All else of a run is its own: validation, schedules, early stopping, checkpoints.

    Args:
        calls: the functions.
        at_once: how many may be under way, or a function of how many are; the others wait until one has ended. None
            is all.
        ended: called with each run that has ended, in the order in which they end.

    Returns:
        For each function its :class:`~ignite_recipes.turns.Run`, with ``result`` or ``error``.

    Raises:
        KeyboardInterrupt: if a signal comes for which no run listens.
    """
    company = _Company()
    turns = Turns(company.answer, at_once)
    turns.train = company.train
    return turns.run(calls, ended)


class _Company:
    def __init__(self) -> None:
        self._said: set[str] = set()
        self._pairs = KnownPairs()
        self._failed: dict[str, str] = {}  # why there is no program

    def train(self, engine: TrainingEngine) -> None:
        """Compute steps of an epoch together with those of others, as many as can be."""
        run, state = current_run(), engine.state
        assert run is not None
        if state.epoch_length is not None and state.epoch_length - engine.progress.position < 2:
            return
        try:
            member = Member(engine)
        except NotOneProgramError as reason:
            self._say(str(reason))
            return
        while member.num_left > 0 and not (engine.should_terminate or engine.should_terminate_single_epoch):
            member.look_at_batches(min(MOST_STEPS, member.num_left))
            run.ask(member)
            if member.outcome.refused is not None:
                self._say(member.outcome.refused)
                break
            member.apply(member.outcome)
        member.leave()

    def _say(self, reason: str) -> None:
        if reason not in self._said:
            self._said.add(reason)
            logger.warning("runs train one after another, and not together: %s", reason)

    def answer(self, runs: list[Run]) -> None:
        """Compute a block of steps of all runs that wait."""
        groups: dict[str, list[Member]] = {}
        for run in runs:
            groups.setdefault(run.request.key, []).append(run.request)
        for key, members in groups.items():
            try:
                self._compute(key, members)
            except Exception as error:  # each run ends by itself, and keeps what it has
                for member in members:
                    member.outcome.error = error

    def _compute(self, key: str, members: list[Member]) -> None:
        if key not in self._failed:
            try:
                _program_of(key, members[0]).compute(members, self._pairs)
            except NotOneProgramError as reason:
                self._failed[key] = str(reason)
        for member in members if key in self._failed else ():
            member.outcome.refused = self._failed[key]


def _program_of(key: str, member: Member) -> StackedSteps:
    program = _known.pop(key, None) or StackedSteps(member)
    _known[key] = program
    while len(_known) > _MOST_KNOWN:
        del _known[next(iter(_known))]
    return program

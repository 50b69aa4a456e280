"""Run the members: together, or one after another."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ignite_recipes.many.room import Room
from ignite_recipes.together import run_together

__all__ = ["run_members"]

T = TypeVar("T")

TOGETHER = True
"""What ``together=None`` means."""


def run_members(calls: Sequence[Callable[[], T]], *, together: bool | None = None) -> "list[T | Exception]":
    """Call each; of one that fails its error, so that the others' results are not lost.

    Args:
        calls: a closure for each member, which trains it. None depends on another, on the current folder, or on who
            is called before it.
        together: whether members that are alike compute their steps as one program, as many at once as the memory
            has room for. It is for the plan as a whole, so that a member has the same bits whether others have ended
            before it or not.

    Raises:
        KeyboardInterrupt: if a signal has come, as ``Stopped`` is: the members that ran have saved themselves, others
            are not begun.

    >>> run_members([lambda: 1, lambda: 1 // 0])
    [1, ZeroDivisionError('integer division or modulo by zero')]
    """
    together = TOGETHER if together is None else together
    if not together or len(calls) < 2:
        return [_called(call) for call in calls]
    found: list[T | Exception] = []
    for run in run_together(calls, at_once=Room().runs):
        if run.error is not None and not isinstance(run.error, Exception):
            raise run.error
        found.append(run.result if run.error is None else run.error)
    return found


def _called(call: Callable[[], T]) -> "T | Exception":
    try:
        return call()
    except Exception as error:
        return error

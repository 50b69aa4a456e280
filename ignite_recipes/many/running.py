"""Run the members: one after another."""

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["run_members"]

T = TypeVar("T")


def run_members(calls: Sequence[Callable[[], T]]) -> "list[T | Exception]":
    """Call each; of one that fails its error, so that the others' results are not lost.

    Args:
        calls: a closure for each member, which trains it. None depends on another, on the current folder, or on who
            is called before it.

    Raises:
        KeyboardInterrupt: at once, as ``Stopped`` is: the member that ran has saved itself, those after it are not
            begun.

    >>> run_members([lambda: 1, lambda: 1 // 0])
    [1, ZeroDivisionError('integer division or modulo by zero')]
    """
    found: list[T | Exception] = []
    for call in calls:
        try:
            found.append(call())
        except Exception as error:
            found.append(error)
    return found

"""Several runs in one thread, each in a greenlet of its own, so that one computes at a time."""

import contextvars
import random
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from greenlet import getcurrent, greenlet

__all__ = ["Run", "Turns", "current_run"]

_current: contextvars.ContextVar["Run | None"] = contextvars.ContextVar("current_run", default=None)

_KINDS = ("cpu", "cuda")  # of devices, whose autocast is looked after


def current_run() -> "Run | None":
    """The run that computes, where several runs take turns; None elsewhere."""
    return _current.get()


class _Left(BaseException):
    """Ends a run that waits for a turn which will not come."""


class Run:
    """One of several runs that take turns.

    It is a greenlet and not a thread, because OpenMP keeps worker threads for each thread that computes in parallel.
    As soon as it has more of them than there are cores, idle ones sleep at once, and waking them for each
    operation takes several times as long as a small operation itself.

    Attributes:
        request: what it asks of the others while it waits; None while it does not.
        result, error: what its function has returned or raised.
        is_done: whether it has.
        note_signal: called with a signal that has come; None where the run does not listen.
    """

    def __init__(self, turns: "Turns", call: Callable[[], Any]) -> None:
        self.turns = turns
        self.request: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.is_done = False
        self.note_signal: Callable[[int, Any], None] | None = None
        self._call = call
        self._others = getcurrent()  # where it was begun: the computation returns there when the run waits
        self._greenlet = greenlet(lambda: contextvars.copy_context().run(self._work), self._others)

    def _work(self) -> None:
        _current.set(self)
        try:
            self.result = self._call()
        except _Left:
            pass
        except BaseException as error:  # given to whoever has asked for the runs
            self.error = error
        finally:
            self.is_done = True

    def ask(self, request: Any) -> None:
        """Wait until the request was dealt with."""
        if self.turns.is_over:
            raise _Left
        self.request = request
        state = _ProcessState()
        self._others.switch()
        state.put_back()

    def go_on(self) -> None:
        """Let it compute until it waits or ends; called by whoever has asked for the runs."""
        self.request = None
        self._greenlet.switch()

    def leave(self) -> None:
        """Let it end where it waits."""
        if self._greenlet and not self._greenlet.dead:
            self._greenlet.throw(_Left)


class Turns:
    """Runs functions in turns, and answers what they ask together.

    Random generators, torch's deterministic mode and what a ``with`` of torch's has switched on (autocast, no
    gradients) are each run's own, although a thread has one of each.

    Args:
        answer: called with the runs that wait for something; afterwards each of them computes again.
        at_once: how many runs may be under way, or a function of how many are; the others wait until one has ended.
            None is all.

    Attributes:
        train: called with a trainer at the beginning of each of its epochs, by its run; None is not called.

    >>> def work():
    ...     current_run().ask("a number")
    ...     return torch.rand(1).item()
    >>> with torch.random.fork_rng():
    ...     _ = torch.manual_seed(0)
    ...     runs = Turns(lambda waiting: print(len(waiting), "wait")).run([work, work])
    2 wait
    >>> runs[0].result == runs[1].result
    True
    """

    def __init__(self, answer: Callable[[list[Run]], None], at_once: Callable[[int], int] | int | None = None) -> None:
        self.answer, self.at_once = answer, at_once
        self.train: Callable[[Any], None] | None = None
        self.is_over = False
        self._runs: list[Run] = []

    def run(self, calls: Sequence[Callable[[], Any]], ended: Callable[[Run], None] = lambda run: None) -> list[Run]:
        """Run all to their ends.

        Args:
            calls: the functions.
            ended: called with each run that has ended.

        Raises:
            KeyboardInterrupt: for a signal for which no run listens, or for a second one.
        """
        self._runs = [Run(self, call) for call in calls]
        to_begin = deque(self._runs)
        live: list[Run] = []
        before = _ProcessState()
        try:
            with self._listening():
                while to_begin or live:
                    for run in live:
                        self._let(run, ended)
                    live = [run for run in live if not run.is_done]
                    while to_begin and len(live) < self._most(len(live)):
                        run = to_begin.popleft()
                        before.put_back()
                        self._let(run, ended)
                        live += [] if run.is_done else [run]
                    if live:
                        before.put_back()
                        self.answer(live)
        finally:
            self.is_over = True
            for run in self._runs:
                run.leave()
            before.put_back()
        return self._runs

    @staticmethod
    def _let(run: Run, ended: Callable[[Run], None]) -> None:
        run.go_on()
        if type(run.error) is KeyboardInterrupt:  # it has come while this run computed, and is for all of them
            raise run.error
        if run.is_done:
            ended(run)

    def _most(self, live: int) -> int:
        if self.at_once is None:
            return len(self._runs)
        return self.at_once(live) if callable(self.at_once) else self.at_once

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Tell all runs of a first SIGINT or SIGTERM; each listens for itself only."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        known = [number for number in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(number) is not None]
        handlers: dict[int, Any] = {}

        def restore() -> None:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            handlers.clear()

        def note(number: int, frame: Any) -> None:
            restore()
            listening = [run for run in self._runs if run.note_signal is not None and not run.is_done]
            for run in listening:
                assert run.note_signal is not None
                run.note_signal(number, frame)
            if not listening:
                raise KeyboardInterrupt

        handlers.update({number: signal.signal(number, note) for number in known})
        try:
            yield
        finally:
            restore()


class _ProcessState:
    """What a process or a thread has one of, and each run its own."""

    def __init__(self) -> None:
        self.python, self.numpy, self.torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        self.deterministic = torch.are_deterministic_algorithms_enabled()
        self.has_grad = torch.is_grad_enabled()
        self.autocast = [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in _KINDS]

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        if torch.are_deterministic_algorithms_enabled() != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic)
        torch.set_grad_enabled(self.has_grad)
        for kind, is_on, dtype in self.autocast:
            torch.set_autocast_enabled(kind, is_on)
            torch.set_autocast_dtype(kind, dtype)

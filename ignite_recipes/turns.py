"""Several runs in one process, each in a thread of its own, of which one at a time computes."""

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

__all__ = ["Run", "Turns", "current_run"]

_current = threading.local()


def current_run() -> "Run | None":
    """That of this thread, where several runs take turns; None elsewhere."""
    return getattr(_current, "run", None)


class _Left(BaseException):
    """Ends a run that waits for a turn which will not come."""


class Run:
    """One of several runs that take turns.

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
        self._turn = threading.Semaphore(0)
        self._state: _ProcessState | None = None
        self._thread = threading.Thread(target=contextvars.copy_context().run, args=(self._work,), daemon=True)

    def _work(self) -> None:
        self._turn.acquire()
        _current.run = self
        try:
            if not self.turns.is_over:
                self.result = self._call()
        except _Left:
            pass
        except BaseException as error:  # given to whoever has asked for the runs
            self.error = error
        finally:
            self.is_done = True
            self.turns.give_back()

    def ask(self, request: Any) -> None:
        """Wait until the request was dealt with."""
        self.request = request
        self._state = _ProcessState()
        self.turns.give_back()
        self._turn.acquire()
        if self.turns.is_over:
            raise _Left
        self._state.put_back()

    def go_on(self) -> None:
        """Let it compute until it waits or ends; called by whoever has asked for the runs."""
        self.request = None
        if not self._thread.ident:
            self._thread.start()
        self._turn.release()
        self.turns.wait()


class Turns:
    """Runs functions in turns, and answers what they ask together.

    Random generators and torch's deterministic mode are each run's own, although a process has one of each.

    Args:
        answer: called with the runs that wait for something; afterwards each of them computes again.
        at_once: how many runs may be under way, or a function of how many are; the others wait until one has ended.
            None is all.

    Attributes:
        train: called with a trainer at the beginning of each of its epochs, in its run's thread; None is not called.

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
        self._mine = threading.Semaphore(0)
        self._runs: list[Run] = []

    def give_back(self) -> None:
        """Called in a run's thread: it waits, or has ended."""
        self._mine.release()

    def wait(self) -> None:
        """Until a run waits, or has ended."""
        self._mine.acquire()

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
            self._end()
            before.put_back()
        return self._runs

    @staticmethod
    def _let(run: Run, ended: Callable[[Run], None]) -> None:
        run.go_on()
        if run.is_done:
            ended(run)

    def _most(self, live: int) -> int:
        if self.at_once is None:
            return len(self._runs)
        return self.at_once(live) if callable(self.at_once) else self.at_once

    def _end(self) -> None:
        """Let runs that wait end, where an error or a signal has ended all."""
        self.is_over = True
        for run in self._runs:
            if run._thread.ident and not run.is_done:
                run._turn.release()
                run._thread.join(timeout=10)

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Tell the runs of a first SIGINT or SIGTERM, which Python tells to the main thread only."""
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
    """What a process has one of, and each run its own: random generators, torch's deterministic mode."""

    def __init__(self) -> None:
        self.python, self.numpy, self.torch = random.getstate(), np.random.get_state(), torch.get_rng_state()
        self.cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        self.deterministic = torch.are_deterministic_algorithms_enabled()

    def put_back(self) -> None:
        random.setstate(self.python)
        np.random.set_state(self.numpy)
        torch.set_rng_state(self.torch)
        if self.cuda:
            torch.cuda.set_rng_state_all(self.cuda)
        if torch.are_deterministic_algorithms_enabled() != self.deterministic:
            torch.use_deterministic_algorithms(self.deterministic)

"""Runs that take turns: one computes at a time, each with its own generators, and what ends one leaves the others."""

import random
import signal
import threading

import numpy as np
import pytest
import torch

from ignite_recipes.turns import Turns, current_run


def test_one_at_a_time_computes_and_all_that_wait_are_answered_together():
    said, inside = [], []

    def work(name):
        def call():
            for k in range(3):
                inside.append(name)
                assert inside == [name]
                inside.remove(name)
                current_run().ask((name, k))
            return name

        return call

    runs = Turns(lambda waiting: said.append([run.request for run in waiting])).run([work("a"), work("b")])
    assert said == [[("a", k), ("b", k)] for k in range(3)]
    assert [run.result for run in runs] == ["a", "b"]
    assert current_run() is None


def test_each_has_generators_of_its_own():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()

    def work():
        first = draw()
        current_run().ask(None)
        return first, draw()

    def disturb(waiting):
        draw()
        torch.manual_seed(5)

    before = torch.get_rng_state(), random.getstate()
    one, other = (run.result for run in Turns(disturb).run([work, work]))
    assert one == other
    assert one[0] != one[1]
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert (draw(), draw()) == one


def test_an_error_ends_one_run_only():
    def fail():
        current_run().ask(None)
        raise ValueError("no")

    def work():
        current_run().ask(None)
        current_run().ask(None)
        return 1

    ended = []
    failed, whole = Turns(lambda waiting: None).run([fail, work], ended.append)
    assert isinstance(failed.error, ValueError)
    assert whole.result == 1
    assert ended == [failed, whole]


@pytest.mark.parametrize("at_once", [1, 2, lambda live: 1 + (live > 0)])
def test_no_more_are_under_way_than_there_is_room_for(at_once):
    sizes = []

    def work():
        current_run().ask(None)

    Turns(lambda waiting: sizes.append(len(waiting)), at_once).run([work] * 5)
    assert sizes == ([1] * 5 if at_once == 1 else [2, 2, 1])


def waiting_until(closed):
    """A run that waits, and notes in ``closed`` that it has ended."""

    def work():
        try:
            current_run().ask(None)
        finally:
            closed.append(True)

    return work


def test_an_error_in_the_answer_ends_all():
    closed = []
    work = waiting_until(closed)

    def answer(waiting):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Turns(answer).run([work, work])
    assert closed == [True, True]
    assert current_run() is None


def test_what_torch_has_switched_on_is_on_in_one_run_only():
    def modes():
        return torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), torch.get_autocast_dtype("cpu")

    def work():
        before = modes()
        current_run().ask(None)
        return before, modes()

    def switched():
        with torch.no_grad(), torch.autocast("cpu", torch.float16):
            return work()

    outside, seen = modes(), []
    one, other = (run.result for run in Turns(lambda waiting: seen.append(modes())).run([switched, work]))
    assert one == ((False, True, torch.float16),) * 2
    assert other == (outside, outside)
    assert (seen, modes()) == ([outside], outside)


def test_all_compute_in_one_thread():
    def work():
        current_run().ask(None)
        return threading.get_ident()

    assert {run.result for run in Turns(lambda waiting: None).run([work] * 3)} == {threading.get_ident()}


def test_an_interrupt_that_no_run_listens_for_ends_all():
    closed = []
    work = waiting_until(closed)

    def interrupted():
        current_run().ask(None)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        Turns(lambda waiting: None).run([work, interrupted, work])
    assert closed == [True, True]


def test_runs_inside_a_run_take_turns_of_their_own():
    said = []

    def inner():
        current_run().ask("inner")

    def outer():
        Turns(lambda waiting: said.append([run.request for run in waiting])).run([inner, inner])
        current_run().ask("outer")

    Turns(lambda waiting: said.append([run.request for run in waiting])).run([outer, outer])
    assert said == [["inner", "inner"], ["inner", "inner"], ["outer", "outer"]]

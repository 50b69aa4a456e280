"""Runs are computed in portions of the number with which it is fastest, which changes nothing else."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from support.stacking import note_calls

from ignite_recipes.together import portions, run_together
from ignite_recipes.together.portions import Portions


class Clock:
    """A time that passes only where steps say so."""

    def __init__(self, seconds_of):
        self.now, self.seconds_of, self.steps = 0.0, seconds_of, []

    def perf_counter(self):
        return self.now

    def prepare(self, count):
        def step():
            self.steps.append(count)
            self.now += self.seconds_of(count)

        return step


@pytest.fixture
def divided(monkeypatch):
    def divide(count, seconds_of):
        clock = Clock(seconds_of)
        monkeypatch.setattr(portions, "time", clock)
        return Portions(clock.prepare).of(range(count))

    return divide


@pytest.mark.parametrize(
    ("seconds_of", "sizes"),
    [
        (lambda count: 5 + count, [13]),  # a call costs more than a run
        (lambda count: count**2, [2, 2, 2, 2, 2, 3]),  # many runs hinder each other
        (lambda count: 20 + count**2, [4, 4, 5]),  # 12, 9 and 10.5 for each run
        (lambda count: 1 + 20 * count, [2, 2, 2, 2, 2, 3]),  # 20.5 and 20.25: hardly less
        (lambda count: 100 + count**2, [13]),  # 52, 29 and 20.5; 16 are not there
    ],
)
def test_the_number_is_that_with_which_a_run_takes_the_least_time(divided, seconds_of, sizes):
    found = divided(13, seconds_of)
    assert sorted(len(portion) for portion in found) == sizes


@given(st.integers(0, 70), st.sampled_from([2, 4, 8, 16, 32, 1000]))
def test_portions_are_all_runs_in_their_order_and_none_is_alone(count, best):
    clock = Clock(lambda size: (1 + abs(size - best)) * size)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(portions, "time", clock)
        found = Portions(clock.prepare).of(range(count))
    assert [run for portion in found for run in portion] == list(range(count))
    assert all(len(portion) > 1 for portion in found) or count == 1
    assert max(map(len, found), default=0) - min(map(len, found), default=0) <= 1


def test_each_number_is_measured_once_and_few_runs_are_not_measured(monkeypatch):
    clock = Clock(lambda size: 1.0)
    monkeypatch.setattr(portions, "time", clock)
    divides = Portions(clock.prepare)
    for count in (3, 9, 2, 9, 17):
        divides.of(range(count))
    assert {size: clock.steps.count(size) for size in clock.steps} == {2: 1, 4: 1, 8: 1, 16: 1}


def test_short_steps_are_measured_several_times(monkeypatch):
    clock = Clock(lambda size: 1e-3)
    monkeypatch.setattr(portions, "time", clock)
    Portions(clock.prepare).of(range(4))
    assert clock.steps == [2] * 4 + [4] * 4


def test_a_run_has_the_same_bits_in_portions_of_any_size(monkeypatch):
    from together.test_together import advanced, results_of

    def trained(size):
        sizes = []
        note_calls(monkeypatch, sizes.append)
        monkeypatch.setattr(Portions, "_size", lambda self, count: min(size, count))
        found = results_of(run_together([advanced(seed, use_augmentation=True) for seed in range(5)]))
        return found, set(sizes)

    (whole, sizes), (divided, other_sizes) = trained(5), trained(2)
    assert (sizes, other_sizes) == ({5}, {2, 3})
    for (results, weights), (other, other_weights) in zip(whole, divided, strict=True):
        assert results == other
        assert all(map(torch.equal, weights.values(), other_weights.values()))

"""The weight of the divergence is the papers' function of the position, and a tensor that a program reads."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from ignite_recipes import KLSchedule

positive = st.floats(0.1, 100, allow_nan=False)


@given(beta=st.floats(0, 10), epochs=positive, position=st.floats(0, 300))
def test_a_warm_up_is_linear_and_then_constant(beta, epochs, position):
    assert KLSchedule(beta, epochs=epochs).at(position) == pytest.approx(beta * min(1, position / epochs))


@given(epochs=positive, cycles=st.integers(2, 8), ramp=st.floats(0.1, 1), position=st.floats(0, 300))
def test_cycles_are_those_of_their_paper(epochs, cycles, ramp, position):
    """Fu et al., equations 6 and 7: tau = mod(t, T / M) / (T / M), beta = min(1, tau / R)."""
    length = epochs / cycles
    tau = math.fmod(position, length) / length
    if min(tau, 1 - tau) < 1e-6:  # where a cycle begins, rounding decides
        return
    expected = 1.0 if position >= epochs else min(1.0, tau / ramp)
    assert KLSchedule(epochs=epochs, cycles=cycles, ramp=ramp).at(position) == pytest.approx(expected, abs=1e-6)


def test_without_a_warm_up_the_weight_is_beta_from_the_start():
    schedule = KLSchedule(4.0)
    assert schedule.is_constant
    assert schedule.weight == 4


def test_a_trainers_steps_have_the_weights_of_their_positions(task):
    schedule = KLSchedule(epochs=2)
    weight, seen = schedule.weight, []
    trainer = task.trainer(loss_fn=lambda model, x, batch: {"loss": schedule.weight * model(x).square().mean()})
    schedule.attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(schedule.weight.item()))
    trainer.run(task.batches, max_epochs=3)
    assert seen == pytest.approx([0, 1 / 8, 2 / 8, 3 / 8, 4 / 8, 5 / 8, 6 / 8, 7 / 8, 1, 1, 1, 1])
    assert schedule.weight is weight  # as a program has it


def test_of_a_loader_without_a_length_an_epoch_has_one_weight(task):
    seen = []
    engine = Engine(lambda engine, batch: seen.append(schedule.weight.item()))
    schedule = KLSchedule(epochs=2).attach(engine)

    class Stream:
        def __iter__(self):
            return iter(range(3))

    engine.run(Stream(), max_epochs=1)
    assert seen == [0, 0, 0]
    engine.state.epoch, engine.state.epoch_length = 2, None  # as of a run that is resumed there
    schedule(engine)
    assert schedule.weight == 0.5


def test_the_state_is_the_position():
    one, other = KLSchedule(epochs=4), KLSchedule(epochs=4)
    one.move_to(3)
    other.load_state_dict(one.state_dict())
    assert other.weight == one.weight == 0.75


@pytest.mark.parametrize(
    "settings",
    [{"beta": -1}, {"beta": math.nan}, {"epochs": -1}, {"epochs": math.inf}, {"epochs": 4, "cycles": 0},
     {"epochs": 4, "cycles": 1.5}, {"epochs": 4, "ramp": 0}, {"epochs": 4, "ramp": 1.1}, {"cycles": 3},
     {"beta": "1"}],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(settings):
    with pytest.raises(ValueError, match=next(reversed(settings))):
        KLSchedule(**settings)

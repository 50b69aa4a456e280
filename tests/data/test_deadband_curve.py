"""A deadband bounds the receiver's error, and what is counted is what send-on-delta transmits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data.deadband import send_on_delta
from ignite_recipes.data.deadband_curve import DEADBANDS, deadband_curve
from ignite_recipes.plotting.deadband_curve import plot_deadband_curve


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.integers(1, 3), st.integers(0, 99))
def test_errors_are_in_order_and_never_above_the_deadband(length, features, seed):
    context = np.random.default_rng(seed).normal(size=(length, features)).cumsum(0)
    curve = deadband_curve(context)
    assert curve["deadband"].to_list() == list(DEADBANDS)
    for row in curve.iter_rows(named=True):
        assert 0 <= row["mae"] <= row["rmse"] + 1e-12
        assert row["rmse"] <= row["max_error"] + 1e-12
        assert row["max_error"] <= row["deadband"] + 1e-6  # float32
        assert row["transmissions"] >= 1
        assert row["traffic"] == row["transmissions"] / length


def test_a_row_is_what_a_receiver_makes_of_send_on_delta():
    context = np.random.default_rng(0).normal(size=(80, 2)).cumsum(0)
    (row,) = deadband_curve(context, [0.2], limits=(-30, 30)).iter_rows(named=True)
    scaled, sent = (array.double().numpy() for array in send_on_delta(context, 0.2, (-30, 30)))
    held, errors = None, []
    for sample, flag in zip(scaled, sent, strict=True):
        held = sample if flag else held
        errors.append(np.abs(sample - held))
    assert row["transmissions"] == sent.sum()
    assert row["mae"] == pytest.approx(np.mean(errors))
    assert row["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert row["max_error"] == pytest.approx(np.max(errors))


def test_a_ramp_is_sent_every_so_many_samples():
    ramp = np.arange(101) / 100
    curve = deadband_curve(ramp, [0.045, 0.005], limits=(0, 1))
    assert curve["deadband"].to_list() == [0.005, 0.045]
    assert curve["transmissions"].to_list() == [101, 21]  # at each step, and at each fifth
    assert curve["mae"][1] == pytest.approx((0 + 1 + 2 + 3 + 4) / 100 / 5, rel=0.02)


@pytest.mark.parametrize("wrong", [[], 0.1, [0.1, 1.0], [0.0], [float("nan")], "0.1", None, ["a"]])
def test_what_is_no_deadband_is_refused(wrong):
    with pytest.raises(ValueError, match="deadband"):
        deadband_curve([0.0, 1.0, 2.0], wrong)


def test_the_picture_shows_each_deadband_and_marks_the_chosen_one():
    curve = deadband_curve(np.random.default_rng(0).normal(size=200).cumsum(), [0.05, 0.1, 0.2])
    axes = plot_deadband_curve(curve, 0.1).axes[0]
    greatest, *_, mark = axes.lines
    np.testing.assert_allclose(greatest.get_xdata(), 100 * curve["traffic"])
    np.testing.assert_allclose(greatest.get_ydata(), 100 * curve["max_error"])
    assert mark.get_xdata()[0] == 100 * curve["traffic"][1]
    assert len(plot_deadband_curve(curve).axes[0].lines) == 3
    for bad, band in ((curve, 0.3), (curve.head(0), None)):
        with pytest.raises(ValueError, match="deadband"):
            plot_deadband_curve(bad, band)

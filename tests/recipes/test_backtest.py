"""A backtest looks at nothing that comes later, and its naive baselines have the errors that closed forms give."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data.deadband import send_on_delta
from ignite_recipes.data.traffic_series import TrafficSeries
from ignite_recipes.recipes.backtest import backtest
from ignite_recipes.recipes.backtest_forecasts import arima, last_value, mean, seasonal_naive

QUICK = {"num_epochs": 1, "hidden_size": 4, "num_layers": 1}


def walk(length=200, seed=0):
    return np.random.default_rng(seed).normal(size=(length, 2)).cumsum(0)


def run(context, **settings):
    chosen = {"deadband": 0.1, "arima_order": None, "parameters": QUICK, "device": "cpu", "limits": (-40, 40)}
    return backtest(context, 6, 3, **{**chosen, **settings})


FORECASTS = {
    "last value": last_value,
    "mean": mean,
    "seasonal naive": lambda *given: seasonal_naive(*given, season=4),
}


@pytest.mark.parametrize("name", FORECASTS)
@settings(deadline=None, max_examples=25)
@given(st.integers(6, 18), st.integers(1, 9), st.integers(0, 99))
def test_a_forecast_does_not_depend_on_its_target_or_what_comes_after(name, start, steps, seed):
    series = walk(20, seed)
    changed = series.copy()
    changed[start:] += 100.0
    before, after = (FORECASTS[name](each, 6, np.array([start]), steps) for each in (series, changed))
    assert before.shape == (1, steps, 2)
    np.testing.assert_array_equal(before, after)


def test_an_arima_forecasts_as_statsmodels_does_from_the_series_cut_before_the_target():
    from statsmodels.tsa.arima.model import ARIMA

    series, order = walk(60)[:, :1] / 10 + 3, (1, 1, 1)
    starts = np.array([40, 47, 60])
    found = arima(series, 40, starts, 4, order=order)
    fitted = ARIMA(series[:40, 0], order=order).fit()
    for row, start in zip(found, starts, strict=True):
        np.testing.assert_allclose(row[:, 0], fitted.apply(series[:start, 0]).forecast(4), rtol=1e-9)


def test_an_arima_of_a_constant_is_the_constant():
    assert (arima(np.full((20, 1), 0.3), 10, np.array([12]), 3, order=(1, 0, 0)) == 0.3).all()


@pytest.mark.filterwarnings("ignore:.*outside")
def test_what_comes_after_a_block_changes_nothing_in_it():
    context, edge = walk(120), 90
    changed = context.copy()
    changed[edge:] = context[edge:][::-1]
    chosen = {"origins": 2, "by_origin": True, "season": 12, "arima_order": (1, 0, 0), "limits": None}
    table, other = (run(each, **chosen) for each in (context, changed))
    assert table["origin"].unique(maintain_order=True).to_list() == [60, 90]
    assert table.filter(table["origin"] < edge).equals(other.filter(other["origin"] < edge), null_equal=True)
    assert not table.equals(other, null_equal=True)


def test_naive_baselines_have_their_closed_forms():
    context = walk(160)
    scaled, sent = (array.double().numpy() for array in send_on_delta(context, 0.1, (-40, 40)))
    found = run(context, origins=1, min_train=0.75, season=7)
    starts, num_train = np.arange(120, 158), 96
    for step in (1, 2, 3):
        rows = starts + step - 1
        earlier = {
            "last value": starts - 1,
            "seasonal naive": rows - 7,
        }
        expected = {name: (scaled[places], sent[places]) for name, places in earlier.items()}
        expected["mean"] = scaled[:num_train].mean(0), sent[:num_train].mean()
        for name, (path, chances) in expected.items():
            row = found.filter((found["predictor"] == name) & (found["step"] == step)).row(0, named=True)
            assert row["windows"] == 38
            assert row["context_mae"] == pytest.approx(np.abs(path - scaled[rows]).mean())
            assert row["context_rmse"] == pytest.approx(np.sqrt(np.square(path - scaled[rows]).mean()))
            assert row["brier"] == pytest.approx(np.square(chances - sent[rows]).mean())
    all_steps = found.filter((found["predictor"] == "mean") & found["step"].is_null()).row(0, named=True)
    targets = np.stack([sent[s : s + 3] for s in starts])
    assert all_steps["traffic_mse"] == pytest.approx(np.square(sent[:num_train].mean() - targets.mean(1)).mean())
    rate = targets.mean()  # its threshold is below the only probability: every sample is expected
    assert all_steps["f1"] == pytest.approx(2 * rate / (1 + rate))


def test_a_series_that_repeats_is_forecast_by_its_season_without_an_error():
    wave = np.tile([0.0, 0.0, 1.0, 1.0], 50)
    found = run(wave, limits=None, season=4)
    naive = found.filter(found["predictor"] == "seasonal naive")
    assert naive["context_rmse"].max() == pytest.approx(0, abs=1e-7)
    assert naive["f1"].min() == 1.0
    assert naive["brier"].max() == 0.0
    assert naive["traffic_mse"].max() == pytest.approx(0, abs=1e-12)
    assert naive["coverage"].max() == 1.0


def test_windows_of_all_origins_together_are_those_of_each_and_the_twin_has_no_path():
    context = walk(200)
    together, apart = run(context), run(context, by_origin=True)
    assert together.columns == apart.columns[1:-1]
    one = together.filter((together["predictor"] == "last value") & (together["step"] == 2))
    each = apart.filter((apart["predictor"] == "last value") & (apart["step"] == 2))
    assert one["windows"].sum() == each["windows"].sum()
    assert one["brier"][0] == pytest.approx((each["brier"] * each["windows"]).sum() / each["windows"].sum())
    twin = together.filter(together["predictor"] == "context-free twin")
    assert twin["context_mae"].null_count() == len(twin)
    assert set(together["predictor"]) == {"model", "context-free twin", "last value", "mean"}


def test_flags_may_be_given_and_series_are_taken_as_they_are_read():
    context = walk(120)
    _, sent = send_on_delta(context, 0.1, (-40, 40))
    by_deadband, by_flags = run(context, origins=1), run(context, origins=1, deadband=None, transmissions=sent)
    series = TrafficSeries(context, sent.numpy(), ["a", "b"], None)
    assert by_flags.equals(by_deadband, null_equal=True)
    assert run(series, origins=1, deadband=None).equals(by_deadband, null_equal=True)


def test_the_global_generator_stays_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    state = torch.get_rng_state()
    run(walk(120), origins=1)
    assert torch.equal(state, torch.get_rng_state())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"deadband": None}, "exactly one of transmissions and deadband .* neither"),
        ({"transmissions": np.ones(200)}, "exactly one of transmissions and deadband .* both"),
        ({"deadband": None, "transmissions": np.ones(7)}, r"one flag per sample of the context, \(200,\); got \(7,\)"),
        ({"deadband": 2.0}, "deadband must be"),
        ({"origins": 0}, "origins must be"),
        ({"origins": 60}, "at least len_target = 3 samples"),
        ({"min_train": 1.5}, r"min_train must be a part of the samples, in \(0, 1\); got 1.5"),
        ({"val_size": float("nan")}, "val_size must be"),
        ({"min_train": 0.05}, "both sides must have at least"),
        ({"season": 0}, "season must be"),
        ({"season": 101}, "season must be at most the samples before the first origin, 100; got 101"),
        ({"parameters": {"hiden_size": 3}}, "did you mean 'hidden_size'"),
        ({"limits": (1, 0)}, "limits must be"),
        ({"arima_order": (1, 0)}, r"arima_order must be \(p, d, q\), three whole numbers"),
        ({"arima_order": (-1, 0, 0)}, "arima_order must be"),
    ],
)
def test_what_cannot_be_is_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        run(walk(200), **changed)


def test_a_series_has_its_own_flags_and_context_its_shape():
    series = TrafficSeries(walk(120), np.ones(120), ["a", "b"], None)
    with pytest.raises(ValueError, match="transmissions go with a context that is an array"):
        run(series, deadband=None, transmissions=np.ones(120))
    with pytest.raises(ValueError, match="context must be"):
        run(np.zeros((3, 2, 2)))
    with pytest.raises(TypeError, match="parameters must be a dict"):
        run(walk(), parameters=[1])
    with pytest.raises(ValueError, match="len_source must be a whole number"):
        backtest(walk(), "6", 3, deadband=0.1)

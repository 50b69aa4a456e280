"""The simulation's true probabilities are true, no predictor sees later samples, and tables say what was found."""

import statistics

import numpy as np
import pytest
import torch

from benchmarks import backtests, flags

SMALL = 900


@pytest.fixture(scope="module")
def sides():
    return flags.make_sides(0.1, seed=0, samples=SMALL)


def test_sides_are_in_order_of_time_and_share_no_sample(sides):
    scaled, _, slices = flags._series(0.1, 0, SMALL)
    for windows, side in zip(sides[:3], slices, strict=True):
        assert torch.equal(windows.sources[0, 0], scaled[side.start])
        assert torch.equal(windows.targets[-1, -1], scaled[side.stop + flags.SOURCE + flags.TARGET - 2])
    ends = [side.stop + flags.SOURCE + flags.TARGET - 1 for side in slices]
    assert [side.start for side in slices[1:]] == ends[:-1]
    assert ends[-1] == SMALL


def test_true_probabilities_are_calibrated(sides):
    chances, sent = sides.chances[1].numpy(), sides.test.transmissions.numpy()
    assert chances.mean() == pytest.approx(sent.mean(), abs=0.05)
    # In thirds of the probability the parts that were sent are near the means of what was said.
    for rows in np.array_split(np.argsort(chances.ravel()), 3):
        assert chances.ravel()[rows].mean() == pytest.approx(sent.ravel()[rows].mean(), abs=0.1)


def test_the_limits_are_five_standard_deviations_of_the_autoregression():
    scaled, _, _ = flags._series(0.1, 1, 20_000)
    assert float(scaled.std()) == pytest.approx(0.1, rel=0.05)


def test_f1_of_everything_has_its_closed_form(sides):
    rate = float(sides.test.transmissions.mean())
    assert flags.f1(torch.ones_like(sides.test.transmissions), sides.test, 0.5) == pytest.approx(2 * rate / (1 + rate))


def test_windows_dealt_at_random_are_the_same_windows(sides):
    dealt = flags._shuffled(sides, 0)
    assert [len(part.sources) for part in dealt] == [len(part.sources) for part in sides[:3]]
    sums = [sum(float(part.sources.double().sum()) for part in parts) for parts in (dealt, sides[:3])]
    assert sums[0] == pytest.approx(sums[1])


def test_smoothing_that_looks_ahead_moves_with_the_target():
    scaled, _, _ = flags._series(0.1, 0, SMALL)
    (train, *_) = flags._ahead(0.1, 0, SMALL)
    torch.testing.assert_close(train.sources[0, -1], scaled[flags.SOURCE - 3 : flags.SOURCE + 2].mean(0))


def test_the_tables_hold_means_and_spreads(monkeypatch):
    monkeypatch.setattr(flags, "_figures", lambda band, seed, *_: {"rate": 0.2, "a model": band + seed / 10})
    lines = flags.flags(seeds=3).splitlines()
    assert lines[0] == "| F1 of the flags, 3 seeds | frequent, 20% of the samples | rare, 20% of the samples |"
    assert lines[2] == "| a model | 0.180 ± 0.100 | 0.250 ± 0.100 |"

    def rows(parameters, origins, *, with_arima):
        value = parameters["seed"] / 10 + parameters.get("fits_path", False)
        row = {**dict.fromkeys(backtests.MEASURES, value)}
        others = {"mean": dict.fromkeys(backtests.MEASURES, 0.5)} | ({"ARIMA": row} if with_arima else {})
        return {"model": row, "twin": {**row, "context_rmse": None}, **others}

    monkeypatch.setattr(backtests, "_rows", rows)
    lines = {line.split("|")[1].strip(): line for line in backtests.backtests(seeds=2).splitlines()[2:]}
    spread = statistics.stdev([0.0, 0.1])
    assert set(lines) == {"model", "twin", "mean", "ARIMA", "model, `fits_path`"}
    assert f"{0.05:.4f} ± {spread:.4f}" in lines["model"]
    assert f"{1.05:.4f} ± {spread:.4f}" in lines["model, `fits_path`"]
    assert lines["twin"].split("|")[2].strip() == "-"
    assert lines["mean"].count("0.5000") == len(backtests.MEASURES)
    assert lines["ARIMA"].count("0.0000") == len(backtests.MEASURES)

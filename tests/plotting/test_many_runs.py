"""Pictures of many runs: the mean and its band, and a metric against a swept number."""

import math

import pytest

from ignite_recipes.plotting.many_runs import plot_bands, plot_sweep

RUNS = {
    "small": [{"epoch": [1, 2], "val_loss": [2.0, 1.0]}, {"epoch": [1, 2, 3], "val_loss": [4.0, 3.0, 2.0]}],
    "one": [{"epoch": [1, 2], "val_loss": [5.0, 5.0]}],
    "none": [],
}


def test_the_mean_goes_as_far_as_all_runs_do_and_the_band_is_a_standard_deviation():
    (axes,) = plot_bands(RUNS, "val_loss").axes
    mean = next(line for line in axes.lines if line.get_label() == "small (2)")
    assert mean.get_ydata().tolist() == [3.0, 2.0]
    (band,) = axes.collections  # of one run there is none
    edges = band.get_paths()[0].vertices
    assert edges[:, 1].min() == pytest.approx(2 - math.sqrt(2))
    assert edges[:, 1].max() == pytest.approx(3 + math.sqrt(2))
    labels = [text.get_text() for text in axes.figure.legends[0].get_texts()]
    assert labels == ["small (2)", "one (1)"]


def test_nothing_to_draw_is_refused():
    with pytest.raises(ValueError, match="there must be a run"):
        plot_bands({"none": []}, "val_loss")
    with pytest.raises(ValueError, match="there must be a value of rate"):
        plot_sweep("rate", {"": []}, "val_loss")


def test_a_swept_number_has_means_with_intervals_in_its_order():
    points = {"": [(0.1, 1.0, 0.5, 1.5), (0.001, 2.0, 1.5, 2.5), (0.01, 3.0, math.nan, math.nan)]}
    (axes,) = plot_sweep("rate", points, "val_loss").axes
    (line,) = [line for line in axes.lines if len(line.get_xdata()) == 3 and line.get_linestyle() == "-"]
    assert line.get_xdata().tolist() == [0.001, 0.01, 0.1]
    assert line.get_ydata().tolist() == [2.0, 3.0, 1.0]
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]


def test_numbers_that_lie_near_or_reach_zero_stand_on_a_plain_axis():
    for numbers in ([1, 2, 3], [0, 1, 100]):
        points = {"a": [(x, 1.0, 0.5, 1.5) for x in numbers], "b": [(x, 2.0, 1.5, 2.5) for x in numbers]}
        figure = plot_sweep("layers", points, "val_loss")
        assert figure.axes[0].get_xscale() == "linear"
        assert [text.get_text() for text in figure.legends[0].get_texts()] == ["a", "b"]

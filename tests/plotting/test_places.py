"""A map has the mean of each cell where it belongs, and nothing where nobody was."""

import numpy as np
import pytest

from ignite_recipes import plot_places


def test_a_cell_has_the_mean_of_its_places():
    figure = plot_places([9.0, 9.0, 10.0], [76.0, 76.0, 77.0], [1.0, 3.0, 7.0], value_name="birds")
    (cells,) = figure.axes[0].collections
    assert sorted(cells.get_array().tolist()) == [2.0, 7.0]
    assert figure.axes[1].get_ylabel() == "birds"


def test_cells_are_squares_in_kilometres_and_hold_their_places():
    rng = np.random.default_rng(0)
    latitude, longitude = rng.uniform(59, 61, 200), rng.uniform(10, 14, 200)
    figure = plot_places(latitude, longitude, rng.random(200), cells=10)
    (cells,) = figure.axes[0].collections
    squares = [path.vertices[:4] for path in cells.get_paths()]
    for square in squares:
        height, width = np.ptp(square[:, 1]), np.ptp(square[:, 0])
        assert width * np.cos(np.radians((latitude.min() + latitude.max()) / 2)) == pytest.approx(height)
    inside = [
        any(s[:, 0].min() <= x <= s[:, 0].max() and s[:, 1].min() <= y <= s[:, 1].max() for s in squares)
        for x, y in zip(longitude, latitude, strict=True)
    ]
    assert all(inside)
    assert figure.axes[0].get_aspect() == pytest.approx(2, abs=0.05)  # of 60 degrees north


def test_what_is_not_known_is_left_out_and_nothing_at_all_is_refused():
    figure = plot_places([9.0, np.nan, 9.0], [76.0, 76.0, 76.0], [1.0, 2.0, np.nan])
    assert figure.axes[0].collections[0].get_array().tolist() == [1.0]
    with pytest.raises(ValueError, match="got none among 1"):
        plot_places([np.nan], [1.0], [1.0])
    with pytest.raises(ValueError, match="must be \\(N,\\)"):
        plot_places([1.0], [1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="cells must be"):
        plot_places([1.0], [1.0], [1.0], cells=0)

"""Pictures of answers show what was counted, and whatever a class is called they can be drawn."""

import numpy as np
import pytest

from ignite_recipes.plotting.diagnostics import (
    as_label,
    draw_calibration,
    draw_confusion,
    draw_divergences,
    draw_examples,
    draw_flags,
    draw_residuals,
)
from ignite_recipes.plotting.style import as_png

NAMES = ["$x^", "a$b$c", "_hidden", "鳥", "two\nlines", "long " * 20, "", r"\frac{"]


def test_any_name_of_a_class_can_be_drawn():
    figure = draw_confusion(np.eye(len(NAMES), dtype=int), NAMES)
    picture, size = as_png(figure)
    assert picture.startswith(b"\x89PNG")
    assert size["width"] > 300
    assert all(len(as_label(name)) <= 26 for name in NAMES)


def test_confusions_stand_in_their_cells_and_shades_are_parts_of_the_true_class():
    figure = draw_confusion(np.array([[3, 1], [0, 0]]), ["a", "b"])
    axes = figure.axes[0]
    assert {(text.get_position(), text.get_text()) for text in axes.texts} == {((0, 0), "3"), ((1, 0), "1")}
    assert axes.images[0].get_array().tolist() == [[0.75, 0.25], [0.0, 0.0]]


def test_calibration_leaves_out_empty_bins():
    nan = np.array([np.nan, 0.7])
    axes = draw_calibration(nan, np.array([np.nan, 0.9]), np.array([0, 5])).axes[0]
    assert axes.lines[1].get_ydata().tolist() == pytest.approx([np.nan, 0.9], nan_ok=True)


def test_of_many_points_some_are_drawn_and_always_the_same():
    truth = np.arange(20_000.0)
    drawn = [draw_residuals(truth, truth + 1, "y").axes[0].collections[0].get_offsets() for _ in range(2)]
    assert len(drawn[0]) == 5000
    assert (drawn[0] == drawn[1]).all()


def test_the_largest_divergence_stands_first():
    axes = draw_divergences(np.array([0.1, 3.0, 0.5])).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["2", "3", "1"]
    assert [bar.get_height() for bar in axes.patches] == [3.0, 0.5, 0.1]


def test_examples_stand_in_rows_without_empty_panels():
    figure = draw_examples(np.zeros((7, 4, 4)), [f"{k}" for k in range(7)])
    assert [axes.get_title() for axes in figure.axes] == [f"{k}" for k in range(7)]


def test_a_flag_is_a_mark_where_it_was_sent():
    figure = draw_flags(np.array([1, 0, 1.0]), np.array([0.9, 0.1, 0.2]), {"mean": np.zeros(3)})
    places = [marks.get_offsets()[:, 0].tolist() for marks in figure.axes[1].collections]
    assert places == [[0.0, 2.0], [0.0], []]

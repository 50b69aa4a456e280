"""Curves are drawn from what a recipe returns, without touching matplotlib's global state."""

import subprocess
import sys

import pytest

from ignite_recipes import plot_history

HISTORY = {
    "train_loss": [3.0, 2.0, 1.0],
    "train_kl_loss": [1.0, 1.0, 1.0],
    "val_loss": [3.0, 2.5, 2.0],
    "val_kl_loss": [],
}


def test_each_quantity_has_a_panel_with_the_curves_there_are():
    total, divergence = plot_history(HISTORY).axes
    assert [line.get_label() for line in total.lines] == ["training", "validation"]
    assert [line.get_label() for line in divergence.lines] == ["training"]
    assert total.lines[0].get_xdata().tolist() == [1, 2, 3]
    assert total.lines[1].get_ydata().tolist() == [3.0, 2.5, 2.0]
    assert total.get_xlabel() == "epoch"
    assert total.get_ylabel() == "nats per vector"


def test_a_single_epoch_is_visible(tmp_path):
    figure = plot_history({"train_loss": [1.0]})
    assert figure.axes[0].lines[0].get_marker() == "o"
    figure.savefig(tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_no_epochs_is_an_error():
    with pytest.raises(ValueError, match="at least one epoch"):
        plot_history({"train_loss": [], "val_loss": []})


def test_drawing_does_not_import_pyplot_or_choose_a_backend():
    code = """
import sys
from ignite_recipes import plot_history
plot_history({"train_loss": [1.0]})
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_log_of_a_run_has_panels_of_its_learning_rate_and_speed_that_stand_alone():
    log = {
        "epoch": [1, 2],
        "learning_rate": [0.1, 0.01],
        "train_loss": [2.0, 1.0],
        "train_accuracy": [50.0, 60.0],
        "val_accuracy": [40.0, 50.0],
        "batches_per_second": [10.0, 20.0],
    }
    figure = plot_history(log, "nats")
    panels = {axes.get_title(): axes for axes in figure.axes}
    assert list(panels) == ["Total loss", "Accuracy", "Learning rate", "Speed"]
    assert panels["Learning rate"].get_yscale() == "log"
    assert panels["Speed"].get_ylim()[0] == 0
    assert panels["Accuracy"].get_ylabel() == "%"
    assert panels["Speed"].get_legend() is None


@pytest.mark.parametrize(("count", "grid"), [(1, (1, 1)), (3, (1, 3)), (4, (2, 2)), (5, (2, 3)), (7, (2, 4))])
def test_panels_fill_two_rows_at_most(count, grid):
    figure = plot_history({f"train_{k}": [1.0] for k in range(count)})
    assert len(figure.axes) == count
    assert figure.axes[0].get_gridspec().get_geometry() == grid

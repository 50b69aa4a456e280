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

"""Curves are drawn from what a recipe returns, without touching matplotlib's global state."""

import base64
import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes import (
    CheckpointError,
    ExperimentManager,
    VariationalAutoencoder,
    create_dataloaders,
    plot_history,
    train_variational_autoencoder,
)

NAN, INF = math.nan, math.inf

HISTORY = {
    "train_loss": [3.0, 2.0, 1.0],
    "train_kl_loss": [1.0, 1.5, 1.0],
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


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(width=32), min_size=1, max_size=30), st.lists(st.floats(width=32), max_size=30))
def test_the_lines_are_the_history_whatever_is_in_it(train, val):
    axes = plot_history({"train_loss": train, "val_loss": val}).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    for label, values in (("training", train), ("validation", val)):
        if values:
            assert lines[label].get_xdata().tolist() == [*range(1, len(values) + 1)]
            np.testing.assert_array_equal(lines[label].get_ydata(), values)
        else:
            assert label not in lines


def test_the_same_history_gives_the_same_pixels_and_stays_as_it_is(pixels):
    history = {name: list(values) for name, values in HISTORY.items()}
    assert pixels(plot_history(history)) == pixels(plot_history(history))
    assert history == HISTORY


def test_a_value_that_is_not_finite_is_a_gap_and_a_cross_and_its_neighbours_stay_visible(pixels):
    figure = plot_history({"train_loss": [5.0, NAN, 4.0, INF, 3.0, 2.0], "val_loss": [1.0, 1.0, -INF, 1.0, 1.0, 1.0]})
    train, train_crosses, val, val_crosses = figure.axes[0].lines
    assert train_crosses.get_xdata().tolist() == [2, 4]
    assert val_crosses.get_xdata().tolist() == [3]
    assert train_crosses.get_ydata()[0] != val_crosses.get_ydata()[0]
    assert train.get_markevery() == [0, 2]  # a line alone would not show them
    assert val.get_marker() == "None"
    low, high = figure.axes[0].get_ylim()
    assert 0 < low < 1 < 5 < high < 6
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["training", "validation", "not finite"]
    pixels(figure)


def test_what_is_the_same_in_all_epochs_has_a_line_and_no_panel(assert_clear):
    def said(figure):
        return figure.legends[0].get_title().get_text()

    log = {"train_loss": [2.0, 2.0], "val_f1": [0.5, 0.5], "train_f1": [0.5, 0.5], "learning_rate": [0.1, 0.1]}
    figure = plot_history({**log, "skipped_steps": [0, 0], "rollbacks": [0, 1]})
    assert [axes.get_title() for axes in figure.axes] == ["Total loss", "Rollbacks"]  # the first one always has
    assert said(figure) == "the same in all epochs: f1 0.5, learning rate 0.1, skipped steps 0"
    assert_clear(figure)
    assert said(plot_history({name: values[:1] for name, values in log.items()})) == ""


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_it_is_written_in_each_format(tmp_path, ending):
    plot_history(HISTORY).savefig(tmp_path / f"curves.{ending}")
    assert (tmp_path / f"curves.{ending}").stat().st_size > 1000


def test_the_best_epoch_of_an_experiment_is_marked(experiment):
    def marked(figure):
        return [text.get_text() for text in figure.legends[0].get_texts() if "best" in text.get_text()]

    assert marked(plot_history(experiment)) == ["best epoch (1)"]  # validation of the second was not written
    assert marked(plot_history(experiment, best_epoch=2)) == ["best epoch (2)"]
    assert marked(plot_history(HISTORY)) == []


@pytest.mark.parametrize(("rates", "scale"), [([0.1, 0.0], "linear"), ([NAN, NAN], "linear"), ([INF, 0.1], "log")])
def test_any_learning_rate_can_be_drawn(pixels, rates, scale):
    figure = plot_history({"train_loss": [1.0, 1.0], "learning_rate": rates})
    assert figure.axes[1].get_yscale() == scale
    pixels(figure)


@pytest.mark.parametrize("count", [1, 4])
def test_the_legend_covers_nothing_and_nothing_is_cut_off_or_overlaps(count, assert_clear):
    history = {f"{part}_{k}": [1e6, 1e-6] for k in range(count) for part in ("train", "val")}
    assert_clear(plot_history(history, "a unit"))


@pytest.mark.parametrize("epochs", [1, 2, 3, 10, 99, 1000])
def test_epochs_are_whole_numbers_from_the_first_to_the_last(epochs):
    axes = plot_history({"train_loss": [1.0] * epochs}).axes[0]
    ticks = axes.get_xticks().tolist()
    assert ticks
    assert all(tick == int(tick) and 1 <= tick <= epochs for tick in ticks)
    assert len(ticks) <= 11
    left, right = axes.get_xlim()
    assert left < 1 <= epochs < right


def test_the_components_of_a_traffic_history_are_of_validation_data():
    history = {
        "train_loss": [3.0, 2.0],
        "val_loss": [3.0, 2.0],
        "learning_rate": [0.1, 0.01],
        "skipped_steps": [0.0, 2.0],
        "loss_components": {"traffic": [0.2, 0.1], "context": [0.4, 0.3]},
    }
    panels = {axes.get_title(): axes for axes in plot_history(history).axes}
    assert list(panels) == ["Total loss", "Traffic", "Context", "Learning rate", "Skipped steps"]
    assert [line.get_label() for line in panels["Traffic"].lines] == ["validation"]
    assert panels["Traffic"].lines[0].get_ydata().tolist() == [0.2, 0.1]
    assert panels["Traffic"].get_ylabel() == "mean squared error"
    assert panels["Total loss"].get_ylabel() == "weighted loss"


@pytest.mark.parametrize(
    ("beside", "unit"), [("train_kl_loss", "nats per vector"), ("train_accuracy", "cross-entropy, nats"), ("x", "loss")]
)
def test_the_losses_unit_is_the_recipes_unless_it_is_given(beside, unit):
    history = {"train_loss": [1.0], beside: [1.0]}
    assert plot_history(history).axes[0].get_ylabel() == unit
    assert plot_history(history, "bits").axes[0].get_ylabel() == "bits"


def test_a_result_that_holds_a_history_is_drawn_too():
    assert plot_history({"best_epoch": 1, "history": {"train_loss": [1.0]}}).axes[0].lines[0].get_ydata() == [1.0]


@pytest.mark.parametrize("values", ["12", 3.0, None, [None], ["a"]])
def test_curves_that_are_no_numbers_are_refused(values):
    if values == "12":  # digits would pass for numbers
        values = "1x"
    with pytest.raises(TypeError, match="train_loss must be a list of numbers"):
        plot_history({"train_loss": values})


def test_a_notebook_shows_a_picture_in_its_own_size_whatever_was_loaded_before(tmp_path, monkeypatch):
    """As a cell's last value, by IPython itself; pyplot's inline backend brings a printer of its own."""
    from IPython.core.displayhook import DisplayHook
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output

    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    shell = InteractiveShell.instance()
    try:
        for _ in range(2):
            with capture_output() as shown:
                DisplayHook(shell=shell)(plot_history(HISTORY))
            (picture,) = shown.outputs
            assert base64.b64decode(picture.data["image/png"]).startswith(b"\x89PNG")
            assert picture.metadata == {"image/png": {"width": 840, "height": 350}}
            shell.display_formatter.formatters["image/png"].for_type_by_name(
                "matplotlib.figure", "Figure", lambda figure: b"another"
            )
    finally:
        InteractiveShell.clear_instance()


LOG = "epoch,learning_rate,train_loss,val_loss,seconds\n1,0.1,3.0,4.0,1.5\n2,0.01,2.0,,1.5\n3,0.1"


@pytest.fixture
def experiment(tmp_path):
    made = ExperimentManager(str(tmp_path / "runs"))
    with open(made.log_file, "w") as file:
        file.write(LOG)  # the last row is only half written
    return made


def test_an_experiment_is_drawn_from_its_log_however_it_is_named(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = experiment.experiment_dir
    named = [(experiment, "runs"), (folder, "runs"), (folder + "/", "runs"), ("runs/exp1", "x"), ("exp1", "runs")]
    figures = [plot_history(one, runs_dir=where) for one, where in named]
    monkeypatch.chdir(tmp_path / "runs")
    figures.append(plot_history("exp1"))
    for figure in figures:
        loss = figure.axes[0]
        assert [axes.get_title() for axes in figure.axes] == ["Total loss", "Learning rate"]
        assert loss.lines[0].get_ydata().tolist() == [3.0, 2.0]
        assert loss.lines[0].get_xdata().tolist() == [1, 2]
        assert figure.get_suptitle() == "exp1"


def test_a_name_is_looked_for_in_the_runs_first(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "exp1").mkdir()
    assert plot_history("exp1").axes
    with pytest.raises(ValueError, match=r"exp1.*must hold a log.*train it first"):
        plot_history("./exp1")


def test_without_a_log_the_newest_checkpoint_is_read(tmp_path):
    experiment = ExperimentManager(str(tmp_path))
    loaders = create_dataloaders(np.eye(4, dtype="float32"), None, batch_size=2)
    model = VariationalAutoencoder(4, 2, 4)
    folder = experiment.checkpoints_dir
    history = train_variational_autoencoder(model, *loaders, num_epochs=3, checkpoint_dir=folder, save_every=1)
    assert plot_history(experiment).axes[0].lines[0].get_ydata().tolist() == history["train_loss"]


def test_an_experiment_without_an_epoch_is_refused_naming_the_folder(tmp_path):
    experiment = ExperimentManager(str(tmp_path / "runs"))
    with pytest.raises(ValueError, match=r"runs/exp1' must hold a log.*got none: train it first"):
        plot_history(experiment)
    with pytest.raises(ValueError, match=r"folder of experiments, choose one: exp1"):
        plot_history(tmp_path / "runs")
    with pytest.raises(FileNotFoundError, match=r"no experiment 'exp2'.*there are: exp1"):
        plot_history("exp2", runs_dir=tmp_path / "runs")


def test_a_damaged_log_and_hostile_checkpoints_are_refused_by_name(experiment, tmp_path):
    with open(experiment.log_file, "w") as file:
        file.write("epoch,train_loss\n1,much\n")
    with pytest.raises(ValueError, match=r"training_log\.csv.*damaged"):
        plot_history(experiment)
    other = ExperimentManager(str(tmp_path))
    (tmp_path / "exp1" / "checkpoints" / "latest_checkpoint.pt").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match="none of the 1 checkpoints"):
        plot_history(other)


def test_the_best_epoch_is_marked_in_every_panel_and_once_in_the_legend():
    history = {"train_loss": [3.0, 2.0, 1.0], "val_loss": [3.0, 1.0, 2.0], "learning_rate": [0.1, 0.1, 0.1]}
    figure = plot_history(history, best_epoch=2)
    for axes in figure.axes:
        assert [list(line.get_xdata()) for line in axes.lines if line.get_label() == "best epoch (2)"] == [[2, 2]]
    assert [text.get_text() for text in figure.legends[0].get_texts()].count("best epoch (2)") == 1

"""Experiments side by side: their own curves, each told from the others, with its best epoch."""

import math
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes import ExperimentManager, compare_experiments

NAN, INF = math.nan, math.inf


@pytest.fixture
def runs(tmp_path):
    """Three experiments of different lengths, of which the last one has no accuracy."""
    for accuracies in ((50.0, 70.0, 60.0), (90.0,), ()):
        experiment = ExperimentManager(str(tmp_path / "runs"))
        rows = [f"{k},{3 - k}.5,{value}\n" for k, value in enumerate(accuracies, 1)]
        with open(experiment.log_file, "w") as file:
            file.writelines(["epoch,val_loss,val_accuracy\n", *rows] if rows else ["epoch,val_loss\n1,7.0\n2,6.0\n"])
    return tmp_path / "runs"


def captions(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def curves(figure):
    """The lines of the experiments, without what marks their best epochs."""
    return [line for line in figure.axes[0].lines if not line.get_label().startswith(("_", "not"))]


def best_marks(figure):
    lines = [line for line in figure.axes[0].lines if line.get_label().startswith("_")]
    return [(line.get_xdata()[0], line.get_ydata()[0]) for line in lines]


def test_the_curves_are_the_logs_and_the_best_epoch_is_marked_and_told(runs):
    figure = compare_experiments(["exp1", "exp2"], runs_dir=runs)
    assert [line.get_ydata().tolist() for line in curves(figure)] == [[50.0, 70.0, 60.0], [90.0]]
    assert best_marks(figure) == [(2, 70.0), (1, 90.0)]
    assert captions(figure) == ["exp1: 70% at epoch 2", "exp2: 90% at epoch 1"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("epoch", "%", "Accuracy (validation)")


def test_names_paths_and_managers_are_the_same_experiments(runs, pixels):
    manager = ExperimentManager(str(runs), resume_exp="exp2")
    first = compare_experiments(["exp1", "exp2"], runs_dir=runs)
    assert pixels(first) == pixels(compare_experiments([runs / "exp1", manager]))


def test_the_first_metric_that_all_have_is_drawn_and_its_lowest_value_is_best_of_a_loss(runs):
    figure = compare_experiments(["exp1", "exp2", "exp3"], runs_dir=runs)
    assert figure.axes[0].get_title() == "Total loss (validation)"
    assert best_marks(figure) == [(3, 0.5), (1, 2.5), (2, 6.0)]


@pytest.mark.parametrize(("mode", "best"), [("min", [(1, 1.0)]), ("max", [(2, 3.0)]), (None, [])])
def test_of_another_metric_you_say_which_end_is_best(mode, best):
    figure = compare_experiments({"a": {"val_f1": [1.0, 3.0, 2.0]}}, "val_f1", mode=mode, unit="points")
    assert best_marks(figure) == best
    assert figure.axes[0].get_ylabel() == "points"
    assert len(curves(figure)) == 1


def test_experiments_of_one_name_are_told_by_their_folders(runs, tmp_path):
    other = ExperimentManager(str(tmp_path / "others"))
    with open(other.log_file, "w") as file:
        file.write("epoch,val_loss\n1,2.0\n")
    labels = captions(compare_experiments([runs / "exp1", other]))
    assert labels == [f"{runs / 'exp1'}: 0.5 at epoch 3", f"{os.path.join(tmp_path, 'others', 'exp1')}: 2 at epoch 1"]


def test_what_is_not_finite_is_never_best_and_breaks_nothing(pixels):
    histories = {"a": {"val_loss": [2.0, NAN, -INF, 1.0]}, "b": {"val_loss": [NAN, NAN]}, "c": {"val_loss": [INF, 3.0]}}
    figure = compare_experiments(histories)
    assert best_marks(figure) == [(4, 1.0), (2, 3.0)]
    assert captions(figure) == ["a: 1 at epoch 4", "b", "c: 3 at epoch 2", "not finite"]
    pixels(figure)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.lists(st.floats(width=32), min_size=1, max_size=12), min_size=1, max_size=4))
def test_whatever_is_in_them_the_lines_are_the_histories(values):
    figure = compare_experiments({k: {"val_loss": one} for k, one in enumerate(values)})
    for line, one in zip(curves(figure), values, strict=True):
        np.testing.assert_array_equal(line.get_ydata(), one)
    lowest = [min(filter(math.isfinite, one)) for one in values if any(map(math.isfinite, one))]
    assert [value for _, value in best_marks(figure)] == lowest


@pytest.mark.parametrize(("count", "epochs"), [(1, 1), (12, 1), (12, 40), (45, 3)])
def test_many_are_told_apart_and_the_legend_covers_nothing(count, epochs, assert_clear):
    histories = {f"an experiment {k}": {"val_loss": [k + 1 / e for e in range(1, epochs + 1)]} for k in range(count)}
    figure = compare_experiments(histories)
    looks = {(line.get_color(), line.get_linestyle(), line.get_marker()) for line in curves(figure)}
    assert len(looks) == count
    assert all(line.get_markevery() for line in curves(figure))
    neighbours = list(zip(curves(figure), curves(figure)[1:], strict=False))
    assert all(one.get_linestyle() != other.get_linestyle() for one, other in neighbours)
    assert figure.axes[0].bbox.width > 0.25 * figure.bbox.width
    assert_clear(figure)


@pytest.mark.parametrize(
    ("experiments", "metric", "message"),
    [
        (["exp1", "exp3"], "val_accuracy", "every experiment has; exp3 has no 'val_accuracy', it has val_loss"),
        (["exp1"], "f1", "exp1 has no 'f1', it has val_loss, val_accuracy"),
        (["exp1"], "epoch", "exp1 has no 'epoch'"),
        ([], None, "at least one experiment"),
        ({"a": {"f1": [1.0]}, "b": {}}, None, "in common; a has f1; b has none: choose with metric="),
    ],
)
def test_what_cannot_be_compared_is_refused_naming_what_there_is(runs, experiments, metric, message):
    with pytest.raises(ValueError, match=message):
        compare_experiments(experiments, metric, runs_dir=runs)


def test_what_is_no_list_of_experiments_is_refused(runs):
    with pytest.raises(FileNotFoundError, match=r"no experiment 'exp9'.*there are: exp1, exp2, exp3"):
        compare_experiments(["exp9"], runs_dir=runs)
    with pytest.raises(TypeError, match=r"an experiment must be an ExperimentManager.*got dict"):
        compare_experiments([{"val_loss": [1.0]}])
    with pytest.raises(TypeError, match=r"an experiment must be .*got list"):
        compare_experiments({"val_loss": [1.0]})
    with pytest.raises(ValueError, match=r"mode must be .*got 'best'"):
        compare_experiments(["exp1"], mode="best", runs_dir=runs)

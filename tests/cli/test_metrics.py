"""The command measures metrics by their names, and lets any of them decide."""

import pytest
from support.tables import mixed_table

from ignite_recipes import read_checkpoint, read_training_log
from ignite_recipes.cli import main

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

SMALL = {
    "supervised": ["supervised", "--hidden-dimension", "8"],
    "vae": ["vae", "--hidden-dimension", "8"],
    "traffic": ["traffic", "--hidden-size", "8"],
    "classify": ["classify", "--model", "mlp"],
}
METRICS = {
    "supervised": ("f1,accuracy", "val_f1"),
    "vae": ("r2", "val_r2"),
    "traffic": ("classification_f1,traffic_mae", "val_classification_f1"),
    "classify": ("balanced_accuracy", "val_balanced_accuracy"),
}


@pytest.mark.parametrize("command", SMALL)
def test_the_metrics_are_in_the_log_and_decide_and_a_resume_keeps_them(command, capsys):
    names, monitor = METRICS[command]
    words = [*SMALL[command], "--device", "cpu", "--epochs", "2", "--metrics", names, "--monitor", monitor]
    assert main([*words, "--mode", "max"]) == 0
    assert monitor in capsys.readouterr().out.splitlines()[-1]
    assert main([command, "--resume", "exp1", "--epochs", "3"]) == 0
    log = read_training_log("runs/exp1/training_log.csv")
    assert all(len(log[f"val_{name}"]) == 3 for name in names.split(","))
    best = 1 + max(range(3), key=log[monitor].__getitem__)
    assert read_checkpoint("runs/exp1/checkpoints/best_model.pt")["epoch"] == best
    assert main([command, "--resume", "exp1", "--epochs", "3", "--monitor", "val_loss"]) == 2
    assert "monitor cannot be changed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["vae", "--metrics", "f2"], "must be one of accuracy, balanced_accuracy, f1, auroc, mae, r2; got 'f2'"),
        (["vae", "--monitor", "val_f1"], "got 'val_f1': measure it too"),
        (["vae", "--metrics", "f1", "--monitor", "val_f1", "--mode", "min"], "is better when it is larger"),
        (["vae", "--metrics", "f1", "--mode", "larger"], "mode must be one of min, max; got 'larger'"),
        (["vae", "--metrics", "kl_loss"], "got 'kl_loss'"),
        (["traffic", "--metrics", "f1"], "is of one output: traffic_f1, classification_f1"),
        (["classify", "--metrics", "f1,f1"], "each metric must be named once"),
        (["supervised", "--metrics", "[f1"], "got '[f1'; did you mean 'f1'"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(words, message, capsys, tmp_path):
    assert main([*words, "--device", "cpu", "--epochs", "1"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
    assert not (tmp_path / "runs" / "exp1").exists()


def test_a_table_in_its_own_units(capsys):
    mixed_table(120).write_csv("table.csv")
    words = ["supervised", "table.csv", "--target", "size", "--metrics", "mae", "--monitor", "val_mae", "--epochs", "2"]
    assert main([*words, "--device", "cpu"]) == 0
    assert "(val_mae " in capsys.readouterr().out


def test_a_monitor_that_is_never_a_number_is_told_and_the_run_is_kept(capsys):
    words = ["supervised", "--hidden-dimension", "8", "--epochs", "1", "--metrics", "r2", "--monitor", "val_r2"]
    assert main([*words, "--device", "cpu"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("ignite-recipes: no epoch of runs/exp1 had a finite val_r2, so there is no best epoch")
    assert read_checkpoint("runs/exp1/checkpoints/latest_checkpoint.pt")["epoch"] == 1


def test_a_configuration_may_list_them(tmp_path, capsys):
    (tmp_path / "some.yaml").write_text("metrics: [r2, mae]\nmonitor: val_mae\nepochs: 1\nhidden_dimension: 8\n")
    assert main(["vae", "--config", "some.yaml", "--device", "cpu"]) == 0
    assert {"val_r2", "val_mae"} <= read_training_log("runs/exp1/training_log.csv").keys()
    assert "Best val_mae" in capsys.readouterr().out

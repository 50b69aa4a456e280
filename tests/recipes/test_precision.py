"""precision="auto": what measures fastest is picked, said, kept, and never measured again.

No test depends on how long anything takes: the seconds are given.
"""

import logging
import os
from pathlib import Path

import pytest
import torch
import yaml
from support.commands import latest, run, settings_of, train
from support.equality import equal, weights
from support.small_recipes import RECIPES, classifier, every_recipe, vae
from support.stops import CutAfter, CutError

from ignite_recipes import ExperimentManager, read_checkpoint, recipe_trainer, train_model_advanced
from ignite_recipes.finding import precision as finding

QUICK = {"bfloat16": {"float32": 0.004, "bfloat16": 0.003}, "float32": {"float32": 0.004, "bfloat16": 0.0039}}
"""What is measured where each of them is picked: bfloat16 must gain more than timings differ by."""


@pytest.fixture
def measured(monkeypatch, tmp_path):
    """``measured(seconds)``: what the trial finds from now on; a list of how often it was asked."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "has_bfloat16", lambda device: True)
    asked = []

    def give(seconds):
        def seconds_per_step(trainer, loader):
            asked.append(trainer)
            return seconds

        monkeypatch.setattr(finding, "seconds_per_step", seconds_per_step)
        return asked

    return give


def metadata(path):
    return read_checkpoint(path)["metadata"]


@every_recipe
@pytest.mark.parametrize("fastest", QUICK)
def test_the_fastest_is_trained_with_said_and_saved(recipe, fastest, measured, caplog):
    asked = measured(QUICK[fastest])
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        _, _, path = recipe(1, precision="auto")
    (said,) = [record.getMessage() for record in caplog.records if "precision='auto'" in record.getMessage()]
    assert said.startswith(f"precision='auto' is {fastest}: a step takes 4 ms in float32, 3")
    assert len(asked) == 1
    assert metadata(path)["precision"] == fastest


def test_a_processor_without_bfloat16_trains_in_float32_and_measures_nothing(measured, monkeypatch, caplog):
    asked = measured(QUICK["bfloat16"])
    monkeypatch.setattr(finding, "has_bfloat16", lambda device: False)
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        _, _, path = vae(1, precision="auto")
    assert not asked
    assert metadata(path)["precision"] == "float32"
    assert "precision='auto' is float32: cpu does not compute in bfloat16 itself" in caplog.text


def test_a_step_that_cannot_be_computed_in_bfloat16_is_computed_in_float32(monkeypatch, tmp_path, caplog):
    class Picky(torch.nn.Linear):
        def forward(self, x):
            if torch.is_autocast_enabled("cpu"):
                raise RuntimeError("not implemented for 'BFloat16'")
            return super().forward(x)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(finding, "has_bfloat16", lambda device: True)
    x = torch.rand(16, 3)
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        train_model_advanced(Picky(3, 1), [(x, x[:, :1])], epochs=1, device="cpu", verbose=False, precision="auto")
    assert "is float32: a step cannot be computed in bfloat16" in caplog.text


def test_what_float32_cannot_compute_is_an_error_as_in_the_run(monkeypatch, tmp_path):
    monkeypatch.setattr(finding, "has_bfloat16", lambda device: True)
    x = torch.rand(16, 3)
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        train_model_advanced(
            torch.nn.Linear(4, 1), [(x, x[:, :1])], epochs=1, device="cpu", verbose=False, precision="auto"
        )


@pytest.mark.parametrize("name", ["vae", "supervised", "traffic"])
def test_a_resumed_run_keeps_its_precision_and_ends_with_the_same_bits(name, measured):
    asked = measured(QUICK["bfloat16"])
    recipe = RECIPES[name]
    os.mkdir("whole")
    os.chdir("whole")
    whole, history, _ = recipe(2, precision="auto")
    os.mkdir("cut")
    os.chdir("cut")
    with pytest.raises(CutError):
        recipe(2, precision="auto", save_every_iterations=1, handlers=[CutAfter(4)])
    assert len(asked) == 2
    measured(QUICK["float32"])  # another machine, or another moment
    saved = Path("saved") / ("model_latest.pt" if name == "supervised" else "latest_checkpoint.pt")
    model, its_history, path = recipe(2, precision="auto", resume_from=str(saved))
    assert len(asked) == 2
    assert metadata(path)["precision"] == "bfloat16"
    assert equal(weights(model), weights(whole))
    assert its_history == history


def test_so_does_a_resumed_classifier(measured):
    asked = measured(QUICK["bfloat16"])
    trainer = classifier(precision="auto")
    trainer.train(2)
    with pytest.raises(CutError):
        classifier(precision="auto", save_every_iterations=1, handlers=[CutAfter(4)]).train(2)
    assert len(asked) == 2
    measured(QUICK["float32"])
    resumed = classifier(experiment=ExperimentManager(resume_exp="exp2"), precision="auto")
    results = resumed.train(2)
    assert len(asked) == 2
    assert results["history"] == trainer.history
    assert equal(weights(resumed.model), weights(trainer.model))
    assert settings_of("exp1")["precision"] == settings_of("exp2")["precision"] == "bfloat16"


def test_a_loop_of_ones_own_trains_with_it_too(measured):
    asked = measured(QUICK["bfloat16"])
    trainer = classifier(precision="auto")
    trainer.train_epoch(1)
    trainer.train_epoch(2)
    assert len(asked) == 1
    told = classifier(precision="bfloat16")
    told.train_epoch(1)
    told.train_epoch(2)
    assert equal(weights(trainer.model), weights(told.model))


def test_a_run_that_was_told_its_precision_is_resumed_with_auto(measured):
    asked = measured(QUICK["float32"])
    vae(1, precision="bfloat16")
    _, _, path = vae(2, precision="auto", resume_from="saved/checkpoint_epoch_1.pt")
    assert not asked
    assert metadata(path)["precision"] == "bfloat16"


@pytest.mark.parametrize("recipe", ["classify", "supervised"])
def test_the_command_writes_what_was_picked_into_the_settings(recipe, measured, capsys):
    asked = measured(QUICK["bfloat16"])
    train(capsys, recipe, "--epochs", "1", "--precision", "auto")
    assert settings_of("exp1")["precision"] == latest("exp1")["metadata"]["precision"] == "bfloat16"
    assert "precision='auto' is bfloat16: a step takes 4 ms" in Path("runs/exp1/run.log").read_text()
    measured(QUICK["float32"])
    code, _, err = run(capsys, recipe, "--resume", "exp1", "--epochs", "2", "--precision", "auto")
    assert code == 0, err
    assert settings_of("exp1")["precision"] == latest("exp1")["metadata"]["precision"] == "bfloat16"
    assert len(asked) == 1


def test_the_check_of_resumes_measures_once(measured, capsys):
    asked = measured(QUICK["bfloat16"])
    code, out, err = run(
        capsys, "resume-check", "supervised", "--epochs", "1", "--hidden-dimension", "8", "--batch-size", "512",
        "--device", "cpu", "--precision", "auto",
    )  # fmt: skip
    assert code == 0, out + err
    assert len(asked) == 1


def test_an_experiment_in_python_has_it_in_its_settings(measured):
    measured(QUICK["bfloat16"])
    x = torch.rand(32, 3)
    model = torch.nn.Linear(3, 1)
    train_model_advanced(
        model, (x, x[:, :1]), epochs=1, device="cpu", verbose=False, precision="auto", experiment="runs"
    )
    assert yaml.safe_load(Path("runs/exp1/config.yaml").read_text())["precision"] == "bfloat16"


def test_a_trainer_that_is_taken_out_of_its_recipe_has_it(measured):
    measured(QUICK["bfloat16"])
    x = torch.rand(32, 3)
    trainer, _ = recipe_trainer(
        train_model_advanced, torch.nn.Linear(3, 1), (x, x[:, :1]), epochs=1, device="cpu", precision="auto"
    )
    assert trainer.updates.first.precision.dtype == torch.bfloat16
    assert trainer.metadata["precision"] == "bfloat16"


def test_another_word_is_refused_with_the_choices():
    with pytest.raises(ValueError, match="float16, auto; got 'fastest'"):
        train_model_advanced(None, None, precision="fastest")

"""The examples of the documents: each is short, learns, and is resumed to the bit wherever it was cut."""

import runpy
import sys

import pytest
import torch
from ignite.engine import Events
from support.cuts import check_cuts
from support.examples import FOLDER, SMALL, make_small, module

from ignite_recipes import MixedPrecisionTrainer
from ignite_recipes.engine.window import Window

EPOCHS = 2
SCALED = sorted(SMALL.keys() - {"lbfgs"})  # a closure has no one scale


def test_every_example_is_tried():
    assert {path.stem for path in FOLDER.glob("*.py")} - set(SMALL) <= {
        path.stem for path in FOLDER.glob("ignite_*.py")
    }


@pytest.mark.parametrize("name", SMALL)
def test_an_example_is_short(name):
    assert len((FOLDER / f"{name}.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", SMALL)
def test_an_example_is_resumed_to_the_bit_from_every_cut(tmp_path, name):
    check_cuts(lambda: make_small(name), tmp_path, EPOCHS)


@pytest.mark.slow
@pytest.mark.parametrize("name", SCALED)
def test_also_in_float16(tmp_path, name):
    def make():
        trainer, loader = make_small(name)
        MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)
        return trainer, loader

    trainer = check_cuts(make, tmp_path, EPOCHS)
    scale = next(iter(trainer.updates.values())).precision.scaler.get_scale()
    assert scale > 1
    assert trainer.progress.optimizer_steps > 0


def test_an_optimizer_with_a_closure_runs_in_bfloat16(tmp_path):
    def make():
        trainer, loader = make_small("lbfgs")
        MixedPrecisionTrainer(device="cpu", dtype=torch.bfloat16).attach(trainer)
        return trainer, loader

    check_cuts(make, tmp_path, EPOCHS)
    trainer, _ = make_small("lbfgs")
    with pytest.raises(ValueError, match="bfloat16"):
        MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)


@pytest.mark.slow
@pytest.mark.parametrize("precision", [None, torch.float16])
@pytest.mark.parametrize("name", SCALED)
def test_also_accumulated(tmp_path, name, precision):
    def make():
        trainer, loader = make_small(name)
        for update in trainer.updates.values():
            update.window = Window(2)
        if precision is not None:
            MixedPrecisionTrainer(device="cpu", dtype=precision).attach(trainer)
        return trainer, loader

    check_cuts(make, tmp_path, EPOCHS)


@pytest.mark.parametrize(("name", "epochs", "at_most"), [("wgan_gp", 30, 0.5), ("dcgan", 6, 0.9)])
def test_a_generator_learns_what_digits_look_like_on_the_whole(name, epochs, at_most):
    example = module(name)
    images = example.images()[:400]
    trainer, loader = example.make_run(images, 32)

    @torch.no_grad()
    def distance():
        fake = trainer.model["generator"].eval()(
            torch.randn(500, example.LATENT, generator=torch.Generator().manual_seed(0))
        )
        trainer.model["generator"].train()
        return (fake.mean(0) - images.mean(0)).norm().item()

    before = distance()
    trainer.run(loader, max_epochs=epochs)
    assert distance() < at_most * before


def test_the_walker_learns_to_go_right():
    trainer, loader = module("actor_critic").make_run(module("actor_critic").starts())
    rewards = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rewards.append(trainer.state.output["reward"].item()))
    trainer.run(loader, max_epochs=4)
    assert rewards[0] < 0.85 < 0.93 < min(rewards[-5:])


def test_lbfgs_learns():
    trainer, loader = module("lbfgs").make_run(module("lbfgs").patients())
    assert trainer.run(loader, max_epochs=1).metrics["loss"] > 0.9
    assert trainer.run(loader, max_epochs=6).metrics["loss"] < 0.5


def test_the_student_learns_from_the_teacher():
    trainer, loader = module("distillation").make_run(module("distillation").digits())
    first = trainer.run(loader, max_epochs=1).metrics["loss"]
    assert trainer.run(loader, max_epochs=8).metrics["loss"] < first / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_an_example_runs_as_a_program(monkeypatch, capsys, name):
    monkeypatch.setattr(sys, "argv", [name])
    runpy.run_path(str(FOLDER / f"{name}.py"), run_name="__main__")
    assert "loss" in capsys.readouterr().out

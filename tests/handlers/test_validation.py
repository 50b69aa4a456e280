"""Validation measures the model after every epoch and changes nothing about its training."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignite_recipes import (
    EpochAverages,
    History,
    Validation,
    create_evaluator,
    restore_run,
    run_state,
    write_checkpoint,
)


def a_net():
    """With everything that validation could disturb: running statistics, dropout, modules in two modes."""
    torch.manual_seed(3)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.Linear(4, 1))
    return net


def a_validation(task, model, loss_fn=None, **kwargs):
    evaluator = create_evaluator(model, loss_fn or task.loss_fn)
    EpochAverages().attach(evaluator)
    return Validation(evaluator, task.batches[:2], **kwargs)


def test_it_gives_the_loss_of_the_whole_validation_set_under_its_prefix(task):
    trainer = task.trainer(a_net())
    validation = a_validation(task, trainer.model, prefix="test_")
    assert validation.attach(trainer) is validation
    trainer.run(task.batches, max_epochs=2)
    inputs, targets = (torch.cat(tensors) for tensors in zip(*task.batches[:2], strict=True))
    expected = task.loss_fn(trainer.model.eval(), inputs, (inputs, targets))["loss"].item()
    assert trainer.state.metrics["test_loss"] == pytest.approx(expected, rel=1e-6)
    assert "loss" not in trainer.state.metrics


def test_training_with_it_is_to_the_bit_training_without_it(task):
    weights = []
    for validated in (True, False):
        trainer = task.trainer(a_net())
        if validated:
            a_validation(
                task, trainer.model, lambda *step: {"loss": task.loss_fn(*step)["loss"] + torch.rand(())}
            ).attach(trainer)
        trainer.run(task.batches, max_epochs=3)
        weights.append(task.weights(trainer.model))
    assert task.same(*weights)


def test_every_module_is_back_in_its_mode_afterwards(task):
    model = a_net()
    model[1].eval()
    validation = a_validation(task, model)
    modes = []
    model[2].register_forward_hook(lambda module, args, output: modes.append(module.training))
    validation(Engine(lambda engine, batch: None))
    assert modes == [False, False]
    assert [module.training for module in model] == [True, False, True, True]


def test_a_loss_that_is_sampled_draws_the_same_numbers_in_every_epoch_and_others_for_another_seed(task):
    def noise(model, inputs, batch):
        return {"loss": torch.rand(())}

    curves = []
    for seed in (1, 1, 2):
        trainer = task.trainer(seed=seed)
        a_validation(task, trainer.model, noise).attach(trainer)
        history = History(["val_loss"]).attach(trainer)
        trainer.run(task.batches, max_epochs=3)
        curves.append(history.epochs["val_loss"])
    assert curves[0] == curves[1] == [curves[0][0]] * 3
    assert curves[0] != curves[2]


def test_a_resumed_run_measures_what_the_uninterrupted_one_does(task, tmp_path):
    def make():
        trainer = task.trainer(a_net())
        a_validation(task, trainer.model, lambda *step: {"loss": task.loss_fn(*step)["loss"] + torch.rand(())}).attach(
            trainer
        )
        return trainer, History(["val_loss"]).attach(trainer)

    (whole, expected), (first, _), (second, history) = make(), make(), make()
    whole.run(task.batches, max_epochs=4)
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=4)
    assert history.epochs == expected.epochs


def test_engines_of_ones_own_may_be_trainer_and_evaluator():
    evaluator = Engine(lambda engine, batch: batch)

    @evaluator.on(Events.EPOCH_COMPLETED)
    def measure(engine):
        engine.state.metrics["accuracy"] = engine.state.output

    trainer = Engine(lambda engine, batch: None)
    Validation(evaluator, [0.5, 0.75]).attach(trainer)
    assert trainer.run([0, 0, 0], max_epochs=2).metrics == {"val_accuracy": 0.75}

"""Inside preserve_run a trainer is run; after it nothing of that is left, in memory or in files."""

import pytest
import torch
from ignite.engine import Events
from ignite.handlers import FastaiLRFinder
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    BestCheckpoint,
    Checkpointing,
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteGuard,
    Rollback,
    TensorBoardLog,
    TrainEvents,
    TrainingLog,
    Validation,
    create_evaluator,
    create_trainer,
    preserve_run,
    run_state,
)
from ignite_recipes.checkpoint.resume_check import first_difference

X = torch.randn(40, 3, generator=torch.Generator().manual_seed(0))
DATA = TensorDataset(X, X.sum(1, keepdim=True))


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def with_everything(folder):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    trainer = create_trainer(model, optimizer, loss_fn, seed=1)
    NoiseAugmentation(0.1).attach(trainer)
    GradientClipper(1.0).attach(trainer)
    NonFiniteGuard().attach(trainer)
    Rollback().attach(trainer)
    ExponentialMovingAverage(0.9).attach(trainer)
    evaluator = create_evaluator(model, loss_fn)
    EpochAverages().attach(evaluator)
    Validation(evaluator, DataLoader(DATA, 20)).attach(trainer)
    EpochAverages("train_").attach(trainer)
    LearningRateScheduler(optimizer, "onecycle", total_steps=60).attach(trainer)
    EarlyStopping(2, verbose=False).attach(trainer)
    History(["train_loss", "val_loss"]).attach(trainer)
    for handler in (TrainingLog(folder / "log.csv"), TensorBoardLog(folder), Checkpointing(folder)):
        handler.attach(trainer)
    BestCheckpoint(folder / "best.pt").attach(trainer)
    return trainer


def loader():
    return DataLoader(DATA, 8, shuffle=True)


def files(folder):
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def finder_of(trainer):
    finder = FastaiLRFinder()
    parts = {"model": trainer.model, "optimizer": trainer.optimizer}
    return finder, finder.attach(trainer, parts, lambda losses: losses["loss"].item(), num_iter=20, end_lr=1e6)


def find_a_rate(trainer):
    finder, attached = finder_of(trainer)
    with attached as inside:
        inside.run(loader())
    assert len(finder.get_results()["lr"]) > 5


def train_longer(trainer):
    trainer.run(loader(), max_epochs=3)


def diverge(trainer):
    with torch.no_grad():
        next(trainer.model.parameters()).fill_(float("nan"))
    trainer.run(loader(), max_epochs=9)


def interrupted(trainer):
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: 1 / 0)
    trainer.run(loader(), max_epochs=3)


USES = {"a finder of Ignite's": find_a_rate, "a run": train_longer, "NaN": diverge, "an error": interrupted}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("epochs", [0, 2])
def test_nothing_is_left_and_the_run_that_follows_has_the_same_bits(use, epochs, tmp_path):
    expected, trainer = with_everything(tmp_path / "whole"), with_everything(tmp_path / "tried")
    for one in (expected, trainer):
        if epochs:
            one.run(loader(), max_epochs=epochs)
    before, handed_over = files(tmp_path / "tried"), {k: v.clone() for k, v in trainer.model.state_dict().items()}
    try:
        with preserve_run(trainer):
            use(trainer)
    except (ArithmeticError, ZeroDivisionError):
        assert use in (diverge, interrupted)
    assert files(tmp_path / "tried") == before
    assert first_difference(run_state(expected), run_state(trainer)) is None
    assert all(torch.equal(value, handed_over[name]) for name, value in trainer.model.state_dict().items())
    assert trainer.state.metrics == expected.state.metrics
    assert (trainer.state.epoch, trainer.state.iteration) == (expected.state.epoch, expected.state.iteration)
    assert all(parameter.grad is None for parameter in trainer.model.parameters())
    for one in (expected, trainer):
        one.run(loader(), max_epochs=4)
    assert first_difference(run_state(expected), run_state(trainer)) is None


def test_inside_it_only_what_belongs_to_a_step_acts_and_what_is_attached_there_is_gone(tmp_path):
    trainer, calls = with_everything(tmp_path), []
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY, lambda: calls.append("gradients"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: calls.append("epoch"))
    with preserve_run(trainer) as inside:
        inside.add_event_handler(Events.ITERATION_COMPLETED, lambda: calls.append("inside"))
        inside.run(loader(), max_epochs=1)
    assert calls == ["gradients", "inside"] * 5
    calls.clear()
    trainer.run(loader(), max_epochs=1)
    assert calls == ["gradients"] * 5 + ["epoch"]


def test_parts_precision_and_groups_that_come_in_the_block_go_with_it(tmp_path):
    expected, trainer = with_everything(tmp_path / "whole"), with_everything(tmp_path / "tried")
    average = ExponentialMovingAverage(0.5)
    with preserve_run(trainer):
        MixedPrecisionTrainer(device="cpu", dtype=torch.bfloat16).attach(trainer)
        average.attach(trainer)
        trainer.optimizer.add_param_group({"params": [nn.Parameter(torch.zeros(1))]})
        trainer.metadata["tried"] = True
        trainer.run(loader(), max_epochs=2)
    assert list(trainer.parts) == list(expected.parts)
    assert trainer.updates.first.precision is None
    assert len(trainer.optimizer.param_groups) == 1
    assert trainer.metadata == {}
    average.attach(with_everything(tmp_path / "another"))  # it belongs to no run
    for one in (expected, trainer):
        one.run(loader(), max_epochs=2)
    assert first_difference(run_state(expected), run_state(trainer)) is None


def test_a_model_with_lazy_layers_is_refused():
    model = nn.LazyLinear(1)
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn)
    with pytest.raises(ValueError, match="got lazy layers: give it one batch first"), preserve_run(trainer):
        pass


def test_a_run_that_was_left_inside_an_epoch_continues_there(tmp_path):
    expected, trainer = with_everything(tmp_path / "whole"), with_everything(tmp_path / "tried")
    for one in (expected, trainer):
        one.add_event_handler(Events.ITERATION_COMPLETED(once=7), one.terminate)
        one.run(loader(), max_epochs=3)
    with preserve_run(trainer):
        train_longer(trainer)
    for one in (expected, trainer):
        one.run(loader(), max_epochs=3)
    assert first_difference(run_state(expected), run_state(trainer)) is None


def test_another_engine_is_refused():
    from ignite.engine import Engine

    with pytest.raises(TypeError, match="must be one of create_trainer"), preserve_run(Engine(lambda e, b: None)):
        pass

"""Validation measures the model after every epoch and changes nothing about its training."""

import math
import tempfile
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from torch import nn

from ignite_recipes import (
    BestCheckpoint,
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    History,
    LearningRateScheduler,
    TrainingLog,
    TrainingStep,
    Validation,
    check_resume,
    create_evaluator,
    create_trainer,
    read_training_log,
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


def a_validated(task, values=None, **rhythm):
    """A trainer of ours, its evaluator, and the iterations at which it has validated."""
    trainer, seen = task.trainer(), []
    evaluator = create_evaluator(trainer.model, task.loss_fn)
    EpochAverages().attach(evaluator)
    evaluator.add_event_handler(Events.COMPLETED, lambda: seen.append(trainer.state.iteration))
    validation = Validation(evaluator, task.batches[:2], **rhythm).attach(trainer)
    return trainer, validation, seen


def test_a_history_of_what_is_measured_now_and_then_alone_has_an_entry_an_epoch(task):
    trainer, _, _ = a_validated(task, every=2)
    history = History(["val_loss"]).attach(trainer)
    trainer.run(task.batches, max_epochs=5)
    assert [math.isnan(value) for value in history.epochs["val_loss"]] == [True, False, True, False, True]


def test_every_few_epochs_or_iterations(task):
    for rhythm, expected in ({"every": 2}, [8, 16]), ({"every_iterations": 3}, [3, 6, 9, 12, 15, 18]):
        trainer, validation, seen = a_validated(task, **rhythm)
        trainer.run(task.batches, max_epochs=5)
        assert seen == expected[: 20 // 3]
        assert next(iter(rhythm)) in repr(validation)
    with pytest.raises(ValueError, match="got both"):
        a_validated(task, every=2, every_iterations=3)
    with pytest.raises(ValueError, match="every must be a whole number of epochs, at least 1; got 0"):
        a_validated(task, every=0)


class Everything:
    """What decides or records, each with what it came to."""

    def __init__(self, trainer, folder):
        self.stopping = EarlyStopping(2, 0.0, verbose=False).attach(trainer)
        self.schedule = LearningRateScheduler(trainer.optimizer, "plateau", patience=0, factor=0.5).attach(trainer)
        self.best = BestCheckpoint(folder / "best.pt").attach(trainer)
        self.history = History(["val_loss", "learning_rate"]).attach(trainer)
        self.log = TrainingLog(folder / "log.csv").attach(trainer)


@pytest.mark.parametrize("by", ["every=2", "an event filter"])
def test_nobody_decides_twice_on_what_was_measured_once(task, tmp_path, by):
    values = iter([5.0, 4.0, 3.0, 2.0])
    trainer = task.trainer()

    def measure():
        trainer.state.metrics["val_loss"] = next(values)

    if by == "every=2":
        evaluator = Engine(lambda engine, batch: None)
        evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(loss=next(values)))
        Validation(evaluator, [0], every=2).attach(trainer)
    else:
        trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), measure)
    found = Everything(trainer, tmp_path)
    trainer.run(task.batches, max_epochs=8)
    assert trainer.state.epoch == 8  # a loss that falls each time it is measured stops nothing, and no rate falls
    assert (found.stopping.wait, found.stopping.best_epoch, found.best.best_epoch) == (0, 8, 8)
    assert found.schedule.get_lr() == 0.1
    expected = "[nan, 5.0, nan, 4.0, nan, 3.0, nan, 2.0]"
    assert str(found.history.epochs["val_loss"]) == expected
    assert str(read_training_log(found.log.path)["val_loss"]) == expected
    assert len(found.history.epochs["learning_rate"]) == 8


@pytest.mark.parametrize("make", ["a plain engine", "our step on an engine"])
def test_on_an_engine_of_ones_own_nobody_decides_twice_either(task, make):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    if make == "a plain engine":
        engine = task.own_engine(model, optimizer, events=False)
        engine._process_function = lambda engine, batch: None
    else:
        engine = Engine(TrainingStep(model, optimizer, task.loss_fn))
    values = iter([5.0, 4.0, 3.0, 2.0])
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(Events.COMPLETED, lambda: evaluator.state.metrics.update(loss=next(values)))
    Validation(evaluator, [0], every=3).attach(engine)
    schedule = LearningRateScheduler(optimizer, "plateau", patience=0).attach(engine)
    stopping = EarlyStopping(2, 0.0, verbose=False).attach(engine, model=model)
    history = History(["val_loss"]).attach(engine)
    engine.run(task.batches, max_epochs=12)
    assert (engine.state.epoch, stopping.best_epoch, schedule.get_lr()) == (12, 12, 0.1)
    assert str(history.epochs["val_loss"]) == "[nan, nan, 5.0, nan, nan, 4.0, nan, nan, 3.0, nan, nan, 2.0]"


def test_a_name_that_is_wrong_is_told_at_the_first_epoch_that_measures(task):
    trainer, _, _ = a_validated(task)
    EarlyStopping(2, verbose=False).attach(trainer, "vall_loss")
    with pytest.raises(RuntimeError, match="the metric 'vall_loss' must be in"):
        trainer.run(task.batches, max_epochs=1)


@pytest.mark.parametrize("rhythm", [{"every": 2}, {"every_iterations": 3}])
def test_the_rhythm_is_kept_by_a_resume_and_changes_no_bit(task, rhythm):
    def make_run():
        trainer, _, _ = a_validated(task, **rhythm)
        ExponentialMovingAverage(0.9).attach(trainer)
        EarlyStopping(9, 0.0, verbose=False).attach(trainer)
        History(["val_loss"]).attach(trainer)
        return trainer, task.batches

    cuts = [(epoch, batch) for epoch in (1, 2, 3, 4) for batch in (1, 2, 3, 4)][:-1]
    report = check_resume(make_run, max_epochs=4, cuts=cuts)
    assert report.is_exact, str(report)
    bare = task.trainer()
    bare.run(task.batches, max_epochs=4)
    trainer, _ = make_run()
    trainer.run(task.batches, max_epochs=4)
    assert task.same(dict(run_state(trainer)["model_state_dict"]), task.weights(bare.model))


def test_inside_epochs_the_averaged_weights_are_measured(task):
    trainer, validation, _ = a_validated(task, every_iterations=3)
    average = ExponentialMovingAverage(0.5, warmup=False).attach(trainer)
    seen = []
    validation.evaluator.add_event_handler(
        Events.STARTED,
        lambda: seen.append(task.same(task.weights(trainer.model), dict(average.state_dict()["weights"]))),
    )
    trainer.run(task.batches, max_epochs=2)
    assert seen == [True, True]


@given(
    st.lists(st.one_of(st.floats(0, 3), st.just(math.nan)), min_size=1, max_size=12),
    st.sampled_from([0.0, 1e-4, 0.3]),
    st.sampled_from(["min", "max"]),
)
def test_the_best_file_is_of_the_best_epoch_of_early_stopping(values, min_delta, mode):
    draw = torch.ones(2, 1)
    model = nn.Linear(1, 1)
    trainer = create_trainer(
        model, torch.optim.SGD(model.parameters(), lr=0.1), lambda m, x, batch: {"loss": m(x).square().mean()}, seed=0
    )
    measured = iter(values)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update(val_loss=next(measured)))
    with tempfile.TemporaryDirectory() as folder:
        best = BestCheckpoint(Path(folder, "best.pt"), mode=mode).attach(trainer)
        stopping = EarlyStopping(None, min_delta, verbose=False, mode=mode).attach(trainer)
        trainer.run([draw], max_epochs=len(values))
        assert best.best_epoch == stopping.best_epoch

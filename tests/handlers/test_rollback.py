"""A run whose numbers go wrong goes back to its last epoch and on with a smaller learning rate, reproducibly."""

import pytest
import torch
from ignite.engine import Events
from torch.optim import lr_scheduler

from ignite_recipes import (
    Checkpointing,
    EpochAverages,
    History,
    LearningRateScheduler,
    NonFiniteError,
    NonFiniteGuard,
    Rollback,
    TrainingLog,
    read_training_log,
    restore_run,
    run_state,
    write_checkpoint,
)


def a_run(task, folder=None, *, worst=0.15, from_iteration=6, schedule=None, lr=0.4, **settings):
    """A run whose loss is infinite whenever the learning rate is above ``worst``, from some iteration on."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr, momentum=0.5)

    def loss_fn(m, x, batch):
        bad = trainer.state.iteration >= from_iteration and optimizer.param_groups[0]["lr"] > worst
        return {"loss": task.loss_fn(m, x, batch)["loss"] * (float("inf") if bad else 1.0)}

    trainer = task.trainer(model, optimizer, loss_fn=loss_fn)
    NonFiniteGuard().attach(trainer)
    rollback = Rollback(**settings).attach(trainer)
    EpochAverages("train_").attach(trainer)
    if schedule is not None:
        LearningRateScheduler(optimizer, schedule(optimizer)).attach(trainer, "train_loss")
    history = History(["train_loss", "learning_rate"]).attach(trainer)
    if folder is not None:
        TrainingLog(folder / "log.csv").attach(trainer)
        Checkpointing(folder, "run.pt").attach(trainer)
    return trainer, rollback, history


def test_it_goes_back_to_the_end_of_the_last_epoch_with_ever_smaller_rates(task, tmp_path, caplog):
    trainer, rollback, history = a_run(task, tmp_path)
    trainer.run(task.batches, max_epochs=4)
    assert rollback.num_rollbacks == 2
    assert history.epochs["learning_rate"] == [0.4, 0.1, 0.1, 0.1]
    assert read_training_log(tmp_path / "log.csv")["train_loss"] == history.epochs["train_loss"]
    assert "Back to the end of epoch 1, with the learning rate 0.2 (rollback 1 of at most 3)" in caplog.text
    assert "epoch 2, iteration 6" in caplog.text


def test_the_run_is_the_one_that_had_the_smaller_rate_from_that_epoch_on(task):
    trainer, _, history = a_run(task)
    trainer.run(task.batches, max_epochs=3)
    other, _, expected = a_run(task, worst=1.0)
    other.run(task.batches, max_epochs=1)
    other.optimizer.param_groups[0]["lr"] = 0.1
    other.run(task.batches, max_epochs=3)
    assert task.same(task.weights(trainer.model), task.weights(other.model))
    assert history.epochs == expected.epochs


def test_in_the_first_epoch_it_goes_back_to_the_beginning(task, caplog):
    trainer, rollback, history = a_run(task, from_iteration=2)
    trainer.run(task.batches, max_epochs=2)
    assert rollback.num_rollbacks == 2
    assert history.epochs["learning_rate"] == [0.1, 0.1]
    assert "Back to the start of the run, with the learning rate" in caplog.text


def test_after_the_last_rollback_the_error_comes_through_with_finite_weights(task):
    trainer, rollback, _ = a_run(task, worst=0.0, max_rollbacks=2)
    with pytest.raises(NonFiniteError, match=r"iteration 6: the loss is inf.*2 rollbacks did not help"):
        trainer.run(task.batches, max_epochs=3)
    assert rollback.num_rollbacks == 2
    assert all(value.isfinite().all() for value in task.weights(trainer.model).values())


def test_other_errors_are_none_of_its_business(task):
    trainer, rollback, _ = a_run(task)
    with pytest.raises(TypeError):
        trainer.run([*task.batches[:2], None], max_epochs=2)
    assert rollback.num_rollbacks == 0


SCHEDULES = {
    "step": lambda o: lr_scheduler.StepLR(o, 1, 0.9),
    "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 8),
    "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.4, total_steps=24, cycle_momentum=False),
    "lambda": lambda o: lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "cyclic": lambda o: lr_scheduler.CyclicLR(o, 0.2, 0.4, step_size_up=3, cycle_momentum=False),
    "polynomial": lambda o: lr_scheduler.PolynomialLR(o, 8),
    "plateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0),
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_schedule_continues_at_the_scaled_rate(task, schedule):
    rates, counts = {}, []
    for worst in (0.15, 10.0):
        trainer, rollback, _ = a_run(task, worst=worst, schedule=schedule, max_rollbacks=5)
        seen = rates[worst] = {}
        trainer.add_event_handler(
            Events.ITERATION_STARTED,
            lambda t, seen=seen: seen.update({t.state.iteration: t.optimizer.param_groups[0]["lr"]}),
        )
        trainer.run(task.batches, max_epochs=4)
        counts.append(rollback.num_rollbacks)
    if schedule is SCHEDULES["plateau"]:  # its rate depends on the losses
        return
    for iteration in range(13, 17):  # after the last rollback
        assert rates[0.15][iteration] == pytest.approx(rates[10.0][iteration] * 0.5 ** counts[0])


@pytest.mark.parametrize("iteration", range(1, 13))
def test_a_run_that_was_killed_at_any_iteration_continues_as_the_uninterrupted_one(task, tmp_path, iteration):
    whole, rollbacks, history = a_run(task, from_iteration=7, schedule=SCHEDULES["step"])
    whole.run(task.batches, max_epochs=3)
    assert rollbacks.num_rollbacks

    first, _, _ = a_run(task, from_iteration=7, schedule=SCHEDULES["step"])
    state = []

    @first.on(Events.ITERATION_COMPLETED)
    def save(trainer):
        if trainer.state.iteration == iteration and not state:
            state.append(write_checkpoint(run_state(trainer), tmp_path / "run.pt"))

    first.run(task.batches, max_epochs=3)
    second, resumed, again = a_run(task, from_iteration=7, schedule=SCHEDULES["step"])
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=3)
    assert task.same(task.weights(second.model), task.weights(whole.model))
    assert again.epochs == history.epochs
    assert resumed.num_rollbacks == rollbacks.num_rollbacks


def test_a_checkpoint_of_an_epochs_end_holds_no_second_copy(task, tmp_path):
    trainer, _, _ = a_run(task, tmp_path, from_iteration=100)
    trainer.run(task.batches, max_epochs=1)
    state = torch.load(tmp_path / "run.pt", weights_only=True)["run"]["parts"]["rollback"]
    assert state == {"num_rollbacks": 0, "repeated": 0, "copy": None}


@pytest.mark.parametrize("settings", [{"factor": 0.0}, {"factor": 1.0}, {"factor": float("nan")}, {"max_rollbacks": 0}])
def test_wrong_settings_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        Rollback(**settings)


def test_a_trainer_that_starts_anew_goes_back_to_its_new_start(task):
    trainer, rollback, _ = a_run(task, from_iteration=10**6)
    trainer.run(task.batches, max_epochs=2)
    trainer.state.max_epochs = None
    starts = []
    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: starts.append(task.weights(trainer.model)))

    @trainer.on(Events.ITERATION_STARTED)
    def break_once():
        if trainer.state.iteration == 3 and rollback.num_rollbacks == 0:
            raise NonFiniteError("once")

    trainer.run(task.batches, max_epochs=1)
    assert rollback.num_rollbacks == 1
    assert len(starts) == 2
    assert task.same(*starts)
    assert trainer.state.epoch == 1

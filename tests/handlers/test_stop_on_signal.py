"""A signal ends a run after its step, with a checkpoint from which it resumes exactly."""

import signal
import threading
from contextlib import nullcontext

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import (
    Checkpointing,
    EpochAverages,
    History,
    NonFiniteGuard,
    Rollback,
    StopOnSignal,
    Stopped,
    TrainEvents,
    restore_run,
)

SIGNALS = pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])


def a_run(task, folder, **settings):
    trainer = task.trainer(**settings)
    latest = Checkpointing(folder, "latest.pt")
    StopOnSignal(latest.save).attach(trainer)  # first, and yet last
    EpochAverages("train_").attach(trainer)
    return trainer, History(["train_loss"]).attach(trainer)


def handlers_now():
    return [signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)]


@SIGNALS
@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, TrainEvents.GRADIENTS_READY, Events.ITERATION_COMPLETED])
def test_at_any_iteration_the_run_is_saved_and_continues_exactly(task, tmp_path, signum, accumulation_steps, event):
    whole, history = a_run(task, tmp_path / "whole", accumulation_steps=accumulation_steps)
    whole.run(task.batches, max_epochs=3)
    before = handlers_now()
    for moment in range(1, 9):
        first, _ = a_run(task, tmp_path, accumulation_steps=accumulation_steps)
        first.add_event_handler(event, raise_once_from(moment, signum))
        with pytest.raises(Stopped, match=r"resume from .*latest\.pt") as stopped:
            first.run(task.batches, max_epochs=3)
        assert stopped.value.signum == signum
        assert handlers_now() == before
        second, resumed = a_run(task, tmp_path, accumulation_steps=accumulation_steps)
        restore_run(second, tmp_path / "latest.pt")
        assert moment <= second.state.iteration <= moment + 3
        second.run(task.batches, max_epochs=3)
        assert task.same(task.weights(second.model), task.weights(whole.model))
        assert resumed.epochs == history.epochs


def raise_once_from(moment, signum):
    sent = []

    def send(engine):
        if engine.state.iteration >= moment and not sent:
            sent.append(signum)
            signal.raise_signal(signum)

    return send


def test_an_epoch_that_is_all_trained_is_closed_and_decided_before_it_leaves(task, tmp_path):
    trainer, history = a_run(task, tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=4), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped):
        trainer.run(task.batches, max_epochs=3)
    assert len(history.epochs["train_loss"]) == 1


def test_a_second_signal_leaves_at_once(task, tmp_path):
    trainer, _ = a_run(task, tmp_path)
    reached = []

    @trainer.on(Events.ITERATION_STARTED)
    def interrupt():
        signal.raise_signal(signal.SIGINT)
        reached.append("the first is only noted")
        signal.raise_signal(signal.SIGINT)
        reached.append("never")

    with pytest.raises(KeyboardInterrupt) as interrupted:
        trainer.run(task.batches, max_epochs=1)
    assert not isinstance(interrupted.value, Stopped)
    assert reached == ["the first is only noted"]
    assert not list(tmp_path.iterdir())


def test_the_signals_mean_again_what_they_meant_however_the_run_ends(task, tmp_path):
    before = handlers_now()
    trainer, _ = a_run(task, tmp_path)
    during = []
    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: during.append(handlers_now()))
    trainer.run(task.batches, max_epochs=1)
    assert during[0] != before
    assert handlers_now() == before
    with pytest.raises(TypeError):
        trainer.run([*task.batches[:3], None], max_epochs=2)
    assert handlers_now() == before


@pytest.mark.parametrize("has_own_handler", [False, True])
def test_a_plain_engine_that_fails_fails_as_without_it_and_the_signals_mean_what_they_meant(has_own_handler):
    def fail(engine, batch):
        raise ValueError("a bad batch")

    engine, before, told = Engine(fail), handlers_now(), []
    if has_own_handler:  # Ignite takes the exception for dealt with
        engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: told.append(str(error)))
    StopOnSignal().attach(engine)
    with nullcontext() if has_own_handler else pytest.raises(ValueError, match="a bad batch"):
        engine.run([0, 1])
    assert set(told) == ({"a bad batch"} if has_own_handler else set())
    assert handlers_now() == before


def test_the_same_trainer_continues_after_it_was_stopped(task, tmp_path):
    whole, _ = a_run(task, tmp_path)
    whole.run(task.batches, max_epochs=2)
    trainer, _ = a_run(task, tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: signal.raise_signal(signal.SIGINT))
    with pytest.raises(Stopped):
        trainer.run(task.batches, max_epochs=2)
    trainer.run(task.batches, max_epochs=2)
    assert task.same(task.weights(trainer.model), task.weights(whole.model))


def test_outside_the_main_thread_it_does_nothing(task, tmp_path):
    trainer, _ = a_run(task, tmp_path)
    thread = threading.Thread(target=lambda: trainer.run(task.batches, max_epochs=1))
    thread.start()
    thread.join()
    assert trainer.state.epoch == 1


def test_another_engine_is_stopped_after_its_step_but_cannot_be_saved(tmp_path):
    done = []
    engine = Engine(lambda engine, batch: done.append(signal.raise_signal(signal.SIGTERM)))
    StopOnSignal().attach(engine)
    with pytest.raises(Stopped):
        engine.run([0, 1])
    assert len(done) == 1
    with pytest.raises(RuntimeError, match="needs a trainer of create_trainer"):
        StopOnSignal(Checkpointing(tmp_path).save).attach(engine)


def test_a_signal_whose_meaning_python_does_not_know_is_left_alone(task, monkeypatch):
    # An embedded Python: what was not installed by it could not be put back, at the end of the run.
    monkeypatch.setattr(signal, "getsignal", lambda signum: None)
    trainer = task.trainer()
    StopOnSignal().attach(trainer)
    assert trainer.run(task.batches, max_epochs=2).epoch == 2


def test_a_signal_that_came_before_a_rollback_still_ends_the_run(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def loss_fn(model, inputs, batch):
        is_fast = optimizer.param_groups[0]["lr"] > 0.06
        return {"loss": task.loss_fn(model, inputs, batch)["loss"] * (float("inf") if is_fast else 1.0)}

    trainer = task.trainer(model, optimizer, loss_fn=loss_fn)
    NonFiniteGuard().attach(trainer)
    rollback = Rollback().attach(trainer)
    StopOnSignal().attach(trainer)
    trainer.add_event_handler(Events.ITERATION_STARTED(once=1), lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stopped):
        trainer.run(task.batches, max_epochs=3)
    assert (rollback.num_rollbacks, trainer.state.iteration) == (1, 1)


@SIGNALS
def test_a_signal_after_the_last_place_to_leave_still_ends_the_program(task, tmp_path, signum):
    trainer, _ = a_run(task, tmp_path)
    trainer.add_event_handler(TrainEvents.RUN_TRAINED, lambda: signal.raise_signal(signum))
    before = handlers_now()
    with pytest.raises(Stopped) as stopped:
        trainer.run(task.batches, max_epochs=2)
    assert stopped.value.signum == signum
    assert handlers_now() == before
    whole, _ = a_run(task, tmp_path / "whole")
    whole.run(task.batches, max_epochs=2)
    assert task.same(task.weights(trainer.model), task.weights(whole.model))


def test_a_signal_before_an_error_does_not_end_the_next_run(task, tmp_path):
    trainer, _ = a_run(task, tmp_path)

    causes = ["the disk is gone"]

    @trainer.on(TrainEvents.CHECKPOINT_READY)
    def fail():
        if causes:
            signal.raise_signal(signal.SIGINT)
            raise OSError(causes.pop())

    with pytest.raises(OSError, match="gone"):
        trainer.run(task.batches, max_epochs=2)
    trainer.run(task.batches, max_epochs=2)
    assert trainer.state.epoch == 2

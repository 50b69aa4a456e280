"""What every exported handler promises. A new one is entered in HANDLERS; without that, the first test fails."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from support.handlers_table import HANDLERS, an_evaluator

import ignite_recipes
from ignite_recipes import (
    EpochAverages,
    History,
    TrainEvents,
    Validation,
    handlers,
    restore_run,
    run_state,
    write_checkpoint,
)
from ignite_recipes.engine.trainer import TrainingEngine

every_handler = pytest.mark.parametrize("name", HANDLERS)
STATEFUL = [name for name in HANDLERS if hasattr(getattr(handlers, name), "state_dict")]
every_stateful_handler = pytest.mark.parametrize("name", STATEFUL)


def test_every_exported_handler_is_in_the_table():
    exported = {name: getattr(handlers, name) for name in handlers.__all__}
    classes = {n for n, value in exported.items() if isinstance(value, type) and not issubclass(value, BaseException)}
    assert classes == set(HANDLERS)
    assert all(getattr(ignite_recipes, name) is value for name, value in exported.items())


@every_handler
def test_its_docstring_says_when_it_runs_and_what_it_keeps(name):
    doc = inspect.getdoc(getattr(handlers, name))
    assert "Runs:  " in doc
    assert "Keeps:  " in doc
    assert ("Keeps:  nothing" in doc) == (name not in STATEFUL)


def parts(task, folder):
    """A model, its optimizer and a folder."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return SimpleNamespace(task=task, model=model, optimizer=optimizer, folder=folder)


def attach(handler, engine, model):
    """With the model where attach asks for one: an engine of one's own does not know it."""
    own = not isinstance(engine, TrainingEngine)
    named = {"model": model} if own and "model" in inspect.signature(handler.attach).parameters else {}
    return handler.attach(engine, **named)


def a_run(task, folder, name):
    """A trainer with validation, averages, a history, and the handler in question."""
    t = parts(task, folder)
    t.trainer = task.trainer(t.model, t.optimizer)
    Validation(an_evaluator(t), task.batches[:2]).attach(t.trainer)
    EpochAverages("train_", skip_nonfinite=True).attach(t.trainer)
    t.handler = HANDLERS[name].build(t)
    assert attach(t.handler, t.trainer, t.model) is t.handler
    t.history = History(["train_loss", "val_loss"]).attach(t.trainer)
    t.ends = []  # the weights after each epoch
    t.trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: t.ends.append(task.weights(t.model)))
    t.batches = [*task.batches, task.nan_batch] if HANDLERS[name].bad_batch else task.batches
    return t


def restored(task, folder, name):
    """A fresh handler on a fresh trainer, and the state of one that was stopped in its second epoch, as from a file."""
    t = a_run(task, folder, name)
    t.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), t.trainer.terminate)
    t.trainer.run(t.batches, max_epochs=2)
    state = t.task.filed(t.handler.state_dict())
    fresh = a_run(task, folder, name)
    return fresh.handler, state


@every_stateful_handler
def test_its_state_survives_a_file_that_may_hold_no_code(task, tmp_path, name):
    fresh, state = restored(task, tmp_path, name)
    assert not task.same(fresh.state_dict(), state)
    fresh.load_state_dict(state)
    assert task.same(fresh.state_dict(), state)


@every_stateful_handler
def test_the_trainer_saves_it_without_being_told(task, tmp_path, name):
    t = a_run(task, tmp_path, name)
    t.trainer.run(t.batches, max_epochs=1)
    states = run_state(t.trainer)["run"]["parts"].values()
    assert any(task.same(state, t.handler.state_dict()) for state in states)


@every_stateful_handler
def test_attaching_it_twice_to_a_trainer_is_refused(task, tmp_path, name):
    t = a_run(task, tmp_path, name)
    with pytest.raises(RuntimeError, match=r"attached to an engine already|a step has one precision"):
        t.handler.attach(t.trainer)


STOPS = {"after epoch 2": TrainEvents.CHECKPOINT_READY(once=2), "inside epoch 2": Events.ITERATION_COMPLETED(once=7)}


@every_handler
@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_a_run_of_four_epochs_that_is_stopped_and_resumed_is_the_uninterrupted_run(task, tmp_path, name, stop):
    whole, first, second = (a_run(task, tmp_path / part, name) for part in ("whole", "first", "second"))
    whole.trainer.run(whole.batches, max_epochs=4)

    @first.trainer.on(stop)
    def save_and_stop(trainer):
        write_checkpoint(run_state(trainer), tmp_path / "run.pt")
        trainer.terminate()

    first.trainer.run(first.batches, max_epochs=4)
    assert first.trainer.state.epoch == 2
    restore_run(second.trainer, tmp_path / "run.pt")
    second.trainer.run(second.batches, max_epochs=4)

    assert len(whole.ends) == 4
    assert task.same(second.ends, whole.ends[-len(second.ends) :])
    assert not task.same(whole.ends[2], whole.ends[3])
    assert task.same(task.weights(second.model), task.weights(whole.model))
    assert task.same(second.history.epochs, whole.history.epochs)
    assert [len(values) for values in whole.history.epochs.values()] == [4, 4]
    saved, expected = run_state(second.trainer), run_state(whole.trainer)
    assert task.same(saved["run"]["parts"], expected["run"]["parts"])
    assert task.same(saved["optimizer_state_dict"], expected["optimizer_state_dict"])
    assert task.same(saved["run"]["progress"], expected["run"]["progress"])


@every_handler
@pytest.mark.parametrize("kind", ["bare", "events"])
def test_an_engine_of_ones_own_is_served_or_told_what_to_do_instead(task, tmp_path, name, kind):
    t = parts(task, tmp_path)
    engine = task.own_engine(t.model, t.optimizer, events=kind == "events")
    handler = HANDLERS[name].build(t)
    if kind in HANDLERS[name].refuses:
        with pytest.raises(RuntimeError, match=r"create_trainer|call "):
            attach(handler, engine, t.model)
        return
    assert attach(handler, engine, t.model) is handler
    before = task.filed(handler.state_dict()) if name in STATEFUL else None
    seen = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(engine.state.output["loss"].item()))
    engine.run([*task.batches, task.nan_batch] if HANDLERS[name].bad_batch else task.batches, max_epochs=3)
    assert len(seen) == 3 * (4 + HANDLERS[name].bad_batch)
    if name in STATEFUL:  # it has run
        assert not task.same(task.filed(handler.state_dict()), before)


@every_handler
def test_an_evaluator_is_served_or_told_where_the_handler_belongs(task, tmp_path, name):
    t = parts(task, tmp_path)
    evaluator = an_evaluator(t)
    expected = dict(evaluator.run(task.batches[:2]).metrics)
    before = {event: len(entries) for event, entries in evaluator._event_handlers.items() if entries}
    if HANDLERS[name].on_evaluator is None:
        refusal = rf"^{name} must be attached to an engine that trains; got an evaluator.*attach it to the trainer"
        with pytest.raises(RuntimeError, match=refusal):
            attach(HANDLERS[name].build(t), evaluator, t.model)
        assert before == {event: len(entries) for event, entries in evaluator._event_handlers.items() if entries}
        return
    handler = HANDLERS[name].on_evaluator(t)
    assert attach(handler, evaluator, t.model) is handler
    for _ in range(2):
        found = evaluator.run(task.batches[:2]).metrics
        assert {metric: found[metric] for metric in expected} == expected
    if name in STATEFUL:  # it has run
        assert not task.same(handler.state_dict(), HANDLERS[name].on_evaluator(t).state_dict())


def test_a_history_of_an_evaluator_has_a_number_for_each_of_its_runs(task, tmp_path):
    t = parts(task, tmp_path)
    evaluator = an_evaluator(t)
    history = History(["loss"]).attach(evaluator)
    found = [evaluator.run(batches).metrics["loss"] for batches in (task.batches[:1], task.batches[:2])]
    assert found[0] != found[1]
    assert history.epochs == {"loss": found}


DOCUMENTED = {  # the signatures of callbacks.md and advanced.md, to the letter; what is ours comes after them
    handlers.EarlyStopping: {"patience": 10, "min_delta": 1e-4, "restore_best_weights": True, "verbose": True},
    handlers.GradientClipCallback: {
        "max_norm": 5.0,
        "norm_type": 2.0,
        "error_if_nonfinite": False,
        "verbose": True,
    },
    handlers.clip_grad_norm: {
        "parameters": ...,
        "max_norm": 5.0,
        "norm_type": 2.0,
        "error_if_nonfinite": False,
    },
    handlers.GradientClipper: {"max_norm": 1.0, "norm_type": 2.0},
    handlers.LearningRateScheduler: {
        "optimizer": ...,
        "scheduler_type": "plateau",
        "patience": 5,
        "factor": 0.5,
        "T_max": 50,
    },
    handlers.MixedPrecisionTrainer: {"enabled": True, "device": "cuda"},
    handlers.DataAugmentation().augment_audio_features: {
        "features": ...,
        "noise_level": 0.01,
        "time_mask": True,
        "freq_mask": True,
    },
    handlers.DataAugmentation().augment_emotion_embedding: {"embedding": ..., "noise_level": 0.05},
    handlers.DataAugmentation().augment_note_probabilities: {
        "notes": ...,
        "dropout_prob": 0.1,
        "noise_level": 0.05,
    },
    handlers.add_noise: {"data": ..., "noise_std": 0.1, "clamp_min": 0.0, "clamp_max": 1.0},
    handlers.TrainingStability.check_gradients: {"model": ..., "verbose": False},
    handlers.TrainingStability.check_weights: {"model": ..., "verbose": False},
}


@pytest.mark.parametrize("function", DOCUMENTED, ids=lambda function: function.__qualname__)
def test_documented_names_and_defaults_hold_to_the_letter(function):
    parameters = list(inspect.signature(function).parameters.values())[: len(DOCUMENTED[function])]
    assert {p.name: ... if p.default is p.empty else p.default for p in parameters} == DOCUMENTED[function]
    assert all(p.kind is p.POSITIONAL_OR_KEYWORD for p in parameters)

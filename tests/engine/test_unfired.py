"""An event with handlers that an epoch of one's own Engine never fires is said once; what comes costs nothing more."""

import logging
import re

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import (
    ExponentialMovingAverage,
    GradientClipper,
    History,
    LearningRateScheduler,
    NonFiniteGuard,
    TrainEvents,
    TrainingStep,
    create_trainer,
)
from ignite_recipes.engine.unfired import say_unfired

EVENTS = (*Events, *TrainEvents)
SAID = [  # of events that come in every epoch: what to add, and where
    (TrainEvents.INPUTS_READY, "before the forward pass"),
    (TrainEvents.LOSSES_READY, r"between the losses and backward\(\)"),
    (TrainEvents.BACKWARD_COMPLETED, r"after backward\(\)"),
    (TrainEvents.GRADIENTS_READY, r"between backward\(\) and optimizer.step\(\)"),
    (TrainEvents.OPTIMIZER_STEP_STARTED, r"before optimizer.step\(\)"),
    (TrainEvents.OPTIMIZER_STEP_COMPLETED, r"after an optimizer.step\(\) that was taken.*every step.*was dropped"),
    (TrainEvents.EPOCH_TRAINED, r"EPOCH_COMPLETED, lambda: .*before what measures"),
    (TrainEvents.METRICS_READY, r"EPOCH_COMPLETED, lambda: .*after what measures"),
    (TrainEvents.EPOCH_DECIDED, r"EPOCH_COMPLETED, lambda: .*after what decides"),
    (TrainEvents.CHECKPOINT_READY, r"EPOCH_COMPLETED, lambda: .*after what decides"),
]
RARE = [
    TrainEvents.DECISION_POINT,
    TrainEvents.OPTIMIZER_STEP_SKIPPED,
    TrainEvents.RESUME_POINT,
    TrainEvents.RUN_TRAINED,
]


def reports():
    pass


def own_engine(fired=()):
    """An Engine that has registered all events, and fires those that are given."""
    engine = Engine(lambda engine, batch: [engine.fire_event(event) for event in fired])
    engine.register_events(*TrainEvents)
    return engine


@pytest.fixture
def said(caplog):
    """The warnings so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def test_every_event_of_ours_is_said_or_need_not_come():
    assert {event for event, _ in SAID} | set(RARE) == set(TrainEvents)


@pytest.mark.parametrize(("event", "place"), SAID, ids=lambda value: getattr(value, "name", ""))
def test_an_event_that_an_epoch_never_fired_is_said_once_with_the_line_to_add(event, place, said):
    engine = own_engine()
    engine.add_event_handler(event, reports)
    say_unfired(engine)
    after = []
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: after.append(len(said())))
    engine.run([0, 1], max_epochs=3)
    engine.run([0, 1], max_epochs=5)
    (message,) = said()
    assert after == [0, 1, 1, 1, 1]
    assert message.startswith(f"epoch 1 has not fired {event.name}, at which reports waits: ")
    assert f"engine.fire_event(TrainEvents.{event.name})" in message
    assert re.search(place, message)


@pytest.mark.parametrize("event", [event for event, _ in SAID], ids=lambda event: event.name)
def test_an_event_that_came_is_not_said_and_its_handlers_are_those_before(event, said):
    for count in (1, 2):
        engine = own_engine([event] * count)
        engine.add_event_handler(event, reports)
        say_unfired(engine)
        before = {event: list(engine._event_handlers[event]) for event in EVENTS}
        engine.run([0, 1], max_epochs=2)
        assert {event: engine._event_handlers[event] for event in EVENTS} == before
    assert said() == []


@pytest.mark.parametrize(
    "event",
    [*RARE, TrainEvents.GRADIENTS_READY(every=2), TrainEvents.CHECKPOINT_READY(once=3)],
    ids=["decision point", "skipped", "resume point", "end of the run", "every=2", "once=3"],
)
def test_what_need_not_come_in_every_epoch_is_not_said(event, said):
    engine = own_engine()
    engine.add_event_handler(event, reports)
    say_unfired(engine)
    engine.run([0, 1], max_epochs=2)
    assert said() == []


def test_nothing_is_said_of_an_event_without_handlers_or_whose_handler_was_removed(said):
    engine = own_engine()
    say_unfired(engine)
    handle = engine.add_event_handler(TrainEvents.GRADIENTS_READY, reports)
    engine.add_event_handler(Events.ITERATION_COMPLETED(once=1), handle.remove)
    engine.run([0, 1], max_epochs=2)
    assert said() == []


def test_an_event_of_an_epochs_end_may_be_fired_by_a_handler_that_was_attached_last(said):
    engine = own_engine()
    engine.add_event_handler(TrainEvents.METRICS_READY, reports)
    say_unfired(engine)
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: engine.fire_event(TrainEvents.METRICS_READY))
    engine.run([0, 1], max_epochs=2)
    assert said() == []


def test_a_handler_that_is_attached_later_is_said_after_the_next_epoch(said):
    engine = own_engine()
    say_unfired(engine)
    engine.run([0], max_epochs=1)
    engine.add_event_handler(TrainEvents.GRADIENTS_READY, reports)
    engine.run([0], max_epochs=3)
    assert [message[:30] for message in said()] == ["epoch 2 has not fired GRADIENT"]


def test_a_run_that_failed_inside_its_first_epoch_says_it_when_it_is_run_again(said):
    engine = own_engine()
    engine.add_event_handler(TrainEvents.GRADIENTS_READY, reports)
    say_unfired(engine)

    @engine.on(Events.ITERATION_COMPLETED(once=1))
    def fail():
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        engine.run([0], max_epochs=1)
    engine.state.max_epochs = None
    fail_only = engine._event_handlers[Events.ITERATION_COMPLETED]
    fail_only.clear()
    engine.run([0], max_epochs=2)
    assert len(said()) == 1


WAITING = {  # handlers of ours that wait at an event of a step
    "GradientClipper": (lambda model, opt: GradientClipper(1.0), True, "GRADIENTS_READY"),
    "NonFiniteGuard": (lambda model, opt: NonFiniteGuard("skip"), True, "GRADIENTS_READY"),
    "ExponentialMovingAverage": (lambda model, opt: ExponentialMovingAverage(), True, "OPTIMIZER_STEP_COMPLETED"),
    "LearningRateScheduler": (
        lambda model, opt: LearningRateScheduler(opt, "onecycle", total_steps=9),
        False,
        "OPTIMIZER_STEP_COMPLETED",
    ),
}


@pytest.mark.parametrize("name", WAITING)
def test_a_handler_of_ours_that_waits_in_vain_is_named(name, said):
    build, needs_model, event = WAITING[name]
    model = torch.nn.Linear(1, 1)
    engine = own_engine()
    build(model, torch.optim.SGD(model.parameters(), 0.1)).attach(engine, *([model] if needs_model else []))
    engine.run([0], max_epochs=2)
    (message,) = said()
    assert message.startswith(f"epoch 1 has not fired {event}, at which {name}")


def test_a_step_of_ours_in_an_engine_of_ones_own_is_known_to_fire_its_events(said):
    model = torch.nn.Linear(1, 1)
    step = TrainingStep(model, torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b: {"loss": m(x).mean()})
    engine = Engine(step)
    GradientClipper(1.0).attach(engine)
    engine.add_event_handler(TrainEvents.CHECKPOINT_READY, reports)
    seen = []
    engine.add_event_handler(
        Events.ITERATION_STARTED, lambda: seen.append(len(engine._event_handlers[TrainEvents.GRADIENTS_READY]))
    )
    engine.run([torch.ones(2, 1)], max_epochs=2)
    (message,) = said()
    assert message.startswith("epoch 1 has not fired CHECKPOINT_READY, at which reports waits: ")
    assert seen == [1, 1]


def test_a_trainer_of_ours_is_not_watched(said):
    model = torch.nn.Linear(1, 1)
    trainer = create_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b: {"loss": m(x).mean()}, accumulation_steps=3
    )
    for event in TrainEvents:
        trainer.add_event_handler(event, reports)
    GradientClipper(1.0).attach(trainer)
    History([]).attach(trainer)
    before = [entry[0] for entry in trainer._event_handlers[Events.EPOCH_STARTED]]
    trainer.run([torch.ones(2, 1)] * 2, max_epochs=2)
    assert [entry[0] for entry in trainer._event_handlers[Events.EPOCH_STARTED]] == before
    assert len(before) == 1
    assert said() == []

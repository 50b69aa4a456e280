"""The drawing, the events and what describe() prints agree."""

import io
import re

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.engine.events import State

from ignite_recipes import GradientClipper, TrainEvents, create_trainer, describe
from ignite_recipes.engine import events
from ignite_recipes.engine.events import DRAWING


def test_the_drawing_in_the_docstring_has_every_event_of_ours_in_the_order_of_describe():
    drawn = re.findall(r"^ +([A-Z_]{6,})", events.__doc__, flags=re.MULTILINE)
    order = [event.name for event, _ in DRAWING]
    last = [name for k, name in enumerate(drawn) if name not in drawn[k + 1 :]]  # RESUME_POINT is in two places
    assert [name for name in order if name in drawn] == last
    assert {event.name for event in TrainEvents} <= set(drawn)
    assert {event.name for event in (*Events, *TrainEvents)} == set(order)


def test_no_event_of_ours_can_be_mistaken_for_one_of_ignites():
    # Ignite compares events by their names alone.
    assert not {event.name for event in TrainEvents} & {event.name for event in Events}


def test_every_event_of_ours_can_be_filtered():
    assert all(State.event_to_attr[event] in ("epoch", "iteration") for event in TrainEvents)
    trainer = Engine(lambda engine, batch: engine.fire_event(TrainEvents.GRADIENTS_READY))
    trainer.register_events(*TrainEvents)
    seen = []
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY(every=2), lambda: seen.append(trainer.state.iteration))
    trainer.run(range(5))
    assert seen == [2, 4]


def test_describe_prints_handlers_in_the_order_in_which_they_run():
    model = torch.nn.Linear(1, 1)
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b: {"loss": m(x).mean()})

    def report():
        pass

    class Counter:
        def count(self):
            pass

    trainer.add_event_handler(Events.COMPLETED, report)
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY(every=3), report)
    GradientClipper(1.0).attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, Counter().count)  # whose object has no name of its own
    text = io.StringIO()
    describe(trainer, text)
    assert text.getvalue().splitlines() == [
        "  EPOCH_STARTED                 start_epoch",
        "      GRADIENTS_READY           report, on some only",
        "                                GradientClipper(max_norm=1, norm_type=2)",
        "    ITERATION_COMPLETED         <lambda>",
        f"                                {Counter.count.__qualname__}",
        "COMPLETED                       report",
    ]


def test_describe_shows_events_that_the_drawing_lacks():
    engine = Engine(lambda engine, batch: None)
    engine.register_events("tea_time")
    engine.add_event_handler("tea_time", print)
    text = io.StringIO()
    describe(engine, text)
    assert text.getvalue() == "tea_time                        print\n"


def test_a_handler_is_refused_where_its_event_never_comes():
    with pytest.raises(RuntimeError, match=r"GradientClipper runs at GRADIENTS_READY.*register_events.*clip\(model\)"):
        GradientClipper().attach(Engine(lambda engine, batch: None), torch.nn.Linear(1, 1))

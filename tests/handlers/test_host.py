"""What an engine offers to handlers: asked in one place, the same answers for every handler."""

import ast
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events

import ignite_recipes
from ignite_recipes import TrainEvents, TrainingStep
from ignite_recipes.handlers._host import host_of

HANDLERS = Path(ignite_recipes.__file__).parent / "handlers"


@pytest.mark.parametrize("path", sorted(HANDLERS.glob("[a-z]*.py")), ids=lambda path: path.stem)
def test_no_handler_asks_by_itself_what_kind_of_engine_it_has(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and "isinstance" in ast.dump(node.func)]
    assert not [node for node in calls if "TrainingEngine" in ast.dump(node.args[1])]
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "_allowed_events"]


def plain():
    return Engine(lambda engine, batch: None)


def with_our_step(task):
    model = task.model()
    return Engine(TrainingStep(model, torch.optim.SGD(model.parameters(), 0.1), task.loss_fn))


def test_a_moment_of_ours_has_its_place_on_every_engine(task):
    def noted(engine, method):
        def handler():
            pass

        getattr(host_of(engine), method)(handler)
        events = engine._event_handlers.items()
        return next(event.name for event, entries in events if handler in [entry[0] for entry in entries])

    found = {
        method: [noted(engine, method) for engine in (task.trainer(), with_our_step(task), plain())]
        for method in ("after_optimizer_step", "when_epoch_is_trained", "to_decide", "where_run_can_be_left")
    }
    step, epoch, iteration = "OPTIMIZER_STEP_COMPLETED", "EPOCH_COMPLETED", "ITERATION_COMPLETED"
    assert found == {
        "after_optimizer_step": [step, step, iteration],
        "when_epoch_is_trained": ["EPOCH_TRAINED", epoch, epoch],
        "to_decide": ["METRICS_READY", epoch, epoch],
        "where_run_can_be_left": ["RESUME_POINT", iteration, iteration],
    }


def test_an_event_that_never_comes_is_refused_with_what_to_do_instead():
    with pytest.raises(RuntimeError, match=r"str runs at GRADIENTS_READY.*register_events.*; otherwise do it by hand"):
        host_of(plain()).require(TrainEvents.GRADIENTS_READY, "a handler", "do it by hand")


def test_a_failure_is_told_once_and_reaches_the_caller_on_every_engine(task):
    for engine in (task.trainer(), plain()):
        told = []
        for name in ("first", "second"):
            host_of(engine).at_end(lambda *_, name=name, told=told: told.append(name))

        @engine.on(Events.ITERATION_STARTED)
        def fail():
            raise ValueError("broken")

        with pytest.raises(ValueError, match="broken"):
            engine.run(task.batches)
        assert told == ["first", "second"]


def test_an_error_that_somebody_else_handles_on_an_engine_of_ones_own_stays_handled(task):
    engine, told, handled = plain(), [], []
    host_of(engine).at_end(lambda *_: told.append(1))
    engine.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: handled.append(error))

    @engine.on(Events.ITERATION_STARTED(once=1))
    def fail():
        raise ValueError("broken")

    engine.run(task.batches, max_epochs=1)
    assert (told[0], len(handled)) == (1, 1)


def test_the_model_and_its_parameters_are_those_given_or_those_of_the_step(task):
    trainer, other = task.trainer(), torch.nn.Linear(1, 1)
    assert host_of(trainer).model(None, "") is trainer.model
    assert host_of(trainer).model(other, "") is other
    assert list(host_of(trainer).parameters(other.parameters(), "")()) == list(other.parameters())
    assert list(host_of(trainer).parameters(other, "")()) == list(other.parameters())
    those_of_the_step = host_of(trainer).parameters(None, "")
    assert list(those_of_the_step()) == list(trainer.model.parameters())
    trainer.optimizer.load_state_dict(trainer.optimizer.state_dict())  # makes new groups
    trainer.optimizer.add_param_group({"params": list(other.parameters())})
    assert list(those_of_the_step()) == [*trainer.model.parameters(), *other.parameters()]
    with pytest.raises(RuntimeError, match="does not say what to do"):
        host_of(plain()).model(None, "what to do")

"""One entry an epoch, in plain floats, of what was known when everything was measured."""

import pytest
import torch
from ignite.engine import Events

from ignite_recipes import History, restore_run, run_state, write_checkpoint


@pytest.mark.parametrize("measure_first", [True, False])
def test_collects_one_float_an_epoch_however_late_it_is_measured(task, measure_first):
    trainer = task.trainer()
    history = History(["val_loss", "never"])

    def measure(engine):
        engine.state.metrics["val_loss"] = torch.tensor(float(engine.state.epoch))

    if measure_first:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, measure)
    assert history.attach(trainer) is history
    if not measure_first:
        trainer.add_event_handler(Events.EPOCH_COMPLETED, measure)
    trainer.run(task.batches, max_epochs=3)
    assert history.epochs == {"val_loss": [1.0, 2.0, 3.0], "never": []}
    assert {type(value) for value in history.epochs["val_loss"]} == {float}


def test_an_optional_metric_gets_a_list_only_when_there_is_one(task):
    trainer = task.scripted([2.0, 1.0])
    history = History(["never"], optional=["val_loss", "other"]).attach(trainer)
    assert history.epochs == {"never": []}
    trainer.run(task.batches, max_epochs=2)
    assert history.epochs == {"never": [], "val_loss": [2.0, 1.0]}


@pytest.mark.parametrize("events", [True, False])
def test_on_an_engine_of_ones_own_it_collects_too(task, events):
    model = task.model()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1), events=events)
    expected = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: expected.append(engine.state.metrics["val_loss"]))
    history = History(["val_loss"]).attach(engine)
    engine.run(task.batches, max_epochs=3)
    assert history.epochs["val_loss"] == expected
    assert len(set(expected)) == 3


def test_a_resumed_run_continues_after_the_epochs_that_were_saved(task, tmp_path):
    first, second = task.scripted([3.0, 2.0]), task.scripted([1.0, 0.5])
    History(["val_loss"]).attach(first)
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    history = History(["val_loss"]).attach(second)
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=4)
    assert history.epochs == {"val_loss": [3.0, 2.0, 1.0, 0.5]}


def test_what_was_saved_does_not_grow_with_the_run():
    history = History(["loss"])
    state = history.state_dict()
    other = History(["loss"])
    other.load_state_dict(state)
    for one in (history, other):
        one.epochs["loss"].append(1.0)
    assert state == {"epochs": {"loss": []}, "count": 0}

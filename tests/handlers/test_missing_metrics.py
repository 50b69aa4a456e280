"""A metric that is asked for and never comes is said: by an error where every epoch measures, else at the run's end."""

import copy
import logging
import pickle

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import (
    BestCheckpoint,
    EarlyStopping,
    EpochAverages,
    History,
    LearningRateScheduler,
    VariationalAutoencoder,
    restore_run,
    run_state,
    train_model_advanced,
    train_variational_autoencoder,
    write_checkpoint,
)


@pytest.fixture
def said(caplog):
    """The warnings so far."""
    return lambda: [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]


def an_engine(task, own, *, every=2, name="val_loss", values=None):
    """An Engine of one's own or ours that measures in some epochs."""
    engine = Engine(lambda engine, batch: None) if own else task.trainer()

    def measure(engine):
        engine.state.metrics[name] = 1.0 if values is None else next(values)

    engine.add_event_handler(Events.EPOCH_COMPLETED(every=every), measure)
    return engine


ASKS = {
    "EarlyStopping": lambda engine, folder: EarlyStopping(1, restore_best_weights=False, verbose=False).attach(engine),
    "LearningRateScheduler": lambda engine, folder: LearningRateScheduler(
        getattr(engine, "optimizer", None) or torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1), "plateau"
    ).attach(engine),
    "History": lambda engine, folder: History(["val_loss"]).attach(engine),
    "BestCheckpoint": lambda engine, folder: BestCheckpoint(folder / "best.pt").attach(engine),
}
every_asker_on_both_engines = pytest.mark.parametrize(  # BestCheckpoint needs a trainer of ours
    ("own", "name"), [(own, name) for own in (True, False) for name in ASKS if not own or name != "BestCheckpoint"]
)
every_asker = pytest.mark.parametrize("name", ASKS)


@every_asker_on_both_engines
def test_a_metric_that_never_came_is_said_once_when_the_run_ends(task, tmp_path, own, name, said):
    engine = an_engine(task, own, name="loss_val")
    asker = ASKS[name](engine, tmp_path)
    before = []
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: before.extend(said()))
    engine.run(task.batches, max_epochs=4)
    assert before == []
    engine.run(task.batches, max_epochs=6)
    (message,) = said()
    assert message.startswith(f"the metric 'val_loss', for which {asker!r} waits, never came")
    assert "loss_val" in message.split("there are: ")[1].split(". Attach")[0]


@every_asker_on_both_engines
def test_a_metric_that_came_in_some_epoch_is_not_said(task, tmp_path, own, name, said):
    engine = an_engine(task, own, every=3)
    ASKS[name](engine, tmp_path)
    engine.run(task.batches, max_epochs=4)
    assert said() == []


@every_asker
def test_a_metric_that_came_before_a_resume_is_not_said_after_it(task, tmp_path, name, said):
    first, second = (an_engine(task, own=False, values=iter([2.0, 1.0, 0.5])) for _ in range(2))
    for trainer in (first, second):
        ASKS[name](trainer, tmp_path)
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=3)
    assert said() == []


@every_asker
def test_a_run_that_ends_before_its_first_epoch_does_says_nothing(task, tmp_path, name, said):
    trainer = an_engine(task, own=False)
    ASKS[name](trainer, tmp_path)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), trainer.terminate)
    trainer.run(task.batches, max_epochs=2)
    assert said() == []


@pytest.mark.parametrize("name", ["EarlyStopping", "LearningRateScheduler"])
def test_where_every_epoch_measures_it_is_an_error_on_an_engine_of_ones_own_too(task, tmp_path, name):
    engine = Engine(lambda engine, batch: None)
    engine.state.metrics["loss_val"] = 1.0
    ASKS[name](engine, tmp_path)
    with pytest.raises(RuntimeError, match=r"the metric 'val_loss' must be in state.metrics.*there are: loss_val"):
        engine.run([0], max_epochs=1)


def test_names_are_said_each_once_for_all_who_wait(task, said):
    engine = an_engine(task, own=True, name="other")
    History(["val_loss", "accuracy", "other"]).attach(engine)
    EarlyStopping(1, restore_best_weights=False, verbose=False).attach(engine)
    engine.run([0], max_epochs=2)
    assert [message.split(", never")[0] for message in said()] == [
        "the metric 'accuracy', for which History(val_loss, accuracy, other) waits",
        "the metric 'val_loss', for which History(val_loss, accuracy, other), EarlyStopping(patience=1, mode='min') "
        "waits",
    ]


def test_of_a_history_only_names_that_this_run_measures_are_said(task, said):
    trainer = task.trainer()
    EpochAverages("train_").attach(trainer)
    names = ["train_loss", "val_loss", "matrix"]
    history = History(names, optional=["val_accuracy"], unmeasured=["val_loss"]).attach(trainer)
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update(matrix=[1, 2]))
    trainer.run(task.batches, max_epochs=2)
    assert history.epochs["val_loss"] == []
    assert len(said()) == 1
    assert "is not a number" in said()[0]
    with pytest.raises(TypeError, match="unmeasured must be a list of names of metrics; got 'val_loss'"):
        History(names, unmeasured="val_loss")


def test_a_copy_of_a_trainer_that_waits_continues_waiting(task, said):
    trainer = task.trainer()
    trainer.step.loss_fn = a_loss
    History(["never"]).attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    for copied in (copy.deepcopy(trainer), pickle.loads(pickle.dumps(trainer))):
        copied.run(task.batches, max_epochs=2)
    assert len(said()) == 1


def a_loss(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def test_the_recipes_without_validation_say_nothing(task, said):
    train_model_advanced(torch.nn.Linear(3, 1), task.batches, epochs=1, verbose=False, device="cpu")
    model = VariationalAutoencoder(8, 2, 4)
    train_variational_autoencoder(model, [torch.rand(4, 8)], None, num_epochs=1)
    assert [message for message in said() if "never came" in message] == []


@pytest.mark.parametrize(
    ("metric", "mode", "said"), [("val_f1", "min", 2), ("val_f1", "max", 0), ("val_mae", "max", 2)]
)
def test_a_known_metric_that_is_watched_the_other_way_is_said(task, tmp_path, caplog, metric, mode, said):
    trainer = task.trainer()
    EarlyStopping(3, verbose=False, mode=mode).attach(trainer, metric)
    BestCheckpoint(tmp_path / "best.pt", metric, mode=mode).attach(trainer)
    expected = f"the metric {metric!r} should be watched with mode={'min' if mode == 'max' else 'max'!r}"
    assert [text.startswith(expected) for text in caplog.messages] == [True] * said

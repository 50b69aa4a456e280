"""A metric that is no number ends no run: logs and history leave it out, and say so once."""

import pytest
import torch
from ignite.engine import Events

from ignite_recipes import History, ProgressBar, TensorBoardLog, TrainingLog, read_training_log
from ignite_recipes.handlers._numbers import as_number

OTHERS = [torch.eye(2), "good", {"a": 1}, None, [1, 2], torch.ones(2, 1)]


@pytest.mark.parametrize("value", OTHERS, ids=str)
def test_what_is_no_number_is_none(value):
    assert as_number(value) is None


@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2.0]), "2"])
def test_what_is_one_is_a_float(value):
    assert as_number(value) == 2.0


@pytest.mark.parametrize("value", OTHERS, ids=str)
def test_the_run_ends_by_itself_and_it_is_said_once(task, tmp_path, caplog, value):
    trainer = task.trainer()

    @trainer.on(Events.EPOCH_COMPLETED)
    def measure(engine):
        engine.state.metrics.update(report=value, val_loss=float(engine.state.epoch))

    history = History(["report", "val_loss"]).attach(trainer)
    log = TrainingLog(tmp_path / "log.csv").attach(trainer)
    TensorBoardLog(tmp_path / "events").attach(trainer)
    assert trainer.run(task.batches, max_epochs=3).epoch == 3
    assert history.epochs == {"report": [], "val_loss": [1.0, 2.0, 3.0]}
    assert read_training_log(log.path)["val_loss"] == [1.0, 2.0, 3.0]
    (said,) = [message for message in caplog.messages if "leave it out" in message]
    assert said.startswith(f"the metric 'report' is not a number but a {type(value).__name__}")


def test_a_bar_leaves_out_what_is_no_number(task, caplog):
    trainer = task.trainer()
    ProgressBar(("matrix", "val_loss")).attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def measure():
        trainer.state.metrics.update(matrix=torch.eye(2), val_loss=0.5)

    trainer.run(task.batches, max_epochs=2)
    assert trainer.state.epoch == 2
    assert "the metric 'matrix' is not a number but a Tensor of shape (2, 2): history" in caplog.text


def test_a_log_of_an_epoch_of_unknown_length_has_no_speed(task, tmp_path):
    class Unsized:
        def __iter__(self):
            return iter(task.batches)

    trainer = task.trainer()
    TrainingLog(tmp_path / "log.csv").attach(trainer)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=2), lambda: trainer.terminate_epoch())
    trainer.run(Unsized(), max_epochs=2)
    assert read_training_log(tmp_path / "log.csv")["epoch"] == [1, 2]

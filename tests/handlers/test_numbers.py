"""A metric that is no number ends no run: logs and history leave it out, and say so once."""

import pytest
import torch
from ignite.engine import Events

from ignite_recipes import History, TensorBoardLog, TrainingLog, read_training_log
from ignite_recipes.handlers._numbers import as_number

OTHERS = [torch.eye(2), "good", {"a": 1}, None, [1, 2], torch.ones(2, 1)]


@pytest.mark.parametrize("value", OTHERS, ids=str)
def test_what_is_no_number_is_none(value):
    assert as_number(value) is None


@pytest.mark.parametrize("value", [2, 2.0, torch.tensor(2.0), torch.tensor([2.0]), "2"])
def test_what_is_one_is_a_float(value):
    assert as_number(value) == 2.0


@pytest.mark.parametrize("value", OTHERS, ids=str)
def test_the_run_ends_by_itself_and_it_is_said_once_by_each(task, tmp_path, caplog, value):
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
    said = [message for message in caplog.messages if "leaves out the metric 'report'" in message]
    assert len(said) == 3

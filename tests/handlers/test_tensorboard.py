"""Scalars that TensorBoard can read, one for each metric and epoch, and none twice after a resume."""

import pytest
from tensorboardX.proto.event_pb2 import Event

from ignite_recipes import EpochAverages, TensorBoardLog, restore_run, run_state, write_checkpoint
from ignite_recipes.handlers.tensorboard import _records


def logged(task, folder):
    trainer = task.trainer()
    EpochAverages("train_").attach(trainer)
    TensorBoardLog(folder).attach(trainer)
    return trainer


def scalars(folder):
    """(tag, step, value) of all events in a folder, from the bytes of its files."""
    found = []
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for step, record in _records(path.read_bytes()):
            event = Event.FromString(record[12:-4])
            found += [(value.tag, step, value.simple_value) for value in event.summary.value]
    return sorted(found)


def test_every_metric_is_a_scalar_at_the_step_of_its_epoch(task, tmp_path):
    trainer = logged(task, tmp_path)
    trainer.run(task.batches, max_epochs=3)
    found = scalars(tmp_path)
    assert [(tag, step) for tag, step, _ in found] == [
        ("learning_rate", 1),
        ("learning_rate", 2),
        ("learning_rate", 3),
        ("loss/train", 1),
        ("loss/train", 2),
        ("loss/train", 3),
    ]
    assert found[-1][2] == pytest.approx(trainer.state.metrics["train_loss"], rel=1e-6)


@pytest.mark.parametrize("left", [b"", b"\x10\x00\x00", b"\xff" * 40], ids=["nothing", "half a record", "rubbish"])
def test_no_step_is_there_twice_after_a_kill_that_follows_a_checkpoint(task, tmp_path, left):
    logged(task, tmp_path / "whole").run(task.batches, max_epochs=4)
    first = logged(task, tmp_path / "log")
    first.run(task.batches, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    first.run(task.batches, max_epochs=3)  # logged, but never saved
    for path in (tmp_path / "log").iterdir():
        path.write_bytes(path.read_bytes() + left)
    second = logged(task, tmp_path / "log")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=4)
    assert scalars(tmp_path / "log") == scalars(tmp_path / "whole")


def test_a_run_that_begins_anew_removes_its_own_events_and_nobody_elses(task, tmp_path):
    other = tmp_path / "events.out.tfevents.1700000000.somebody"
    other.write_bytes(b"")
    logged(task, tmp_path).run(task.batches, max_epochs=2)
    logged(task, tmp_path).run(task.batches, max_epochs=1)
    assert {step for _, step, _ in scalars(tmp_path)} == {1}
    assert other.exists()
    assert len(list(tmp_path.iterdir())) == 2


def test_an_exception_closes_the_file_and_the_run_continues_in_another(task, tmp_path):
    trainer = logged(task, tmp_path)
    trainer.run(task.batches, max_epochs=1)
    with pytest.raises(TypeError):
        trainer.run([*task.batches[:3], None], max_epochs=2)
    trainer.run(task.batches, max_epochs=3)
    assert sorted(step for tag, step, _ in scalars(tmp_path) if tag == "loss/train") == [1, 2, 3]

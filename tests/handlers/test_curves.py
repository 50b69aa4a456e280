"""A picture of the log when a run ends, however it ends."""

import pytest

from ignite_recipes import Curves, EpochAverages, TrainingLog


def drawn(task, folder):
    trainer = task.trainer()
    EpochAverages("train_").attach(trainer)
    log = TrainingLog(folder / "log.csv").attach(trainer)
    Curves(folder / "curves.png", log.path, "units").attach(trainer)
    return trainer


def test_a_run_that_ends_has_its_picture(task, tmp_path):
    drawn(task, tmp_path).run(task.batches, max_epochs=2)
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_so_has_one_that_fails_after_its_first_epoch_but_not_before(task, tmp_path):
    trainer = drawn(task, tmp_path)
    with pytest.raises(TypeError):
        trainer.run([*task.batches[:3], None], max_epochs=2)
    assert not (tmp_path / "curves.png").exists()
    trainer.run(task.batches, max_epochs=1)
    (tmp_path / "curves.png").unlink()
    with pytest.raises(TypeError):
        trainer.run([*task.batches[:3], None], max_epochs=2)
    assert (tmp_path / "curves.png").exists()


def test_a_picture_that_cannot_be_drawn_does_no_harm(task, tmp_path, caplog):
    trainer = drawn(task, tmp_path)
    (tmp_path / "curves.png").mkdir()
    trainer.run(task.batches, max_epochs=2)
    assert trainer.state.epoch == 2
    assert "was not drawn" in caplog.text

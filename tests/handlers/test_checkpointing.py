"""Which epochs are written, which one is the best, and what is refused before the first hour."""

import math
import os

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import BestCheckpoint, Checkpointing, EarlyStopping, TrainEvents, read_checkpoint, restore_run

NAN = math.nan


def files(folder):
    return sorted(path.name for path in folder.iterdir())


WRITTEN = [  # every, epochs, epoch after which something stops the run, epochs written
    (1, 3, None, [1, 2, 3]),
    (2, 5, None, [2, 4, 5]),
    (2, 4, None, [2, 4]),
    (10, 3, None, [3]),
    (2, 9, 3, [2, 3]),
    (2, 9, 4, [2, 4]),
]


@pytest.mark.parametrize(("every", "epochs", "stop", "written"), WRITTEN)
def test_writes_every_so_many_epochs_and_the_last_and_removes_nothing(task, tmp_path, every, epochs, stop, written):
    (tmp_path / "checkpoint_epoch_99.pt").touch()
    trainer = task.trainer()
    checkpointing = Checkpointing(tmp_path, every=every)
    assert checkpointing.attach(trainer) is checkpointing
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: engine.terminate() if engine.state.epoch == stop else None
    )
    trainer.run(task.batches, max_epochs=epochs)
    assert files(tmp_path) == sorted(f"checkpoint_epoch_{epoch}.pt" for epoch in [*written, 99])
    assert [read_checkpoint(tmp_path / f"checkpoint_epoch_{epoch}.pt")["epoch"] for epoch in written] == written


def test_the_epoch_at_which_early_stopping_decides_is_written_with_that_decision(task, tmp_path):
    trainer = task.scripted([1.0, 2.0, 3.0])
    EarlyStopping(patience=1, verbose=False).attach(trainer)
    Checkpointing(tmp_path, every=5).attach(trainer)
    trainer.run(task.batches, max_epochs=9)
    assert files(tmp_path) == ["checkpoint_epoch_2.pt"]
    assert read_checkpoint(tmp_path / "checkpoint_epoch_2.pt")["run"]["parts"]["early_stopping"]["stopped_epoch"] == 2


def test_a_filename_without_an_epoch_holds_the_last_one(task, tmp_path):
    trainer = task.trainer()
    Checkpointing(tmp_path / "new" / "folder", "latest.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert files(tmp_path / "new" / "folder") == ["latest.pt"]
    assert read_checkpoint(tmp_path / "new" / "folder" / "latest.pt")["epoch"] == 3


@pytest.mark.parametrize("every", [1, 3])
def test_saving_changes_nothing_about_the_training(task, tmp_path, every):
    trainer, plain = task.trainer(), task.trainer()
    Checkpointing(tmp_path, every=every).attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    plain.run(task.batches, max_epochs=3)
    assert task.same(task.weights(trainer.model), task.weights(plain.model))


@pytest.mark.parametrize("every", [0, -2])
def test_an_impossible_rhythm_is_refused_by_the_name_of_its_argument(tmp_path, every):
    with pytest.raises(ValueError, match=f"^every must be a whole number of epochs, at least 1; got {every}"):
        Checkpointing(tmp_path, every=every)


BEST = [  # what, mode, values, epochs in which the file is written
    ("falling", "min", [3.0, 2.0, 1.0], [1, 2, 3]),
    ("rising", "min", [1.0, 2.0, 3.0], [1]),
    ("equal is not better", "min", [1.0, 1.0, 0.5], [1, 3]),
    ("NaN is never best", "min", [NAN, 2.0, NAN, 1.0], [2, 4]),
    ("nothing but NaN", "min", [NAN, NAN], []),
    ("infinity is never best", "min", [math.inf, NAN, 2.0], [3]),
    ("larger is better", "max", [0.5, 0.4, NAN, 0.6], [1, 4]),
    ("minus infinity is never best", "max", [-math.inf, -5.0], [2]),
    ("the smallest change counts", "min", [1.0, math.nextafter(1.0, 0.0)], [1, 2]),
]


@pytest.mark.parametrize(("mode", "values", "written"), [case[1:] for case in BEST], ids=[case[0] for case in BEST])
def test_the_best_is_written_on_improvement_only(task, tmp_path, mode, values, written):
    trainer = task.scripted(values)
    path = tmp_path / "best.pt"
    best = BestCheckpoint(path, mode=mode)
    assert best.attach(trainer) is best
    epochs, weights = [], {}

    @trainer.on(Events.EPOCH_STARTED)
    def remove(engine):
        path.unlink(missing_ok=True)

    @trainer.on(Events.EPOCH_COMPLETED)
    def remember(engine):
        weights[engine.state.epoch] = task.weights(engine.model)

    def look(engine):
        if path.exists():
            contents = read_checkpoint(path)
            epochs.append(contents["epoch"])
            assert task.same(dict(contents["model_state_dict"]), weights[engine.state.epoch])
            assert contents["val_loss"] == values[engine.state.epoch - 1]

    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, look)
    trainer.run(task.batches, max_epochs=len(values))
    assert epochs == written
    assert best.best_epoch == (written[-1] if written else None)
    assert best.best == (values[written[-1] - 1] if written else None)


def test_a_resumed_run_does_not_replace_a_better_file(task, tmp_path):
    first, second = task.scripted([1.0, 2.0]), task.scripted([3.0, 0.5])
    BestCheckpoint(tmp_path / "best.pt").attach(first)
    Checkpointing(tmp_path).attach(first)
    first.run(task.batches, max_epochs=2)
    best = BestCheckpoint(tmp_path / "best.pt").attach(second)
    restore_run(second, tmp_path / "checkpoint_epoch_2.pt")
    second.run(task.batches, max_epochs=3)
    assert (best.best, best.best_epoch, read_checkpoint(tmp_path / "best.pt")["epoch"]) == (1.0, 1, 1)
    second.run(task.batches, max_epochs=4)
    assert (best.best, best.best_epoch, read_checkpoint(tmp_path / "best.pt")["epoch"]) == (0.5, 4, 4)


def test_the_metric_may_be_a_function_and_a_missing_one_names_the_known(task, tmp_path):
    trainer = task.scripted([5.0, 5.0], metric="other")
    best = BestCheckpoint(tmp_path / "best.pt", lambda engine: -engine.state.epoch).attach(trainer)
    trainer.run(task.batches, max_epochs=2)
    assert (best.best, best.best_epoch) == (-2.0, 2)
    trainer = task.scripted([5.0], metric="other")
    BestCheckpoint(tmp_path / "best.pt").attach(trainer)
    with pytest.raises(RuntimeError, match=r"'val_loss'.*there are: .*other\. "):
        trainer.run(task.batches, max_epochs=1)


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'min' or 'max'; got 'up'"):
        BestCheckpoint(tmp_path / "best.pt", mode="up")


MAKERS = [Checkpointing, lambda folder: BestCheckpoint(folder / "best.pt")]
both = pytest.mark.parametrize("make", MAKERS, ids=["Checkpointing", "BestCheckpoint"])


@both
def test_an_engine_of_ones_own_is_refused_with_the_remedy_and_nothing_is_made(tmp_path, make):
    with pytest.raises(
        RuntimeError, match=r"create_trainer.*save_checkpoint\(\.\.\.\) in a handler of EPOCH_COMPLETED"
    ):
        make(tmp_path / "new").attach(Engine(lambda engine, batch: None))
    assert files(tmp_path) == []


@both
def test_a_folder_that_cannot_be_made_is_refused_when_it_is_attached(task, tmp_path, make):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make(tmp_path / "file").attach(task.trainer())


@both
def test_a_folder_that_cannot_be_written_to_is_refused_when_it_is_attached(task, tmp_path, monkeypatch, make):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"must be written to .*read-only"):
        make(tmp_path).attach(task.trainer())


@pytest.mark.parametrize("keep", [1, 2])
def test_a_name_that_repeats_never_removes_the_file_just_written(task, tmp_path, keep):
    trainer = task.trainer()
    Checkpointing(tmp_path, "last.pt", keep=keep).attach(trainer)
    trainer.run(task.batches, max_epochs=4)
    assert files(tmp_path) == ["last.pt"]
    assert read_checkpoint(tmp_path / "last.pt")["epoch"] == 4


def test_a_file_that_is_a_link_stays_one(task, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "last.pt").symlink_to(tmp_path / "disk" / "real.pt")
    trainer = task.trainer()
    Checkpointing(tmp_path, "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert (tmp_path / "last.pt").is_symlink()
    assert read_checkpoint(tmp_path / "disk" / "real.pt")["epoch"] == 1


def test_a_tilde_is_the_users_home(task, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trainer = task.trainer()
    Checkpointing("~/runs", "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert read_checkpoint("~/runs/last.pt")["epoch"] == 1
    assert files(tmp_path / "runs") == ["last.pt"]


def test_a_state_with_a_tensor_of_another_class_is_written_so_that_it_can_be_read(task, tmp_path):
    class Marked(torch.Tensor):
        pass

    trainer = task.trainer()
    trainer.metadata = {"marked": torch.ones(2).as_subclass(Marked)}
    Checkpointing(tmp_path, "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert type(read_checkpoint(tmp_path / "last.pt")["metadata"]["marked"]) is torch.Tensor


@pytest.mark.parametrize("ends_by", ["max_iters", "terminate"])
def test_a_run_that_ends_inside_an_epoch_is_saved_there_and_can_be_resumed(task, tmp_path, ends_by):
    whole, first, second = task.trainer(), task.trainer(), task.trainer()
    whole.run(task.batches, max_epochs=3)
    Checkpointing(tmp_path, "last.pt").attach(first)
    if ends_by == "terminate":
        first.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: first.terminate())
        first.run(task.batches, max_epochs=3)
    else:
        first.run(task.batches, max_iters=6)
    restore_run(second, tmp_path / "last.pt")
    assert second.progress.iteration == 6
    second.run(task.batches, max_epochs=3)
    assert task.same(task.weights(second.model), task.weights(whole.model))


def test_an_end_may_be_given_in_epochs_and_then_in_iterations(task):
    whole, other = task.trainer(), task.trainer()
    whole.run(task.batches, max_epochs=4)
    other.run(task.batches, max_epochs=2)
    other.run(task.batches, max_iters=11)
    assert other.state.iteration == 11
    other.run(task.batches, max_epochs=4)
    assert task.same(task.weights(other.model), task.weights(whole.model))


@pytest.mark.parametrize("accumulation_steps", [1, 4])
@pytest.mark.parametrize(("iterations", "epoch"), [(4, 1), (6, 2), (7, 2), (12, 3)])
def test_a_run_that_ends_by_a_number_of_iterations_is_saved_at_its_end(
    task, tmp_path, iterations, epoch, accumulation_steps
):
    trainer = task.trainer(accumulation_steps=accumulation_steps)
    Checkpointing(tmp_path, every=9).attach(trainer)
    trainer.run(task.batches, max_iters=iterations)
    assert files(tmp_path) == [f"checkpoint_epoch_{epoch}.pt"]
    resumed, whole = (task.trainer(accumulation_steps=accumulation_steps) for _ in range(2))
    restore_run(resumed, tmp_path / f"checkpoint_epoch_{epoch}.pt")
    resumed.run(task.batches, max_epochs=4)
    whole.run(task.batches, max_epochs=4)
    assert task.same(task.weights(resumed.model), task.weights(whole.model))


def test_a_trainer_that_starts_anew_does_not_replace_the_best_of_the_run_before(task, tmp_path):
    trainer = task.scripted([1.0, 2.0, 5.0, 4.0])
    best = BestCheckpoint(tmp_path / "best.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=2)
    written = best.path.read_bytes()
    trainer.state.max_epochs = None
    trainer.run(task.batches, max_epochs=2)
    assert best.best == 1.0
    assert best.path.read_bytes() == written

"""A run that is saved inside its epochs continues from each of those files as if it had never stopped."""

import pytest
import torch
from ignite.engine import Events

from ignite_recipes import (
    Checkpointing,
    EpochAverages,
    GradientClipper,
    History,
    LearningRateScheduler,
    NoiseAugmentation,
    restore_run,
)


def saved(task, folder, accumulation_steps=1, **settings):
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    trainer = task.trainer(model, optimizer, accumulation_steps=accumulation_steps)
    saver = Checkpointing(folder, "run_{epoch}.pt", **settings).attach(trainer)  # first, and yet last
    NoiseAugmentation(0.1, None, None).attach(trainer)
    GradientClipper(0.5).attach(trainer)
    EpochAverages("train_").attach(trainer)
    LearningRateScheduler(optimizer, "onecycle", T_max=12).attach(trainer)
    return trainer, History(["train_loss"]).attach(trainer), saver


def copies(trainer, saver, folder):
    """Every file that is written, kept under the iteration at which it was; which they are."""
    folder.mkdir()
    write, iterations = saver.save, []

    def save(engine):
        path = write(engine)
        (folder / f"{engine.state.iteration}.pt").write_bytes(path.read_bytes())
        iterations.append(engine.state.iteration)
        return path

    saver.save = save
    if saver._inside is not None:
        saver._inside.save = save
    return iterations


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_the_run_that_continues_from_any_of_its_files_is_the_uninterrupted_run(task, tmp_path, accumulation_steps):
    trainer, history, saver = saved(task, tmp_path / "a", accumulation_steps, every_iterations=1)
    iterations = copies(trainer, saver, tmp_path / "copies")
    trainer.run(task.batches, max_epochs=3)
    assert iterations == (list(range(1, 13)) if accumulation_steps == 1 else [3, 4, 7, 8, 11, 12])
    for iteration in iterations:
        resumed, again, _ = saved(task, tmp_path / "b", accumulation_steps)
        restore_run(resumed, tmp_path / "copies" / f"{iteration}.pt")
        assert resumed.state.iteration == iteration
        resumed.run(task.batches, max_epochs=3)
        assert task.same(task.weights(resumed.model), task.weights(trainer.model))
        assert again.epochs == history.epochs


def test_a_save_that_falls_into_a_window_or_on_an_epochs_end_waits(task, tmp_path):
    trainer, _, saver = saved(task, tmp_path / "a", 2, every=100, every_iterations=3)
    iterations = copies(trainer, saver, tmp_path / "copies")
    trainer.run(task.batches, max_epochs=3)  # 12 iterations, steps after every second
    assert iterations == [6, 10, 12]  # due at 3: 4 ends the epoch, so 6; due at 9: 10; the last epoch's end


def test_the_file_of_an_epoch_at_hand_has_its_number(task, tmp_path):
    trainer, _, _ = saved(task, tmp_path, every=100, every_iterations=5)
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=7), trainer.terminate)
    trainer.run(task.batches, max_epochs=3)
    assert [path.name for path in tmp_path.iterdir()] == ["run_2.pt"]


@pytest.mark.parametrize("every", [0, -1, 1.5])
def test_a_wrong_interval_is_refused(tmp_path, every):
    with pytest.raises(ValueError, match=f"every_iterations must be .* got {every}"):
        Checkpointing(tmp_path, every_iterations=every)

"""A run is restored whole or not at all, from the newest checkpoint that is sound."""

import logging
import os

import pytest
import torch
from ignite.engine import Events
from support.damage import truncate
from torch import nn

from ignite_recipes import (
    CheckpointError,
    Checkpointing,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    create_trainer,
    read_checkpoint,
    restore_newest,
    restore_run,
    run_state,
    save_checkpoint,
    write_checkpoint,
)
from ignite_recipes.checkpoint.newest import newest_checkpoint
from ignite_recipes.checkpoint.run import FORMAT


def trainer_of(seed=0):
    torch.manual_seed(seed)
    model = nn.Linear(3, 1)
    optimizer = torch.optim.Adam(model.parameters())
    trainer = create_trainer(model, optimizer, lambda m, x, b: {"loss": m(x).square().mean()}, seed=4)
    GradientClipper(0.5).attach(trainer)
    return trainer


def test_a_run_is_restored_whole(tmp_path):
    data = [torch.randn(4, 3) for _ in range(5)]
    whole, first, second = trainer_of(), trainer_of(), trainer_of(seed=9)
    whole.run(data, max_epochs=4)
    first.run(data, max_epochs=2)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    restore_run(second, tmp_path / "run.pt")
    second.run(data, max_epochs=4)
    resumed, expected = run_state(second), run_state(whole)
    assert resumed.pop("identity") == run_state(first)["identity"] != expected.pop("identity")
    assert str(resumed) == str(expected)


def test_a_run_that_does_not_fit_restores_nothing(tmp_path):
    first, second = trainer_of(), trainer_of(seed=9)
    first.run([torch.randn(4, 3)], max_epochs=2)
    contents = run_state(first)
    del contents["run"]["parts"]["gradient_clipping"]["totals"]
    write_checkpoint(contents, tmp_path / "run.pt")
    before = str(run_state(second))
    with pytest.raises(CheckpointError, match="gradient_clipping: 'totals'"):
        restore_run(second, tmp_path / "run.pt")
    assert str(run_state(second)) == before


def test_a_run_that_does_not_fit_in_what_is_loaded_last_leaves_every_handler_as_it_was(tmp_path):
    first, second = trainer_of(), trainer_of(seed=9)
    first.run([torch.randn(4, 3)], max_epochs=2)
    second.run([torch.randn(4, 3)], max_epochs=1)
    contents = run_state(first)
    del contents["run"]["progress"]["stage"]
    write_checkpoint(contents, tmp_path / "run.pt")
    before = str(run_state(second))
    with pytest.raises(CheckpointError, match="progress: 'stage'"):
        restore_run(second, tmp_path / "run.pt")
    assert str(run_state(second)) == before


def test_weights_alone_are_no_run(tmp_path):
    trainer = trainer_of()
    save_checkpoint(trainer.model, trainer.optimizer, 1, 0.0, 0.0, tmp_path / "m.pt")
    with pytest.raises(CheckpointError, match="not a whole run"):
        restore_run(trainer, tmp_path / "m.pt")


def test_handlers_that_came_or_went_are_named_in_the_log(tmp_path, caplog):
    first, second = trainer_of(), trainer_of()
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    History(["train_loss"]).attach(second)
    restore_run(second, tmp_path / "run.pt")
    assert "history was not attached in the run" in caplog.text


@pytest.mark.parametrize(
    ("handler", "level"), [(ExponentialMovingAverage(0.9), "WARNING"), (History(["train_loss"]), "INFO")]
)
def test_a_handler_that_changes_the_training_and_is_missing_is_warned_of(tmp_path, caplog, handler, level):
    first = trainer_of()
    handler.attach(first)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    with caplog.at_level(logging.INFO):
        restore_run(trainer_of(), tmp_path / "run.pt")
    (record,) = [record for record in caplog.records if "is not attached" in record.getMessage()]
    assert record.levelname == level


def test_a_run_cannot_be_saved_inside_an_accumulation_window():
    trainer = trainer_of()
    trainer.updates.first.window.losses = [torch.ones(())]
    with pytest.raises(RuntimeError, match="between optimizer steps only; 1 batches"):
        run_state(trainer)


def test_other_settings_are_refused_by_name(tmp_path):
    trainer = trainer_of()
    trainer.metadata = {"noise_std": 0.1, "lr": 1}
    write_checkpoint(run_state(trainer), tmp_path / "run.pt")
    with pytest.raises(ValueError, match=r"noise_std is 0\.2, the run's is 0\.1\. "):
        restore_run(trainer_of(), tmp_path / "run.pt", settings={"noise_std": 0.2, "lr": 1, "new": 3})


def test_the_newest_sound_checkpoint_is_found(tmp_path, caplog):
    def save(epoch, path):
        run = {"format": FORMAT, "progress": {"iteration": 5 * epoch, "epoch": epoch, "epoch_length": 5}, "parts": {}}
        write_checkpoint({"epoch": epoch, "model_state_dict": {}, "run": run}, tmp_path / path)

    for epoch in (1, 2, 10):
        save(epoch, f"epoch_{epoch}.pt")
    save_checkpoint(torch.nn.Linear(3, 1), None, 99, 0.0, 0.0, tmp_path / "weights_alone.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "dangling.pt").symlink_to(tmp_path / "nowhere.pt")
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_10.pt"
    truncate(tmp_path / "epoch_10.pt")
    assert newest_checkpoint(tmp_path) == tmp_path / "epoch_2.pt"
    assert "epoch_10.pt" in caplog.text
    assert newest_checkpoint(tmp_path / "nowhere") is None
    for path in ("epoch_1.pt", "epoch_2.pt"):
        truncate(tmp_path / path)
    with pytest.raises(CheckpointError, match="none of the 4 checkpoints"):
        newest_checkpoint(tmp_path)


def saving(folder, seed=0):
    trainer = trainer_of(seed)
    Checkpointing(folder).attach(trainer)
    return trainer


def in_order_of_writing(folder, *names):
    """File systems know the time to a few milliseconds only."""
    for k, name in enumerate(names):
        os.utime(folder / name, (k, k))


def epochs(*numbers):
    return [f"checkpoint_epoch_{number}.pt" for number in numbers]


def test_of_two_runs_in_one_folder_the_newest_is_of_the_one_that_has_written_last(tmp_path, caplog):
    data = [torch.ones(4, 3)]
    saving(tmp_path).run(data, max_epochs=5)
    second = saving(tmp_path, seed=1)
    second.run(data, max_epochs=2)
    in_order_of_writing(tmp_path, *epochs(3, 4, 5, 1, 2))
    resumed = saving(tmp_path)
    assert restore_newest(resumed, tmp_path) == tmp_path / "checkpoint_epoch_2.pt"
    assert torch.equal(resumed.model.weight, second.model.weight)
    assert "is the newest of the run that was trained last; files of others, which are left alone: 3" in caplog.text

    first = saving(tmp_path)  # the other one, asked for by its file, is the one that is continued from then on
    restore_run(first, tmp_path / "checkpoint_epoch_5.pt")
    first.run(data, max_epochs=6)
    in_order_of_writing(tmp_path, *epochs(3, 4, 5, 1, 2, 6))
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint_epoch_6.pt"


def test_files_of_older_versions_which_do_not_say_whose_they_are_count_as_one_run(tmp_path, caplog):
    data = [torch.ones(4, 3)]
    saving(tmp_path).run(data, max_epochs=3)
    for name in epochs(1, 2, 3):
        contents = dict(read_checkpoint(tmp_path / name))
        del contents["identity"]
        write_checkpoint(contents, tmp_path / name)
    in_order_of_writing(tmp_path, *epochs(1, 3, 2))
    resumed = saving(tmp_path)
    assert restore_newest(resumed, tmp_path) == tmp_path / "checkpoint_epoch_3.pt"
    resumed.run(data, max_epochs=4)
    assert newest_checkpoint(tmp_path) == tmp_path / "checkpoint_epoch_4.pt"
    assert not caplog.text


def test_a_trainer_that_starts_again_is_another_run(tmp_path):
    trainer = trainer_of()
    trainer.run([torch.ones(4, 3)], max_epochs=1)
    first = run_state(trainer)["identity"]
    trainer.run([torch.ones(4, 3)], max_epochs=2)
    assert run_state(trainer)["identity"] == first
    trainer.state.max_epochs = None
    trainer.run([torch.ones(4, 3)], max_epochs=1)
    assert run_state(trainer)["identity"] != first


def test_damaged_checkpoints_are_named_in_their_order_whatever_that_of_the_folder(tmp_path, caplog, monkeypatch):
    names = ["b.pt", "c.pt", "a.pt"]
    for name in names:
        (tmp_path / name).write_bytes(b"damaged")
    monkeypatch.setattr(type(tmp_path), "glob", lambda folder, pattern: (folder / name for name in names))
    with pytest.raises(CheckpointError):
        newest_checkpoint(tmp_path)
    found = [name for message in caplog.messages for name in names if f"{name}'" in message]
    assert found == ["a.pt", "b.pt", "c.pt"]


def test_a_run_whose_epoch_length_is_not_known_yet_is_found(tmp_path):
    class Unsized:
        def __iter__(self):
            return iter([torch.ones(4, 2)] * 3)

    model = nn.Linear(2, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_trainer(model, optimizer, lambda m, x, batch: {"loss": m(x).sum()})

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def save():
        write_checkpoint(run_state(trainer), tmp_path / "run.pt")

    trainer.run(Unsized(), max_epochs=1)
    assert read_checkpoint(tmp_path / "run.pt")["run"]["progress"]["epoch_length"] is None
    assert newest_checkpoint(tmp_path) == tmp_path / "run.pt"

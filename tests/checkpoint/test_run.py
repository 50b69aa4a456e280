"""A run is restored whole or not at all, from the newest checkpoint that is sound."""

import logging

import pytest
import torch
from ignite.engine import Events
from support.damage import truncate
from torch import nn

from ignite_recipes import (
    CheckpointError,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    create_trainer,
    read_checkpoint,
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
    assert str(run_state(second)) == str(run_state(whole))


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

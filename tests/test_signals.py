"""A run that a signal has stopped at any moment and that is resumed leaves the files of an undisturbed run.

But for the signal's own ``latest_checkpoint.pt``, the log's columns of the clock, ``run.log``, and TensorBoard's files.
"""

import signal
from pathlib import Path

import pytest
import torch
from ignite.engine import Events
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    ExperimentManager,
    Stopped,
    Trainer,
    TrainEvents,
    VariationalAutoencoder,
    make_traffic_windows,
    read_checkpoint,
    read_training_log,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.experiments.log_file import CLOCK_COLUMNS

EPOCHS, BATCHES = 4, 3
DRAW = torch.Generator().manual_seed(0)
ROWS = torch.rand(BATCHES * 8, 6, generator=DRAW).round()
LABELS = torch.arange(len(ROWS)) % 3
SERIES = torch.rand(40, 1, generator=DRAW)


class Raise:
    """Send SIGTERM to the process at an event of a certain epoch, and of a certain batch if one is given."""

    def __init__(self, event, epoch, batch=None):
        self.event, self.epoch, self.batch, self.is_sent = event, epoch, batch, False

    def attach(self, trainer):
        trainer.add_event_handler(self.event, self)

    def __call__(self, engine):
        here = engine.progress.position if self.event == Events.ITERATION_STARTED else None
        if not self.is_sent and engine.state.epoch == self.epoch and here == self.batch:
            self.is_sent = True
            signal.raise_signal(signal.SIGTERM)


MOMENTS = {
    "the first batch": lambda: Raise(Events.ITERATION_STARTED, 1, 1),
    "a batch": lambda: Raise(Events.ITERATION_STARTED, 2, 2),
    "the last batch of an epoch": lambda: Raise(Events.ITERATION_STARTED, 2, BATCHES),
    "the last batch of all": lambda: Raise(Events.ITERATION_STARTED, EPOCHS, BATCHES),
    "before the validation": lambda: Raise(TrainEvents.EPOCH_TRAINED, 2),
    "after the validation": lambda: Raise(Events.EPOCH_COMPLETED, 2),
    "a decision": lambda: Raise(TrainEvents.METRICS_READY, 3),
    "a save": lambda: Raise(TrainEvents.CHECKPOINT_READY, 2),
    "the last save": lambda: Raise(TrainEvents.CHECKPOINT_READY, EPOCHS),
}


def vae(folder, handlers=(), resume=False):
    torch.manual_seed(0)
    loader = DataLoader(ROWS, 8, shuffle=True)
    newest = max(Path(folder).glob("*.pt"), key=lambda path: path.stat().st_mtime_ns) if resume else None
    model = VariationalAutoencoder(6, 2, 8)
    train_variational_autoencoder(
        model,
        loader,
        loader,
        EPOCHS,
        print_every=None,
        checkpoint_dir=folder,
        save_every=2,
        seed=0,
        resume_from=newest,
        handlers=handlers,
    )
    return model


def supervised(folder, handlers=(), resume=False):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(ROWS, LABELS), 8, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    train_model_advanced(
        model,
        loader,
        loader,
        epochs=EPOCHS,
        checkpoint_dir=folder,
        verbose=False,
        seed=0,
        device="cpu",
        resume_from=Path(folder) / "model_latest.pt" if resume else None,
        handlers=handlers,
    )
    return model


def traffic(folder, handlers=(), resume=False):
    windows = make_traffic_windows(SERIES, torch.ones(40), 10, 5)
    newest = max(Path(folder).glob("*.pt"), key=lambda path: path.stat().st_mtime_ns) if resume else None
    parameters = {"num_epochs": EPOCHS, "hidden_size": 8, "batch_size": 9, "checkpoint_dir": str(folder)}
    model, *_ = trainModel(
        parameters, windows, windows, verbose=False, device="cpu", resume_from=newest, handlers=handlers
    )
    return model


def classification(folder, handlers=(), resume=False):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(ROWS, LABELS), 8, shuffle=True)
    model = nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.2), nn.Linear(8, 3))
    experiment = ExperimentManager(str(folder), resume_exp="exp1" if resume else None)
    manager = CheckpointManager(experiment.checkpoints_dir, save_frequency=2)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    criterion = nn.CrossEntropyLoss()
    trainer = Trainer(
        model, loader, loader, criterion, optimizer, "cpu", experiment, manager, seed=0, handlers=handlers
    )
    trainer.train(EPOCHS)
    return model


RECIPES = {"vae": vae, "supervised": supervised, "traffic": traffic, "classification": classification}
SIGNALS_OWN = {"vae": "latest_checkpoint.pt", "traffic": "latest_checkpoint.pt"}


def contents_of(folder, recipe):
    """What each file holds that two runs of one training have in common."""
    held = {}
    for path in sorted(Path(folder).rglob("*")):
        name = str(path.relative_to(folder))
        own = ("run.log", ".lock", "provenance.json", SIGNALS_OWN.get(recipe))  # when, and how often it was started
        if path.is_dir() or "tfevents" in name or path.name in own:
            continue
        if path.suffix == ".pt":
            held[name] = {key: value for key, value in read_checkpoint(path).items() if key != "identity"}
        elif path.name == "training_log.csv":
            log = read_training_log(path)
            held[name] = {column: values for column, values in log.items() if column not in CLOCK_COLUMNS}
        elif path.suffix == ".safetensors":
            held[name] = load_file(path)  # its metadata have no order
        elif path.suffix != ".png":  # a picture shows the clock's columns too
            held[name] = path.read_bytes()
        else:
            held[name] = None
    return held


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    torch.set_num_threads(1)
    folder, found = tmp_path_factory.mktemp("undisturbed"), {}
    for name, train in RECIPES.items():
        model = train(folder / name)
        found[name] = (contents_of(folder / name, name), model.state_dict())
    return found


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_after_the_resume_the_folder_holds_what_an_undisturbed_run_leaves(recipe, moment, undisturbed, tmp_path):
    expected, weights = undisturbed[recipe]
    with pytest.raises(Stopped):
        RECIPES[recipe](tmp_path, [MOMENTS[moment]()])
    model = RECIPES[recipe](tmp_path, resume=True)
    held = contents_of(tmp_path, recipe)
    assert held.keys() == expected.keys()
    for name, value in expected.items():
        assert first_difference({"run": value}, {"run": held[name]}) is None, name
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())


def test_a_signal_that_has_ended_one_run_does_not_end_the_next(tmp_path):
    with pytest.raises(Stopped):
        vae(tmp_path / "first", [MOMENTS["the last batch of all"]()])
    vae(tmp_path / "second")
    assert (tmp_path / "second" / f"checkpoint_epoch_{EPOCHS}.pt").is_file()

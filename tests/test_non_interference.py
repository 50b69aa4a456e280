"""Watching, measuring, printing, saving and drawing one's own numbers leave the training of every recipe as it is."""

import random
import signal

import numpy as np
import pytest
import torch
from ignite.engine import Events
from ignite.metrics import Accuracy
from support.equality import equal
from torch import nn
from torch.optim import SGD
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    Checkpointing,
    CheckpointManager,
    Curves,
    ExperimentManager,
    ExponentialMovingAverage,
    StopOnSignal,
    TensorBoardLog,
    Trainer,
    TrainEvents,
    TrainingLog,
    TrainingStability,
    VariationalAutoencoder,
    getDefaultModelParams,
    make_traffic_windows,
    run_state,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)

pytestmark = pytest.mark.usefixtures("no_pictures")

DRAW = torch.Generator().manual_seed(0)
ROWS = torch.rand(12, 6, generator=DRAW).round()
INPUTS = torch.randn(12, 4, generator=DRAW)
TARGETS = INPUTS.sum(1, keepdim=True)
IMAGES, LABELS = torch.rand(12, 1, 4, 4, generator=DRAW), torch.arange(12) % 2
WINDOWS = make_traffic_windows(torch.rand(30, 2, generator=DRAW), (torch.rand(30, generator=DRAW) < 0.5).float(), 5, 3)
EPOCHS = 3


class Weights:
    """The trained weights after each epoch, not those that the model is handed over with."""

    def __init__(self):
        self.epochs = []

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, self)

    def __call__(self, trainer):
        state = run_state(trainer)
        parts = [*state["model_state_dict"].items(), *enumerate(moments(state["optimizer_state_dict"]))]
        self.epochs.append({name: value.clone() for name, value in parts})


def moments(optimizer_state):
    """The tensors of an optimizer's state."""
    kept = optimizer_state["state"].values()
    return [value for moment in kept for value in moment.values() if isinstance(value, torch.Tensor)]


class Draws:
    """A handler of a user's that draws from every global generator at an event."""

    def __init__(self, event):
        self.event, self.count = event, 0

    def attach(self, trainer):
        trainer.add_event_handler(self.event, self)

    def __call__(self):
        self.count += 1
        random.random(), np.random.rand(3), torch.rand(3)


def vae(folder, handlers, *, validate=True, **settings):
    torch.manual_seed(1)
    model = VariationalAutoencoder(6, 2, 4)
    loader = DataLoader(ROWS, 4, shuffle=True)
    val_loader = DataLoader(ROWS, 4, shuffle=True) if validate else None
    settings = {"print_every": 99, **settings}
    train_variational_autoencoder(model, loader, val_loader, EPOCHS, seed=5, handlers=handlers, **settings)


def advanced(folder, handlers, *, validate=True, **settings):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.2), nn.Linear(4, 1))
    data = TensorDataset(INPUTS, TARGETS)
    val_loader = DataLoader(data, 4, shuffle=True) if validate else None
    settings = {"verbose": False, "scheduler_type": "step", "use_augmentation": True, **settings}
    loader = DataLoader(data, 4, shuffle=True)
    train_model_advanced(
        model, loader, val_loader, epochs=EPOCHS, early_stop_patience=None, seed=5, handlers=handlers, **settings
    )


def traffic(folder, handlers, *, verbose=False, checkpoint_dir=None, **settings):
    parameters = getDefaultModelParams(5, 3, WINDOWS, batch_size=8)
    parameters |= {"hidden_size": 4, "num_layers": 1, "num_epochs": EPOCHS, "early_stop_patience": None, "seed": 5}
    parameters |= {"save_checkpoints": checkpoint_dir is not None, "checkpoint_dir": str(checkpoint_dir)}
    trainModel(parameters, WINDOWS, WINDOWS, verbose, handlers=handlers, **settings)


def classifier(folder, handlers, *, checkpoint_dir=None, **settings):
    torch.manual_seed(1)
    model = nn.Sequential(nn.Flatten(), nn.Linear(16, 4), nn.Dropout(0.2), nn.Linear(4, 2))
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    data = TensorDataset(IMAGES, LABELS)
    loaders = DataLoader(data, 4, shuffle=True), DataLoader(data, 4, shuffle=True)
    manager = None if checkpoint_dir is None else CheckpointManager(str(checkpoint_dir), 1)
    experiment = ExperimentManager(str(folder / "runs"))
    criterion = nn.CrossEntropyLoss()
    settings = {"checkpoint_manager": manager, "seed": 5, "handlers": handlers, **settings}
    Trainer(model, *loaders, criterion, optimizer, "cpu", experiment, **settings).train(EPOCHS)


RECIPES = {"vae": vae, "advanced": advanced, "traffic": traffic, "classifier": classifier}

ADDED = {
    "nothing": lambda folder: {},
    "a progress bar": lambda folder: {"progress": True},
    "TensorBoard": lambda folder: {"handlers": [TensorBoardLog(folder / "events")]},
    "a log": lambda folder: {"handlers": [TrainingLog(folder / "another_log.csv")]},
    "checks of stability": lambda folder: {"handlers": [TrainingStability(every=1)]},
    "a signal's handler": lambda folder: {"handlers": [StopOnSignal()]},
    "checkpoints": lambda folder: {"handlers": [Checkpointing(folder / "more", every=1, keep=2)]},
    "checkpoints inside": lambda folder: {
        "handlers": [Checkpointing(folder / "more", "latest.pt", every_iterations=1)]
    },
    "the recipe's checkpoints": lambda folder: {"checkpoint_dir": folder / "kept"},
    "the recipe's inside": lambda folder: {"checkpoint_dir": folder / "kept", "save_every_iterations": 2},
    "metrics": lambda folder: {"metrics": {"drawn": lambda outputs, targets: torch.rand(()), "none": Accuracy()}},
    "an average": lambda folder: {"handlers": [ExponentialMovingAverage(0.9, validate=False)]},
    "an average that is validated": lambda folder: {"handlers": [ExponentialMovingAverage(0.9)]},
    "the recipe's average": lambda folder: {"ema_decay": 0.9},
    **{
        f"draws at {event.name}": lambda folder, event=event: {"handlers": [Draws(event)]}
        for event in (
            TrainEvents.INPUTS_READY,
            TrainEvents.LOSSES_READY,
            TrainEvents.GRADIENTS_READY,
            TrainEvents.OPTIMIZER_STEP_COMPLETED,
            TrainEvents.METRICS_READY,
            TrainEvents.CHECKPOINT_READY,
            Events.STARTED,
            Events.EPOCH_STARTED,
            Events.ITERATION_STARTED,
            Events.ITERATION_COMPLETED,
            Events.EPOCH_COMPLETED,
        )
    },
}
OWN = {  # what only some recipes have
    "no validation": (["vae", "advanced"], {"validate": False}),
    "a line an epoch": (["vae"], {"print_every": 1}),
    "lines": (["advanced", "traffic", "classifier"], {"verbose": True}),
    "the recipe's checks of stability": (["advanced"], {"check_stability": True}),
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """The weights of every recipe with nothing added."""
    torch.set_num_threads(1)  # as in every test; this is made before
    found = {}
    for name, recipe in RECIPES.items():
        weights = Weights()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Curves, "__call__", lambda *_: None)
            recipe(tmp_path_factory.mktemp(name), [weights])
        assert len(weights.epochs) == EPOCHS
        assert not equal(weights.epochs[0], weights.epochs[-1])  # it trains, or all of this says nothing
        found[name] = weights.epochs
    return found


def check(name, plain, folder, settings):
    weights, handlers = Weights(), settings.pop("handlers", [])
    before = signal.getsignal(signal.SIGINT)
    RECIPES[name](folder, [*handlers, weights], **settings)
    assert signal.getsignal(signal.SIGINT) is before
    assert [equal(a, b) for a, b in zip(weights.epochs, plain[name], strict=True)] == [True] * EPOCHS
    assert all(handler.count >= 1 for handler in handlers if isinstance(handler, Draws))


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("added", ADDED)
def test_the_weights_of_every_epoch_are_the_same(tmp_path, plain, name, added, capsys):
    check(name, plain, tmp_path, ADDED[added](tmp_path))


@pytest.mark.parametrize(("name", "added"), [(name, added) for added, (names, _) in OWN.items() for name in names])
def test_the_weights_are_the_same_with_what_the_recipe_can_be_told(tmp_path, plain, name, added, capsys):
    check(name, plain, tmp_path, dict(OWN[added][1]))


def test_another_rate_is_seen_by_the_comparison(tmp_path, plain):
    weights = Weights()
    vae(tmp_path, [weights], learning_rate=1.001e-3)
    assert not equal(weights.epochs[0], plain["vae"][0])

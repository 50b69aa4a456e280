"""Each recipe on a few rows, with a short last batch in training and validation, in the current folder."""

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    ExperimentManager,
    Trainer,
    VariationalAutoencoder,
    getDefaultModelParams,
    make_traffic_windows,
    multilayer_perceptron,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)

INPUTS = torch.rand(22, 6, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS.sum(1) > 3).long()
WINDOWS = make_traffic_windows(INPUTS[:, :2], LABELS.float(), 6, 3)


def loaders(*tensors):
    data = TensorDataset(*tensors)
    return DataLoader(data, 8, shuffle=True), DataLoader(data, 16)


def vae(epochs, model=None, **settings):
    model = new_vae() if model is None else model
    settings = {"checkpoint_dir": "saved", "seed": 2, "print_every": 99, **settings}
    history = train_variational_autoencoder(model, *loaders(INPUTS), epochs, **settings)
    return model, history, f"saved/checkpoint_epoch_{epochs}.pt"


def new_vae():
    torch.manual_seed(1)
    return VariationalAutoencoder(6, 2, 8)


def new_mlp():
    torch.manual_seed(1)
    return multilayer_perceptron(6, 2, 8, dropout_rate=0.0)


def supervised(epochs, model=None, targets=INPUTS[:, :2], **settings):
    model = new_mlp() if model is None else model
    settings = {"use_scheduler": False, "early_stop_patience": None, "seed": 2, "device": "cpu", **settings}
    data = loaders(INPUTS, targets)
    result = train_model_advanced(model, *data, epochs=epochs, checkpoint_dir="saved", verbose=False, **settings)
    return model, result["history"], "saved/model_latest.pt"


def traffic(epochs, **settings):
    small = {"hidden_size": 8, "num_layers": 1, "num_epochs": epochs, "checkpoint_dir": "saved", "dropout_rate": 0.0}
    parameters = getDefaultModelParams(6, 3, WINDOWS, batch_size=8) | small
    model, histories, _ = trainModel(parameters, WINDOWS, WINDOWS, False, device="cpu", **settings)
    return model, histories, f"saved/checkpoint_epoch_{epochs}.pt"


def classifier(model=None, experiment=None, **settings):
    model = new_mlp() if model is None else model
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    experiment = experiment or ExperimentManager()
    manager = CheckpointManager(experiment.checkpoints_dir)
    data = loaders(INPUTS, LABELS)
    return Trainer(model, *data, nn.CrossEntropyLoss(), optimizer, "cpu", experiment, manager, seed=2, **settings)


def classification(epochs, model=None, **settings):
    trainer = classifier(model, **settings)
    results = trainer.train(epochs)
    return trainer.model, results["history"], f"{trainer.checkpoint_manager.checkpoints_dir}/latest_checkpoint.pt"


RECIPES = {"vae": vae, "supervised": supervised, "traffic": traffic, "classification": classification}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
takes_a_model = pytest.mark.parametrize("recipe", [vae, supervised, classification])

"""Every recipe drops steps, rolls back, averages weights and asks for deterministic algorithms when told to."""

import math

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    CheckpointManager,
    ExperimentManager,
    NonFiniteError,
    Trainer,
    TrainEvents,
    VariationalAutoencoder,
    getDefaultModelParams,
    load_checkpoint,
    make_traffic_windows,
    multilayer_perceptron,
    read_checkpoint,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

INPUTS = torch.rand(40, 6, generator=torch.Generator().manual_seed(0))
LABELS = (INPUTS.sum(1) > 3).long()
LOADERS = DataLoader(TensorDataset(INPUTS, LABELS), 8, shuffle=True), DataLoader(TensorDataset(INPUTS, LABELS), 20)
WINDOWS = make_traffic_windows(INPUTS[:, :2], LABELS.float(), 6, 3)


def vae(epochs, **settings):
    torch.manual_seed(1)
    model = VariationalAutoencoder(6, 2, 8)
    history = train_variational_autoencoder(model, *LOADERS, epochs, checkpoint_dir="saved", seed=2, **settings)
    return model, history, f"saved/checkpoint_epoch_{epochs}.pt"


def supervised(epochs, **settings):
    torch.manual_seed(1)
    model = multilayer_perceptron(6, 2, 8)
    off = {"use_scheduler": False, "early_stop_patience": None, "verbose": False, "device": "cpu"}
    result = train_model_advanced(model, *LOADERS, epochs=epochs, checkpoint_dir="saved", seed=2, **off, **settings)
    return model, result["history"], "saved/model_latest.pt"


def traffic(epochs, **settings):
    small = {"hidden_size": 8, "num_layers": 1, "num_epochs": epochs, "checkpoint_dir": "saved"}
    parameters = getDefaultModelParams(6, 3, WINDOWS, batch_size=8) | small
    model, histories, _ = trainModel(parameters, WINDOWS, WINDOWS, False, device="cpu", **settings)
    return model, histories, f"saved/checkpoint_epoch_{epochs}.pt"


def classification(epochs, **settings):
    torch.manual_seed(1)
    model = multilayer_perceptron(6, 2, 8)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    experiment = ExperimentManager()
    manager = CheckpointManager(experiment.checkpoints_dir)
    parts = model, *LOADERS, nn.CrossEntropyLoss(), optimizer, "cpu", experiment, manager
    results = Trainer(*parts, seed=2, **settings).train(epochs)
    return model, results["history"], f"{manager.checkpoints_dir}/latest_checkpoint.pt"


RECIPES = {"vae": vae, "supervised": supervised, "traffic": traffic, "classification": classification}
every_recipe = pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)


class Spoil:
    """Makes the loss of some iterations infinite: while the learning rate is above a bound."""

    def __init__(self, iterations, above=0.0):
        self.iterations, self.above = iterations, above

    def attach(self, trainer):
        loss_fn = trainer.step.loss_fn

        def spoilt(model, inputs, batch):
            losses = loss_fn(model, inputs, batch)
            is_bad = trainer.state.iteration in self.iterations and trainer.optimizer.param_groups[0]["lr"] > self.above
            return {**losses, "loss": losses["loss"] * (math.inf if is_bad else 1.0)}

        trainer.step.loss_fn = spoilt


@every_recipe
def test_by_default_a_bad_number_ends_the_run(recipe):
    with pytest.raises(NonFiniteError, match="epoch 2, iteration 7: the loss is inf"):
        recipe(3, handlers=[Spoil({7})])


@every_recipe
def test_skip_counts_the_steps_it_drops(recipe):
    model, history, path = recipe(3, non_finite="skip", handlers=[Spoil({2, 7})])
    assert history["skipped_steps"] == [1, 2, 2]
    assert all(value.isfinite().all() for value in model.state_dict().values())
    assert read_checkpoint(path)["run"]["progress"]["counts"]["update"]["skipped"] == 2


@every_recipe
def test_rollback_goes_back_and_counts(recipe):
    rates = {vae: 1e-3, supervised: 1e-3, traffic: 1e-3, classification: 0.1}
    model, history, _ = recipe(3, non_finite="rollback", handlers=[Spoil({7}, rates[recipe] / 3)])
    assert history["rollbacks"] == [0, 2, 2]
    assert len(history["train_loss"]) == 3
    assert all(value.isfinite().all() for value in model.state_dict().values())


@every_recipe
def test_without_such_a_policy_the_history_counts_nothing(recipe):
    assert not {"skipped_steps", "rollbacks"} & set(recipe(1)[1])


@every_recipe
def test_an_average_changes_what_is_measured_and_handed_over_but_not_the_training(recipe):
    _, plain, path = recipe(3)
    trained = read_checkpoint(path)["model_state_dict"]
    model, history, path = recipe(3, ema_decay=0.9)
    contents = read_checkpoint(path)
    assert all(torch.equal(trained[name], value) for name, value in contents["model_state_dict"].items())
    assert history["train_loss"] == plain["train_loss"]
    assert history["val_loss"] != plain["val_loss"]
    averaged = contents["ema_model_state_dict"]
    handed = {name: value.clone() for name, value in model.state_dict().items()}
    load_checkpoint(path, model, averaged=True)
    assert all(torch.equal(averaged[name], value) for name, value in model.state_dict().items())
    if recipe is vae:  # the others hand over the best epoch's
        assert all(torch.equal(averaged[name], value) for name, value in handed.items())
    load_checkpoint(path, model)
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())


@every_recipe
def test_saves_inside_epochs_need_a_place(recipe):
    nowhere = {
        vae: lambda: train_variational_autoencoder(
            VariationalAutoencoder(6, 2, 8), *LOADERS, 1, save_every_iterations=1
        ),
        supervised: lambda: train_model_advanced(multilayer_perceptron(6, 2, 8), *LOADERS, save_every_iterations=1),
        traffic: lambda: trainModel({"save_checkpoints": False}, WINDOWS, WINDOWS, save_every_iterations=1),
        classification: lambda: Trainer(
            model := multilayer_perceptron(6, 2, 8),
            *LOADERS,
            nn.CrossEntropyLoss(),
            torch.optim.SGD(model.parameters(), lr=0.1),
            "cpu",
            ExperimentManager(),
            save_every_iterations=1,
        ),
    }
    with pytest.raises(ValueError, match="save_every_iterations must have a place to save to"):
        nowhere[recipe]()


@every_recipe
def test_deterministic_algorithms_are_used_during_the_run_only(recipe):
    seen = []

    class Look:
        def attach(self, trainer):
            trainer.add_event_handler(
                TrainEvents.BACKWARD_COMPLETED, lambda: seen.append(torch.are_deterministic_algorithms_enabled())
            )

    recipe(1, deterministic=True, handlers=[Look()])
    assert set(seen) == {True}
    assert not torch.are_deterministic_algorithms_enabled()

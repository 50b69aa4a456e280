"""What the recipes put together can be copied too: the classifier's Trainer, and the trainers that handlers see."""

import pytest
import torch
from support.copied import WAYS
from torch import nn

import ignite_recipes as ir

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")
POLICIES = ["raise", "skip", "rollback"]
BATCHES = [(torch.linspace(-1, 1, 12).view(4, 3), torch.tensor([0, 1, 1, 0]))] * 3


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", POLICIES)
def test_a_copy_of_the_classifiers_trainer_continues_as_the_original(way, policy):
    model = nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=12)
    options = {"non_finite": policy, "seed": 0, "ema_decay": 0.9, "max_grad_norm": 1.0}
    trainer = ir.Trainer(
        model,
        BATCHES,
        BATCHES,
        nn.CrossEntropyLoss(),
        optimizer,
        "cpu",
        ir.ExperimentManager(),
        None,
        schedule,
        **options,
    )
    trainer.train(2)
    other = WAYS[way](trainer)
    expected = trainer.train(4)["history"]
    assert other.train(4)["history"] == expected
    assert torch.equal(other.model.weight, model.weight)
    assert other.model.weight is not model.weight


class Copied:
    """A handler of a user's that copies the trainer after the first epoch."""

    def __init__(self, way):
        self.way, self.copy = way, None

    def attach(self, trainer):
        trainer.add_event_handler(ir.TrainEvents.CHECKPOINT_READY, self._copy)

    def _copy(self, trainer):
        if trainer.state.epoch == 1:
            self.copy = WAYS[self.way](trainer)


def supervised(handler, **options):
    ir.train_model_advanced(nn.Linear(3, 2), BATCHES, BATCHES, epochs=2, device="cpu", handlers=[handler], **options)


def vae(handler, **options):
    model = ir.VariationalAutoencoder(3, 1, 4)
    loader = [inputs.abs() for inputs, _ in BATCHES]
    ir.train_variational_autoencoder(model, loader, loader, num_epochs=2, handlers=[handler], **options)


def traffic(handler, **options):
    train, val, _ = ir.load_co2(6, 2)
    small = {"num_epochs": 2, "hidden_size": 4, "num_layers": 1, "save_checkpoints": False, "num_workers": 0}
    parameters = ir.getDefaultModelParams(6, 2, train) | small
    ir.trainModel(parameters, train, val, device="cpu", handlers=[handler], **options)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("recipe", [supervised, vae, traffic])
def test_a_handler_can_copy_the_trainer_of_each_recipe(recipe, policy, way):
    handler = Copied(way)
    recipe(handler, non_finite=policy)
    assert handler.copy.state.epoch == 1
    assert handler.copy.parts.keys() >= {"history"}

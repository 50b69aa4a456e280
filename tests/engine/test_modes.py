"""Who only looks leaves every module in the mode in which it was; who trains asks the model once, when it starts."""

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_recipes import EpochAverages, Validation, create_evaluator, create_trainer

BATCHES = [torch.randn(4, 3, generator=torch.Generator().manual_seed(k)) for k in range(3)]


class Frozen(nn.Sequential):
    """The usual way to keep batch norm frozen: a train() that leaves it in evaluation mode."""

    def train(self, mode=True):
        super().train(mode)
        self[1].eval()
        return self


def loss_fn(model, inputs, batch):
    return {"loss": model(inputs).square().mean()}


def model_of(kind=nn.Sequential):
    torch.manual_seed(0)
    return kind(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 1))


def trainer_of(model):
    return create_trainer(model, torch.optim.SGD(model.parameters(), 0.1), loss_fn, seed=0)


def evaluators(model):
    def update(engine, batch):
        model.eval()  # as Ignite's create_supervised_evaluator does it
        return loss_fn(model, batch, batch)

    yield None
    ours = create_evaluator(model, loss_fn)
    EpochAverages().attach(ours)
    yield ours
    yield Engine(update)


@pytest.mark.parametrize("number", range(3), ids=["no validation", "our evaluator", "Ignite's evaluator"])
@pytest.mark.parametrize("is_own_train", [True, False])
def test_a_part_that_is_frozen_stays_frozen(number, is_own_train):
    model = model_of(Frozen if is_own_train else nn.Sequential)
    if not is_own_train:
        model[1].eval()
    trainer, evaluator = trainer_of(model), list(evaluators(model))[number]
    if evaluator is not None:
        Validation(evaluator, BATCHES).attach(trainer)
    trainer.run(BATCHES, max_epochs=2)
    assert model[1].num_batches_tracked == 0
    assert [module.training for module in model] == [True, False, True]


def test_a_part_that_is_thawed_during_a_run_stays_thawed():
    model = model_of()
    model[1].eval()
    trainer = trainer_of(model)
    trainer.run(BATCHES, max_epochs=1)
    model[1].train()
    trainer.run(BATCHES, max_epochs=2)
    assert model[1].num_batches_tracked == 3

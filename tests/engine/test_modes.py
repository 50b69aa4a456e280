"""Who only looks leaves every module in the mode in which it was; who trains asks the model once, when it starts."""

from functools import partial

import pytest
import torch
from ignite.engine import Engine
from torch import nn

from ignite_recipes import EpochAverages, Validation, create_evaluator, create_trainer, train_model_advanced

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


class Criterion(nn.Module):
    """One whose modes matter, with a part that is frozen."""

    def __init__(self):
        super().__init__()
        self.norm, self.frozen = nn.BatchNorm1d(1), nn.BatchNorm1d(1).eval()
        self.seen = []

    def forward(self, outputs):
        self.seen.append((self.training, torch.is_grad_enabled()))
        return (self.norm(outputs) + self.frozen(outputs)).square().mean()


def in_a_closure(criterion):
    return lambda model, inputs, batch: {"loss": criterion(model(inputs))}


def by_partial(criterion):
    def loss_fn(criterion, model, inputs, batch):
        return {"loss": criterion(model(inputs))}

    return partial(loss_fn, criterion)


class InAnAttribute:
    def __init__(self, criterion):
        self.criterion = criterion

    def __call__(self, model, inputs, batch):
        return {"loss": self.criterion(model(inputs))}


@pytest.mark.parametrize("loss_with", [in_a_closure, by_partial, InAnAttribute])
def test_a_criterion_evaluates_in_validation_and_is_left_as_it_was(loss_with):
    model, criterion = model_of(), Criterion()
    optimizer = torch.optim.SGD([*model.parameters(), *criterion.parameters()], 0.1)
    trainer = create_trainer(model, optimizer, loss_with(criterion), seed=0)
    evaluator = create_evaluator(model, loss_with(criterion))
    EpochAverages().attach(evaluator)
    Validation(evaluator, BATCHES).attach(trainer)
    trainer.run(BATCHES, max_epochs=2)
    assert criterion.seen == ([(True, True)] * 3 + [(False, False)] * 3) * 2
    assert (criterion.norm.num_batches_tracked, criterion.frozen.num_batches_tracked) == (6, 0)
    assert [part.training for part in (criterion, criterion.norm, criterion.frozen)] == [True, True, False]


def test_a_recipes_criterion_is_not_changed_by_validation_nor_by_a_first_try():
    batches, seen = [(batch, batch.sum(1, keepdim=True)) for batch in BATCHES], []
    for validation in (None, batches):
        torch.manual_seed(0)
        model, norm = nn.Linear(3, 1), nn.BatchNorm1d(1)

        class Normed(nn.Module):
            def __init__(self, norm):
                super().__init__()
                self.norm = norm

            def forward(self, outputs, targets):
                return (self.norm(outputs) - targets).square().mean()

        train_model_advanced(model, batches, validation, Normed(norm), epochs=2, seed=0, device="cpu", verbose=False)
        seen.append([norm.num_batches_tracked.item(), *norm.running_mean.tolist(), *norm.running_var.tolist()])
    assert seen[0] == seen[1]
    assert seen[0][0] == 6

"""What a trainer that is pickled is made of: pickle finds functions by the name of their module."""

import copy
import io
import pickle

import torch

from ignite_recipes import EpochAverages, History, Validation, create_evaluator, create_trainer

BATCHES = list(torch.linspace(-1, 1, 42).view(14, 3).split(4))

WAYS = {
    "pickle": lambda item: pickle.loads(pickle.dumps(item)),
    "deepcopy": copy.deepcopy,
    "torch.save": lambda item: through_a_file(item),
}


def through_a_file(item):
    file = io.BytesIO()
    torch.save(item, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch.sum(1, keepdim=True)).square().mean()}


def network():
    torch.manual_seed(5)
    return torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Dropout(0.2), torch.nn.Linear(4, 1))


def whole_trainer(model, optimizer, *handlers):
    """A trainer that validates, averages and records; and with these handlers."""
    trainer = create_trainer(model, optimizer, loss_fn, seed=1)
    evaluator = create_evaluator(model, loss_fn)
    EpochAverages().attach(evaluator)
    Validation(evaluator, BATCHES[:2]).attach(trainer)
    EpochAverages("train_").attach(trainer)
    for handler in handlers:
        handler.attach(trainer)
    History(["train_loss", "val_loss"]).attach(trainer)
    return trainer


def weights_after(trainer, epochs):
    trainer.run(BATCHES, max_epochs=epochs)
    return [value.tolist() for value in trainer.model.state_dict().values()], trainer.parts["history"].epochs


def weights_after_there(pickled, epochs):
    torch.set_num_threads(1)
    return weights_after(pickle.loads(pickled), epochs)


class CopyAt:
    """Copy the trainer when an iteration ends."""

    def __init__(self, iteration, way):
        self.iteration, self.way, self.copy = iteration, way, None

    def __call__(self, trainer):
        if trainer.state.iteration == self.iteration:
            self.copy = WAYS[self.way](trainer)

"""LBFGS on a small regression: an optimizer that computes the loss of the whole data set several times in a step.

Liu, Nocedal, On the limited memory BFGS method for large scale optimization, 1989.
"""

import torch
from sklearn.datasets import load_diabetes
from torch import nn

import ignite_recipes as ir


def patients():
    """Measurements (442, 10), and how far the disease has gone (442, 1), both of about unit variance."""
    data = load_diabetes()
    targets = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return torch.tensor(data.data, dtype=torch.float32) * 21, (targets - targets.mean()) / targets.std()


def loss_fn(model, inputs, batch):
    return {"loss": nn.functional.mse_loss(model(inputs), batch[1])}


def make_run(data, batch_size=442):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(10, 8), nn.Tanh(), nn.Dropout(0.1), nn.Linear(8, 1))
    optimizer = torch.optim.LBFGS(model.parameters(), max_iter=10, line_search_fn="strong_wolfe")
    trainer = ir.create_trainer(model, optimizer, loss_fn, seed=0)
    ir.EpochAverages().attach(trainer)
    ir.NonFiniteGuard("skip").attach(trainer)
    return trainer, torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data), batch_size)


if __name__ == "__main__":
    trainer, loader = make_run(patients())
    print(trainer.run(loader, max_epochs=10).metrics)

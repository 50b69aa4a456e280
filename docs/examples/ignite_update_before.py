"""A regression in your own update function, as Ignite's users write it."""

import torch
from ignite.engine import Engine, Events
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset


def patients():
    data = load_diabetes()
    targets = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return torch.tensor(data.data, dtype=torch.float32) * 21, (targets - targets.mean()) / targets.std()


def main(inputs, targets, epochs=20, folder="checkpoints"):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(inputs, targets), 32, shuffle=True)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    def update(engine, batch):
        model.train()
        optimizer.zero_grad()
        x, y = batch
        loss = mse_loss(model(x), y)
        loss.backward()
        optimizer.step()
        return {"loss": loss.detach()}

    trainer = Engine(update)

    @trainer.on(Events.EPOCH_COMPLETED(every=10))
    def report(engine):
        print(f"epoch {engine.state.epoch}: {engine.state.output['loss'].item():.3f}")

    trainer.run(loader, max_epochs=epochs)
    return model, trainer.state.output


if __name__ == "__main__":
    main(*patients())

"""The same with clipping, an average, float16, a guard and exact resume."""

import torch
from ignite.engine import Engine, Events
from sklearn.datasets import load_diabetes
from torch import nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, TensorDataset

import ignite_recipes as ir


def patients():
    data = load_diabetes()
    targets = torch.tensor(data.target, dtype=torch.float32)[:, None]
    return torch.tensor(data.data, dtype=torch.float32) * 21, (targets - targets.mean()) / targets.std()


def main(inputs, targets, epochs=20, folder="checkpoints"):
    torch.manual_seed(0)
    loader = DataLoader(TensorDataset(inputs, targets), 32, shuffle=True)
    model = nn.Sequential(nn.Linear(10, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 1))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)

    step = ir.Update(optimizer)

    def update(engine, batch):
        model.train()
        x, y = batch
        loss = step(engine, lambda: mse_loss(model(x), y))
        return {"loss": loss.detach()}

    trainer = ir.make_resumable(Engine(update), {"model": model, "step": step}, seed=0)
    ir.MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)
    ir.GradientClipper(1.0).attach(trainer)
    ir.NonFiniteGuard("skip").attach(trainer)
    ir.ExponentialMovingAverage(0.99).attach(trainer)
    saves = ir.Checkpointing(folder, every_iterations=20, keep=2).attach(trainer)
    ir.StopOnSignal(saves.save).attach(trainer)
    ir.restore_newest(trainer, folder)

    @trainer.on(Events.EPOCH_COMPLETED(every=10))
    def report(engine):
        print(f"epoch {engine.state.epoch}: {engine.state.output['loss'].item():.3f}")

    trainer.run(loader, max_epochs=epochs)
    return model, trainer.state.output


if __name__ == "__main__":
    main(*patients())

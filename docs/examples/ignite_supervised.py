"""The same with clipping, an average, float16, a guard and exact resume."""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import ignite_recipes as ir


def digits():
    data = load_digits()
    return torch.tensor(data.images, dtype=torch.float32)[:, None] / 16, torch.tensor(data.target)


def main(images, labels, epochs=3, folder="checkpoints"):
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    split = len(images) * 4 // 5
    train = DataLoader(TensorDataset(images[:split], labels[:split]), 32, shuffle=True)
    val = DataLoader(TensorDataset(images[split:], labels[split:]), 256)
    model = nn.Sequential(nn.Conv2d(1, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(576, 10)).to(device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    criterion = nn.CrossEntropyLoss()
    scaler = torch.amp.GradScaler(device)
    trainer = create_supervised_trainer(model, optimizer, criterion, device, amp_mode="amp", scaler=scaler)
    ir.make_resumable(trainer, {"model": model, "optimizer": optimizer, "scaler": scaler}, seed=0)
    ir.GradientClipper(1.0).attach(trainer)
    ir.NonFiniteGuard("skip").attach(trainer)
    ir.ExponentialMovingAverage(0.99).attach(trainer)
    saves = ir.Checkpointing(folder, every_iterations=20, keep=2).attach(trainer)
    ir.StopOnSignal(saves.save).attach(trainer)
    ir.restore_newest(trainer, folder)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": Loss(criterion)}, device)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run(val)
        print(f"epoch {engine.state.epoch}:", {k: round(v, 3) for k, v in evaluator.state.metrics.items()})

    trainer.run(train, max_epochs=epochs)
    return model, evaluator.state.metrics


if __name__ == "__main__":
    main(*digits())

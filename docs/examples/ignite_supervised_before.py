"""Image classification with Ignite's create_supervised_trainer, as its users write it."""

import torch
from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.metrics import Accuracy, Loss
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


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
    trainer = create_supervised_trainer(model, optimizer, criterion, device)
    evaluator = create_supervised_evaluator(model, {"accuracy": Accuracy(), "loss": Loss(criterion)}, device)

    @trainer.on(Events.EPOCH_COMPLETED)
    def validate(engine):
        evaluator.run(val)
        print(f"epoch {engine.state.epoch}:", {k: round(v, 3) for k, v in evaluator.state.metrics.items()})

    trainer.run(train, max_epochs=epochs)
    return model, evaluator.state.metrics


if __name__ == "__main__":
    main(*digits())

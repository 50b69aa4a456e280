"""Every example of the callbacks document, changed only in its import line, its data and its device."""

import torch
from torch import nn, optim

from ignite_recipes import EarlyStopping, GradientClipCallback, clip_grad_norm

train_loader = [(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(3)]
val_loader = [(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(2)]


class YourModel(nn.Linear):
    def __init__(self):
        super().__init__(3, 1)


def test_early_stopping(capsys):
    # Setup model and optimizer
    model = YourModel()
    optimizer = optim.Adam(model.parameters(), lr=0.3)
    criterion = nn.MSELoss()

    # Initialize early stopping
    early_stopping = EarlyStopping(patience=10, min_delta=1e-4, restore_best_weights=True)
    early_stopping.set_model(model)

    def val_loss_now():
        with torch.no_grad():
            return sum(criterion(model(x), y).item() for x, y in val_loader)

    # Training loop
    losses = []
    for epoch in range(100):
        # Training phase
        model.train()
        train_loss = 0.0
        for batch in train_loader:
            optimizer.zero_grad()
            loss = criterion(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            train_loss += loss.item()

        # Validation phase
        model.eval()
        val_loss = 0.0
        with torch.no_grad():
            for batch in val_loader:
                loss = criterion(model(batch[0]), batch[1])
                val_loss += loss.item()
        losses.append(val_loss)

        # Check early stopping
        if early_stopping.on_epoch_end(epoch, val_loss):
            print(f"Early stopping triggered at epoch {epoch}")
            break

    # Get best metrics
    best_metrics = early_stopping.get_best_metrics()
    print(f"Best validation loss: {best_metrics['best_loss']:.4f}")
    print(f"Best epoch: {best_metrics['best_epoch']}")

    assert len(losses) == best_metrics["best_epoch"] + 11 < 100
    assert losses[best_metrics["best_epoch"]] == best_metrics["best_loss"] == val_loss_now()
    assert f"Early stopping triggered at epoch {epoch}" in capsys.readouterr().out


def test_integration_with_existing_code():
    model = YourModel()

    def train_one_epoch(model):
        return 1.0

    def validate(model):
        return 1.0

    early_stopping = EarlyStopping(patience=10)
    early_stopping.set_model(model)

    for epoch in range(100):
        train_one_epoch(model)
        val_loss = validate(model)
        print(f"Epoch {epoch}: val_loss={val_loss:.4f}")

        if early_stopping.on_epoch_end(epoch, val_loss):  # Added
            break  # Added

    assert epoch == 10


def test_gradient_clipping():
    model = YourModel()
    data = (1000 * torch.randn(8, 3), torch.randn(8, 1))
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    num_epochs = 4

    def compute_loss(model, data):
        return nn.functional.mse_loss(model(data[0]), data[1])

    # Initialize callback
    grad_clip = GradientClipCallback(max_norm=5.0)
    grad_clip.set_model(model)

    # In training loop
    for _ in range(num_epochs):
        optimizer.zero_grad()
        loss = compute_loss(model, data)
        loss.backward()

        # Clip gradients before optimizer step
        grad_clip.on_after_backward()

        optimizer.step()

    norm = torch.nn.utils.get_total_norm([p.grad for p in model.parameters()])
    torch.testing.assert_close(norm, torch.tensor(5.0))
    assert grad_clip.get_stats()["clip_ratio"] == 1.0


def test_standalone_function():
    model = YourModel()
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    (100 * model(torch.ones(4, 3))).sum().backward()

    # After loss.backward()
    total_norm = clip_grad_norm(model.parameters(), max_norm=5.0)

    # Continue with optimizer.step()
    optimizer.step()

    assert total_norm > 5

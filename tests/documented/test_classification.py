"""Every example of the classification document, changed only in its import line, its data and its device."""

import gzip

import numpy as np
import pytest
import torch
import torch.nn as nn
import torch.optim as optim

from ignite_recipes import (
    CheckpointManager,
    DatasetRegistry,
    ExperimentManager,
    MetricsTracker,
    ModelRegistry,
    Trainer,
    get_device,
)
from ignite_recipes.cli import main


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(size.to_bytes(4, "big") for size in array.shape)
    with gzip.open(path, "wb") as file:
        file.write(header + array.astype(np.uint8).tobytes())


@pytest.fixture(autouse=True)
def _in_a_folder_with_a_small_mnist(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    draw = np.random.default_rng(0)
    for part, n in (("train", 192), ("t10k", 50)):  # three batches: a step of this model takes a while
        labels = draw.integers(0, 10, n)
        images = draw.integers(0, 60, (n, 28, 28))
        for k, label in enumerate(labels):
            height, side = 5 * (label % 5), 14 * (label // 5)
            images[k, height + 2 : height + 6, side : side + 14] += 180  # a bar whose place is the class
        write_idx(tmp_path / f"data/MNIST/raw/{part}-images-idx3-ubyte.gz", images)
        write_idx(tmp_path / f"data/MNIST/raw/{part}-labels-idx1-ubyte.gz", labels)


@pytest.mark.slow
def test_quick_start(capsys):
    # Setup
    device = get_device()

    # Create dataset
    dataset = DatasetRegistry.create("mnist")
    train_loader, val_loader = dataset.get_dataloaders(batch_size=64)

    # Create model
    model = ModelRegistry.create("mynet", num_classes=10).to(device)

    # Create training components
    experiment_manager = ExperimentManager(base_dir="runs")
    checkpoint_manager = CheckpointManager(checkpoints_dir=experiment_manager.checkpoints_dir, save_frequency=1)

    criterion = nn.CrossEntropyLoss()
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)

    # Create trainer
    trainer = Trainer(
        model=model,
        train_loader=train_loader,
        val_loader=val_loader,
        criterion=criterion,
        optimizer=optimizer,
        device=device,
        experiment_manager=experiment_manager,
        checkpoint_manager=checkpoint_manager,
        patience=5,  # Early stopping
    )

    # Train
    results = trainer.train(epochs=20)

    # Results
    print(f"Best accuracy: {results['best_accuracy']:.2f}%")
    print(f"Training time: {results['training_time']:.2f}s")

    assert results["best_accuracy"] > 50  # guessing gives 10%
    assert f"Best accuracy: {results['best_accuracy']:.2f}%" in capsys.readouterr().out
    results = trainer.train(epochs=20, start_epoch=0)
    assert results["experiment_dir"] == experiment_manager.experiment_dir


def test_checkpoint_manager():
    model = ModelRegistry.create("mynet", num_classes=10)
    optimizer = optim.AdamW(model.parameters(), lr=1e-3)
    checkpoint_manager = CheckpointManager("checkpoints")
    epoch, loss, accuracy = 10, 0.5, 85.0

    checkpoint_manager.save_checkpoint(
        model=model, optimizer=optimizer, epoch=10, loss=0.5, accuracy=85.0, filepath="checkpoints/epoch_10.pt"
    )

    is_best = checkpoint_manager.save_best_model(model, optimizer, epoch, loss, accuracy)
    assert is_best is True

    checkpoint_manager.save_latest_checkpoint(model, optimizer, epoch, loss, accuracy, additional_info=None)
    checkpoint_manager.save_epoch_checkpoint(model, optimizer, epoch, loss, accuracy, additional_info=None)

    info = checkpoint_manager.load_checkpoint(
        "checkpoints/latest_checkpoint.pt",
        model,
        optimizer,
        strict=False,  # Partial loading
    )
    layers = len(model.state_dict())
    assert info == {
        "epoch": 10,
        "loss": 0.5,
        "accuracy": 85.0,
        "fully_restored": True,
        "loaded_layers": layers,
        "total_layers": layers,
    }
    contents = torch.load("checkpoints/latest_checkpoint.pt", weights_only=True)
    documented = {"epoch", "model_state_dict", "optimizer_state_dict", "loss", "accuracy", "model_config"}
    assert documented <= set(contents)
    assert contents["model_config"] == {"name": "mynet", "num_classes": 10}


def test_experiment_manager():
    for _ in range(4):
        # New experiment (auto-increments exp1, exp2, ...)
        em = ExperimentManager(base_dir="runs")
    em = ExperimentManager(base_dir="runs")
    assert em.experiment_dir == "runs/exp5"

    # Resume existing experiment
    em = ExperimentManager(base_dir="runs", resume_exp="exp5")
    assert em.checkpoints_dir == "runs/exp5/checkpoints"

    # Fork experiment (load checkpoint, save to new experiment)
    em = ExperimentManager(base_dir="runs", fork_exp="exp5")
    assert em.experiment_dir == "runs/exp6"
    assert [em.log_file, em.plot_file, em.config_file] == [
        "runs/exp6/training_log.csv",
        "runs/exp6/training_curves.png",
        "runs/exp6/config.yaml",
    ]


def test_metrics_tracker():
    tracker = MetricsTracker()
    loss_value, outputs, labels = torch.tensor(0.5), torch.eye(10), torch.arange(10)

    # Update with batch results
    tracker.update(loss_value, outputs, labels)

    # Get metrics
    metrics = tracker.get_metrics()
    assert metrics == {"loss": 0.5, "accuracy": 100.0, "total_samples": 10}

    # Reset for next epoch
    tracker.reset()
    assert tracker.get_metrics() == {"loss": 0.0, "accuracy": 0.0, "total_samples": 0}


def test_the_command_lines(capsys):
    """``python train.py`` is ``ignite-recipes classify`` here."""
    classify = ["classify", "--dataset", "mnist", "--device", "cpu"]
    assert main([*classify, "--epochs", "2"]) == 0
    assert main(["classify", "--resume", "exp1", "--epochs", "3"]) == 0
    assert main(["classify", "--fork", "exp1", "--epochs", "1"]) == 0
    assert main([*classify, "--epochs", "2", "--patience", "10"]) == 0
    assert main([*classify, "--epochs", "2", "--reapply-transforms"]) == 0
    assert "runs/exp4" in capsys.readouterr().out
    assert ExperimentManager("runs", resume_exp="exp2").settings()["forked_from"] == "exp1"

"""Every example of the advanced document, changed only in its import line, its data and its device."""

from pathlib import Path

import pytest
import torch
from torch import nn, optim

from ignite_recipes import (
    FAST_TRAINING,
    MEMORY_CONSTRAINED_TRAINING,
    STABLE_TRAINING,
    DataAugmentation,
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    TrainingStability,
    train_model_advanced,
)

train_loader = [(torch.randn(8, 3), torch.randn(8, 1)) for _ in range(3)]


@pytest.fixture
def model():
    return nn.Linear(3, 1)


def gradients_of(model):
    model(torch.randn(4, 3)).square().mean().backward()


def torch_one_cycle(lr, total_steps, steps):
    optimizer = optim.SGD(nn.Linear(1, 1).parameters(), lr)
    scheduler = optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps)
    for _ in range(steps):
        optimizer.step()
        scheduler.step()
    return scheduler.get_last_lr()[0]


@pytest.mark.parametrize("scheduler_type", ["plateau", "cosine", "step", "exp", "onecycle"])
def test_learning_rate_scheduling(model, scheduler_type, capsys):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    epochs = 20

    def train_one_epoch():
        gradients_of(model)
        optimizer.step()

    def validate():
        return 1.0

    # Initialize scheduler
    scheduler = LearningRateScheduler(
        optimizer,
        scheduler_type=scheduler_type,  # or 'cosine', 'step', 'exp', 'onecycle'
        patience=5,  # For plateau
        factor=0.5,  # For plateau/step
        T_max=50,  # For cosine
        gamma=0.95,  # For step/exp
    )

    # In training loop
    for _ in range(epochs):
        # Train...
        train_one_epoch()

        # Validate
        val_loss = validate()

        # Step scheduler
        if scheduler_type == "plateau":
            scheduler.step(val_loss)  # Pass metric for plateau
        else:
            scheduler.step()  # No metric needed

        # Get current LR
        current_lr = scheduler.get_lr()
        print(f"Learning rate: {current_lr}")

    expected = {"plateau": 0.1 * 0.5**3, "cosine": 0.0654508, "step": 0.1 * 0.95**2, "exp": 0.1 * 0.95**20}
    if scheduler_type == "onecycle":
        expected["onecycle"] = torch_one_cycle(lr=0.1, total_steps=50, steps=epochs)
    assert current_lr == pytest.approx(expected[scheduler_type])
    assert len(capsys.readouterr().out.splitlines()) == epochs


def test_gradient_clipping(model, capsys):
    optimizer = optim.SGD(model.parameters(), lr=0.1)

    # Initialize clipper
    grad_clipper = GradientClipper(max_norm=1.0, norm_type=2.0)

    # In training loop
    for batch in train_loader:
        loss = 100 * model(batch[0]).square().mean()
        loss.backward()

        # Clip gradients
        grad_norm = grad_clipper.clip(model)

        optimizer.step()

    # Get statistics
    stats = grad_clipper.get_stats()
    print(f"Mean gradient norm: {stats['mean_norm']}")

    assert stats["num_steps"] == 3
    assert stats["last_norm"] == grad_norm.item() > 1
    assert "Mean gradient norm" in capsys.readouterr().out


def test_mixed_precision(model):
    optimizer = optim.SGD(model.parameters(), lr=0.1)
    criterion = nn.MSELoss()
    before = model.weight.detach().clone()

    # Initialize
    with pytest.warns(UserWarning, match="mixed precision does nothing on 'cpu'"):
        mp_trainer = MixedPrecisionTrainer(enabled=True, device="cpu")

    # In training loop
    for inputs, targets in train_loader:
        optimizer.zero_grad()

        # Forward pass with autocast
        with mp_trainer.autocast():
            outputs = model(inputs)
            loss = criterion(outputs, targets)

        # Backward with scaling
        scaled_loss = mp_trainer.scale_loss(loss)
        scaled_loss.backward()

        # Optimizer step with scaling
        mp_trainer.step_optimizer(optimizer)

    assert not torch.equal(model.weight, before)


def test_data_augmentation():
    mel_features, emotion, notes = torch.ones(4, 64, 100), torch.randn(4, 32), torch.rand(4, 128)

    augmenter = DataAugmentation()

    # Augment mel-spectrogram
    augmented_mel = augmenter.augment_audio_features(mel_features, noise_level=0.01, time_mask=True, freq_mask=True)

    # Add small noise to emotion embeddings
    augmented_emotion = augmenter.augment_emotion_embedding(emotion, noise_level=0.05)

    # Augment note probabilities
    augmented_notes = augmenter.augment_note_probabilities(notes, dropout_prob=0.1, noise_level=0.05)

    assert augmented_mel.shape == mel_features.shape
    assert (augmented_mel == 0).any()
    assert 0 < (augmented_emotion - emotion).abs().max() < 1
    assert augmented_notes.ge(0).all()
    assert augmented_notes.le(1).all()


def test_stability_checks(model, capsys):
    gradients_of(model)

    # Check gradients
    grad_stats = TrainingStability.check_gradients(model, verbose=True)

    print(f"Max gradient: {grad_stats['max_grad']}")
    print(f"NaN gradients: {grad_stats['nan_grads']}")
    print(f"Inf gradients: {grad_stats['inf_grads']}")

    # Check weights
    weight_stats = TrainingStability.check_weights(model, verbose=True)

    print(f"Max weight: {weight_stats['max_weight']}")
    print(f"NaN weights: {weight_stats['nan_weights']}")

    assert grad_stats["max_grad"] == max(p.grad.abs().max() for p in model.parameters())
    assert weight_stats["max_weight"] == max(p.abs().max() for p in model.parameters())
    assert grad_stats["nan_grads"] == grad_stats["inf_grads"] == weight_stats["nan_weights"] == 0
    assert len(capsys.readouterr().out.splitlines()) == 7


def test_complete_example(model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    val_loader, criterion = train_loader, nn.MSELoss()

    # Train with all advanced features
    results = train_model_advanced(
        model=model,
        train_loader=train_loader,
        val_loader=val_loader,
        criterion=criterion,
        epochs=100,
        learning_rate=0.001,
        device="cpu",
        checkpoint_dir=Path("./checkpoints"),
        model_name="emotion_recognizer",
        # Advanced features
        use_scheduler=True,
        scheduler_type="plateau",
        gradient_clip=1.0,
        use_mixed_precision=True,
        use_augmentation=True,
        early_stop_patience=10,
        check_stability=True,
        verbose=True,
    )

    print(f"Best validation loss: {results['best_val_loss']}")
    print(f"Best epoch: {results['best_epoch']}")

    assert f"Best epoch: {results['best_epoch']}" in capsys.readouterr().out
    assert (tmp_path / "checkpoints/emotion_recognizer_best.pt").exists()


@pytest.mark.parametrize(
    ("preset", "config"),
    [
        (
            FAST_TRAINING,
            {
                "use_scheduler": True,
                "scheduler_type": "onecycle",
                "gradient_clip": None,
                "use_mixed_precision": True,
                "use_augmentation": False,
                "early_stop_patience": 5,
            },
        ),
        (
            STABLE_TRAINING,
            {
                "use_scheduler": True,
                "scheduler_type": "plateau",
                "gradient_clip": 1.0,
                "use_mixed_precision": False,  # More stable
                "use_augmentation": True,
                "early_stop_patience": 15,
                "check_stability": True,
            },
        ),
        (
            MEMORY_CONSTRAINED_TRAINING,
            {
                "use_scheduler": True,
                "scheduler_type": "cosine",
                "gradient_clip": 0.5,
                "use_mixed_precision": True,  # Saves memory
                "use_augmentation": False,
                "early_stop_patience": 10,
            },
        ),
    ],
    ids=["fast", "stable", "memory"],
)
def test_presets(model, preset, config):
    assert preset == config
    assert train_model_advanced(model, train_loader, epochs=3, verbose=False, **preset)["epochs_trained"] == 3

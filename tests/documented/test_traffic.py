"""Every example of the traffic document, changed only in its import line, its data and its device."""

import pytest

from ignite_recipes import getDefaultModelParams, load_co2, set_seed, trainModel, trainModelByDefaultSetting


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


your_train_data, your_test_data, _ = load_co2()
trainData, testData = your_train_data, your_test_data


def test_usage_example(capsys):
    # Basic usage with defaults
    best_model, histories, info = trainModelByDefaultSetting(
        len_source=10, len_target=5, trainData=your_train_data, testData=your_test_data, verbose=True
    )

    # Access training history
    train_losses = histories["train_loss"]
    val_losses = histories["val_loss"]
    learning_rates = histories["learning_rate"]

    # Access training info
    print(f"Best epoch: {info['best_epoch']}")
    print(f"Best validation loss: {info['best_val_loss']}")
    print(f"Stopped early: {info['stopped_early']}")

    assert len(train_losses) == len(val_losses) == len(learning_rates) == info["total_epochs_trained"]
    assert f"Best epoch: {info['best_epoch']}" in capsys.readouterr().out
    assert best_model.output_size == 5


@pytest.mark.slow
def test_custom_parameters_example(tmp_path):
    # Get custom parameters
    params = getDefaultModelParams(
        len_source=10,
        len_target=5,
        dataset=trainData,
        batch_size=512,  # Custom batch size
        learning_rate=5e-4,  # Custom learning rate
        dropout_rate=0.3,  # Custom dropout
    )

    # Add custom parameters
    params["early_stop_patience"] = 15
    params["gradient_clip"] = 0.5
    params["use_scheduler"] = True
    params["checkpoint_dir"] = "my_checkpoints"

    # Train with custom parameters
    best_model, histories, info = trainModel(parameters=params, trainData=trainData, testData=testData, verbose=True)

    assert best_model.training in (True, False)
    assert len(histories["val_loss"]) == info["total_epochs_trained"]
    assert (tmp_path / "my_checkpoints/best_model.pt").exists()


@pytest.mark.slow
def test_migration_guide():
    set_seed(42)

    # New - returns 3 values, but with more information
    best_model, histories, info = trainModelByDefaultSetting(10, 5, trainData, testData)

    # Extract what you need
    avg_train_loss_history = histories["train_loss"]
    avg_test_loss_history = histories["val_loss"]

    assert len(avg_train_loss_history) == len(avg_test_loss_history) == info["total_epochs_trained"]
    assert best_model is not None

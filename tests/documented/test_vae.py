"""Every example of the VAE document, changed only in its import line, its data and its device."""

import os

import matplotlib as mpl
import pytest
import torch

from ignite_recipes import (
    VariationalAutoencoder,
    add_noise,
    count_parameters,
    create_dataloaders,
    create_species_matrix,
    get_device,
    load_checkpoint,
    load_ebird_data,
    print_model_summary,
    save_checkpoint,
    set_seed,
    split_train_val,
    train_variational_autoencoder,
    write_example_ebd,
)

device = "cpu"

pytestmark = [
    # plt.show() has no window to open here.
    pytest.mark.filterwarnings("ignore:FigureCanvasAgg is non-interactive:UserWarning"),
    # The document's four workers are more than this machine has cores.
    pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning"),
]


@pytest.fixture(autouse=True)
def _in_a_folder_with_data(tmp_path, monkeypatch):
    mpl.use("Agg")
    monkeypatch.chdir(tmp_path)
    write_example_ebd("kerala.txt", 200)
    os.link("kerala.txt", "kerala_data.txt")


@pytest.fixture
def loaders():
    matrix, species = create_species_matrix(load_ebird_data("kerala.txt"))
    train_ds, val_ds = split_train_val(matrix, species, val_size=0.2)
    return create_dataloaders(train_ds, val_ds, batch_size=128)


@pytest.fixture
def model(loaders):
    return VariationalAutoencoder(loaders[0].dataset.num_features, 16, 512)


def test_quick_start():
    # Set random seed for reproducibility
    set_seed(42)

    # Load and prepare data
    data = load_ebird_data("kerala.txt")
    matrix, species = create_species_matrix(data, min_species_observations=30)
    train_ds, val_ds = split_train_val(matrix, species, val_size=0.2)
    train_loader, val_loader = create_dataloaders(train_ds, val_ds, batch_size=128)

    # Create model
    model = VariationalAutoencoder(input_dimension=len(species), latent_dimension=16, hidden_dimension=512)

    # Auto-detect device
    device = get_device()

    # Train!
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=50,
        learning_rate=1e-3,
        noise_std=0.1,
        device=device,
        checkpoint_dir="checkpoints",
        save_every=10,
    )

    # Plot training curves
    import matplotlib.pyplot as plt

    plt.plot(history["train_loss"], label="Train")
    plt.plot(history["val_loss"], label="Val")
    plt.legend()
    plt.show()

    assert history["val_loss"][-1] < history["val_loss"][0]
    assert sorted(os.listdir("checkpoints")) == [f"checkpoint_epoch_{n}.pt" for n in (10, 20, 30, 40, 50)]


def test_get_device():
    # Auto-detect (prefers CUDA if available)
    device = get_device()

    # Prefer MPS over CUDA (for Apple Silicon)
    device = get_device(prefer_cuda=False)
    assert isinstance(device, torch.device)


def test_save_checkpoint():
    vae_model = VariationalAutoencoder(20, 16)
    optimizer = torch.optim.Adam(vae_model.parameters())
    training_history = {"train_loss": [130.0, 120.5], "val_loss": [131.0, 125.3]}

    save_checkpoint(
        model=vae_model,
        optimizer=optimizer,
        epoch=50,
        train_loss=120.5,
        val_loss=125.3,
        filepath="checkpoints/best_model.pt",
        history=training_history,
        metadata={"latent_dim": 16, "noise_std": 0.1},
    )

    saved = torch.load("checkpoints/best_model.pt", weights_only=True)
    assert {k: v for k, v in saved.items() if not k.endswith("state_dict")} == {
        "epoch": 50,
        "train_loss": 120.5,
        "val_loss": 125.3,
        "history": training_history,
        "metadata": {"latent_dim": 16, "noise_std": 0.1},
    }


def test_load_checkpoint_and_resume(loaders):
    train_loader, val_loader = loaders
    first = VariationalAutoencoder(input_dimension=train_loader.dataset.num_features, latent_dimension=16)
    train_variational_autoencoder(first, train_loader, val_loader, num_epochs=50, checkpoint_dir="checkpoints")

    # Create fresh model and optimizer
    model = VariationalAutoencoder(input_dimension=train_loader.dataset.num_features, latent_dimension=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    # Load checkpoint
    checkpoint = load_checkpoint(
        filepath="checkpoints/checkpoint_epoch_50.pt", model=model, optimizer=optimizer, device=device
    )

    # Resume training from checkpoint
    start_epoch = checkpoint["epoch"] + 1
    previous_history = checkpoint["history"]

    # Continue training
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=100,  # Train to epoch 100
        resume_from="checkpoints/checkpoint_epoch_50.pt",
    )

    assert start_epoch == 51
    assert history["train_loss"][:50] == previous_history["train_loss"]
    assert len(history["train_loss"]) == 100


def test_print_model_summary(capsys):
    model = VariationalAutoencoder(467, 16, 512)
    print_model_summary(model)
    out = capsys.readouterr().out
    for line in ("Total parameters: 1,554,931", "Trainable parameters: 1,554,931", "Model size: 5.93 MB"):
        assert line in out.splitlines()


def test_count_parameters(capsys):
    model = VariationalAutoencoder(467, 16, 512)

    total, trainable = count_parameters(model)
    print(f"Total: {total:,}, Trainable: {trainable:,}")
    # Total: 1,554,931, Trainable: 1,554,931

    assert capsys.readouterr().out == "Total: 1,554,931, Trainable: 1,554,931\n"


def test_set_seed():
    set_seed(42)  # Now all random operations are deterministic


def test_add_noise():
    clean = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    noisy = add_noise(clean, noise_std=0.1)
    # Output: tensor([[0.05, 0.98, 0.02, 1.00]])

    assert (noisy - clean).abs().max() < 0.5
    assert noisy.min() >= 0
    assert noisy.max() <= 1


def test_standard_training(model, loaders):
    train_loader, val_loader = loaders
    history = train_variational_autoencoder(
        model, train_loader, val_loader, num_epochs=50, learning_rate=1e-3, noise_std=0.1, device=device
    )
    assert len(history["val_loss"]) == 50


def test_no_noise(model, loaders):
    train_loader, val_loader = loaders
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=50,
        learning_rate=1e-3,
        noise_std=0.0,  # No noise augmentation
        device=device,
    )
    assert len(history["val_loss"]) == 50


def test_heavy_regularization(model, loaders):
    train_loader, val_loader = loaders
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=50,
        learning_rate=1e-3,
        noise_std=0.2,  # More noise = more regularization
        device=device,
    )
    assert len(history["val_loss"]) == 50


def test_with_checkpointing(model, loaders):
    train_loader, val_loader = loaders
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=100,
        checkpoint_dir="checkpoints/experiment_1",
        save_every=5,  # Save every 5 epochs
        device=device,
    )
    assert len(history["val_loss"]) == 100
    assert len(os.listdir("checkpoints/experiment_1")) == 20


@pytest.mark.slow
def test_complete_training_pipeline(capsys):
    import matplotlib.pyplot as plt

    # 1. Set random seed for reproducibility
    set_seed(42)

    # 2. Load and preprocess data
    print("Loading data...")
    data = load_ebird_data("kerala_data.txt", nrows=500000)

    print("Creating species matrix...")
    matrix, species = create_species_matrix(data, min_species_observations=50)

    print("Splitting into train/val...")
    train_ds, val_ds = split_train_val(matrix, species, val_size=0.2)

    print("Creating DataLoaders...")
    train_loader, val_loader = create_dataloaders(
        train_ds,
        val_ds,
        batch_size=128,
        num_workers=4,
        pin_memory=True,  # For GPU training
    )

    # 3. Create model
    print("\nCreating model...")
    model = VariationalAutoencoder(input_dimension=len(species), latent_dimension=16, hidden_dimension=512)

    print_model_summary(model)

    # 4. Setup training
    device = get_device()

    # 5. Train
    print("\nStarting training...")
    history = train_variational_autoencoder(
        model,
        train_loader,
        val_loader,
        num_epochs=10,  # of 50: each of them starts eight workers
        learning_rate=1e-3,
        noise_std=0.1,
        device=device,
        checkpoint_dir="checkpoints/kerala_vae",
        save_every=10,
        print_every=5,
    )

    # 6. Save final model
    import torch

    torch.save(model.state_dict(), "vae_kerala_final.pt")

    # 7. Plot training curves
    _, axes = plt.subplots(1, 3, figsize=(15, 4))

    # Total loss
    axes[0].plot(history["train_loss"], label="Train")
    axes[0].plot(history["val_loss"], label="Val")
    axes[0].set_xlabel("Epoch")
    axes[0].set_ylabel("Total Loss")
    axes[0].set_title("Total Loss")
    axes[0].legend()

    # Reconstruction loss
    axes[1].plot(history["train_recon_loss"], label="Train")
    axes[1].plot(history["val_recon_loss"], label="Val")
    axes[1].set_xlabel("Epoch")
    axes[1].set_ylabel("Reconstruction Loss")
    axes[1].set_title("Reconstruction Loss (BCE)")
    axes[1].legend()

    # KL divergence
    axes[2].plot(history["train_kl_loss"], label="Train")
    axes[2].plot(history["val_kl_loss"], label="Val")
    axes[2].set_xlabel("Epoch")
    axes[2].set_ylabel("KL Divergence")
    axes[2].set_title("KL Divergence")
    axes[2].legend()

    plt.tight_layout()
    plt.savefig("training_curves.png", dpi=300)
    plt.show()

    print("\n✅ Training complete!")

    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines if line.startswith("Epoch")] == [f"Epoch {n}/10" for n in (5, 10)]
    assert os.path.exists("training_curves.png")
    assert len(torch.load("vae_kerala_final.pt", weights_only=True)) == len(model.state_dict())

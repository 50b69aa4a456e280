"""Middle-sized steps: the denoising VAE at 470 species, width 512, batches of 128.

Every program trains a model of the same shapes on the same 6,400 checklists (50 steps an epoch), with noise on the
inputs, averages of the loss and its two parts, and a validation on 1,280 checklists an epoch.
"""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy

from benchmarks import plain
from benchmarks.measuring import Program
from benchmarks.mlp import multiply, quiet

ROWS, VAL_ROWS, SPECIES, LATENT, WIDTH, BATCH, EPOCHS = 6400, 1280, 470, 16, 512, 128, 4
STEPS = EPOCHS * ROWS // BATCH
NOISE = 0.1


def make_model() -> nn.Module:
    from ignite_recipes import VariationalAutoencoder

    torch.manual_seed(0)
    return VariationalAutoencoder(SPECIES, LATENT, WIDTH)


def make_data(rows: int = ROWS) -> Tensor:
    generator = torch.Generator().manual_seed(rows)
    return (torch.rand(rows, SPECIES, generator=generator) < torch.linspace(0.005, 0.4, SPECIES)).float()


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    """As the loss is mostly written: cross-entropy of the sigmoid's result."""
    clean = batch[0]
    noisy = (clean + NOISE * torch.randn_like(clean)).clamp(0, 1) if training else clean
    reconstruction, mean, log_variance = model(noisy)
    fit = binary_cross_entropy(reconstruction, clean, reduction="sum") / len(clean)
    divergence = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp()) / len(clean)
    return {"loss": fit + divergence, "recon_loss": fit, "kl_loss": divergence}


def by_hand(train: Callable[..., None], loader: Callable[..., Any]) -> Callable[[], None]:
    train_loader, val_loader = loader((make_data(),), BATCH, True), loader((make_data(VAL_ROWS),), BATCH, False)
    return lambda: train(make_model(), losses, train_loader, val_loader, EPOCHS)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import RowDataset, create_dataloaders, train_variational_autoencoder

    loaders = create_dataloaders(RowDataset(make_data()), RowDataset(make_data(VAL_ROWS)), batch_size=BATCH)
    return lambda: train_variational_autoencoder(
        make_model(), *loaders, num_epochs=EPOCHS, seed=0, print_every=10 * EPOCHS, **settings
    )


def with_lightning() -> Callable[[], None]:
    quiet()
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            values = losses(self.net, batch, True)
            named = {f"train_{name}": value for name, value in values.items()}
            self.log_dict(named, on_step=False, on_epoch=True, batch_size=len(batch[0]))
            return values["loss"]

        def validation_step(self, batch: Any, index: int) -> None:
            self.log("val_loss", losses(self.net, batch, False)["loss"], batch_size=len(batch[0]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    train_loader = plain.row_loader((make_data(),), BATCH, True)
    val_loader = plain.row_loader((make_data(VAL_ROWS),), BATCH, False)

    def work() -> None:
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), train_loader, val_loader)

    return work


def with_ignite() -> Callable[[], None]:
    quiet()
    from ignite.engine import Engine, Events
    from ignite.metrics import RunningAverage

    train_loader = plain.row_loader((make_data(),), BATCH, True)
    val_loader = plain.row_loader((make_data(VAL_ROWS),), BATCH, False)

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters())

        def update(engine: Engine, batch: Any) -> dict[str, float]:
            model.train()
            optimizer.zero_grad()
            values = losses(model, batch, True)
            values["loss"].backward()
            optimizer.step()
            return {name: value.item() for name, value in values.items()}

        @torch.no_grad()
        def evaluate(engine: Engine, batch: Any) -> float:
            model.eval()
            return losses(model, batch, False)["loss"].item()

        trainer, evaluator = Engine(update), Engine(evaluate)
        for name in ("loss", "recon_loss", "kl_loss"):
            RunningAverage(output_transform=lambda output, name=name: output[name]).attach(trainer, name)
        RunningAverage(output_transform=lambda loss: loss).attach(evaluator, "val_loss")
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
        trainer.run(train_loader, max_epochs=EPOCHS)

    return work


def with_accelerate() -> Callable[[], None]:
    quiet()
    from accelerate import Accelerator

    rows, val_rows = (make_data(),), (make_data(VAL_ROWS),)

    def work() -> None:
        accelerator = Accelerator(cpu=True)
        model: Any = make_model()
        optimizer: Any = torch.optim.Adam(model.parameters())
        model, optimizer, train_loader, val_loader = accelerator.prepare(
            model, optimizer, plain.row_loader(rows, BATCH, True), plain.row_loader(val_rows, BATCH, False)
        )
        for _ in range(EPOCHS):
            model.train()
            totals = {"loss": 0.0, "recon_loss": 0.0, "kl_loss": 0.0}
            for batch in train_loader:
                optimizer.zero_grad()
                values = losses(model, batch, True)
                accelerator.backward(values["loss"])
                optimizer.step()
                for name, value in values.items():
                    totals[name] += value.item() * len(batch[0])
            model.eval()
            with torch.no_grad():
                sum(losses(model, batch, False)["loss"].item() * len(batch[0]) for batch in val_loader)

    return work


def floor() -> Callable[[], None]:
    """The matrix products of the training steps, and nothing else."""
    encoder = (SPECIES, WIDTH, WIDTH, WIDTH, 2 * LATENT)
    decoder = (LATENT, WIDTH, WIDTH, WIDTH, SPECIES)
    layers = [
        (torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o), number > 0)
        for number, (i, o) in enumerate((*itertools.pairwise(encoder), *itertools.pairwise(decoder)))
    ]
    return partial(multiply, layers, STEPS)


PROGRAMS: dict[str, Program] = {
    "matrix products alone": floor,
    "plain loop": partial(by_hand, plain.train, plain.row_loader),
    "tuned loop": partial(by_hand, plain.train_tuned, plain.batched_loader),
    "**train_variational_autoencoder**": recipe,
    "Ignite": with_ignite,
    "Accelerate": with_accelerate,
    "Lightning": with_lightning,
}

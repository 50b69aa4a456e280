"""The traffic predictor on batches of 1,024 windows: a small network with batch norm and three heads.

Every program trains the same model on the same 20,480 windows (20 steps an epoch) with clipping, averages, validation
on 4,096 windows, early stopping and the best weights kept; nothing is written to disk.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks import plain
from benchmarks.measuring import Program
from benchmarks.mlp import quiet

WINDOWS, VAL_WINDOWS, SOURCE, TARGET, FEATURES, BATCH, EPOCHS = 20480, 4096, 10, 5, 3, 1024, 4
STEPS = EPOCHS * WINDOWS // BATCH


def make_arrays(windows: int = WINDOWS) -> tuple[Tensor, ...]:
    from ignite_recipes import make_traffic_windows

    generator = torch.Generator().manual_seed(windows)
    samples = windows + SOURCE + TARGET - 1
    context = torch.randn(samples, FEATURES, generator=generator).cumsum(0).mul(0.05).sin().mul(0.5).add(0.5)
    flags = (torch.rand(samples, generator=generator) < 0.3).float()
    flags[0] = 1.0
    return tuple(make_traffic_windows(context, flags, SOURCE, TARGET))


def make_model() -> nn.Module:
    from ignite_recipes import TrafficPredictor

    torch.manual_seed(0)
    return TrafficPredictor(FEATURES, TARGET, len_source=SOURCE)


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    from ignite_recipes import traffic_losses

    return traffic_losses(model(batch[0], batch[2], batch[3]), batch)


def by_hand(train: Callable[..., None], loader: Callable[..., Any]) -> Callable[[], None]:
    train_loader, val_loader = loader(make_arrays(), BATCH, True), loader(make_arrays(VAL_WINDOWS), BATCH, False)
    return lambda: train(make_model(), losses, train_loader, val_loader, EPOCHS, max_norm=1.0, patience=10)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import getDefaultModelParams, trainModel

    train, val = make_arrays(), make_arrays(VAL_WINDOWS)
    parameters = getDefaultModelParams(SOURCE, TARGET, train)
    parameters |= {"num_epochs": EPOCHS, "batch_size": BATCH, "save_checkpoints": False, "seed": 0}
    return lambda: trainModel(parameters, train, val, verbose=False, **settings)


def with_lightning() -> Callable[[], None]:
    quiet()
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping

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
            values = losses(self.net, batch, False)
            named = {f"val_{name}": value for name, value in values.items()}
            self.log_dict(named, batch_size=len(batch[0]))

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), lr=1e-3)

    train_loader = plain.row_loader(make_arrays(), BATCH, True)
    val_loader = plain.row_loader(make_arrays(VAL_WINDOWS), BATCH, False)

    def work() -> None:
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            gradient_clip_val=1.0,
            callbacks=[EarlyStopping("val_loss", patience=10)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), train_loader, val_loader)

    return work


PROGRAMS: dict[str, Program] = {
    "plain loop": partial(by_hand, plain.train, plain.row_loader),
    "tuned loop": partial(by_hand, plain.train_tuned, plain.batched_loader),
    "**trainModel**": recipe,
    "Lightning": with_lightning,
}

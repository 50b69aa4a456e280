"""Tiny steps, where overhead is everything: a three-layer perceptron of width 64 on batches of 32.

Every program trains the same model on the same 3,200 rows (100 steps an epoch) with clipping, averages, validation on
320 rows, a plateau schedule where its framework has one, early stopping and the best weights kept.
"""

import itertools
import logging
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks import plain
from benchmarks.measuring import Program

ROWS, VAL_ROWS, FEATURES, WIDTH, BATCH, EPOCHS = 3200, 320, 20, 64, 32, 5
STEPS = EPOCHS * ROWS // BATCH


def make_model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))


def make_data(rows: int = ROWS) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows)
    x = torch.randn(rows, FEATURES, generator=generator)
    return x, x[:, :3].sin().sum(1, keepdim=True)


def losses(model: nn.Module, batch: Any, training: bool) -> dict[str, Tensor]:
    return {"loss": mse_loss(model(batch[0]), batch[1])}


def by_hand(train: Callable[..., None], loader: Callable[..., Any]) -> Callable[[], None]:
    train_loader, val_loader = loader(make_data(), BATCH, True), loader(make_data(VAL_ROWS), BATCH, False)
    return lambda: train(make_model(), losses, train_loader, val_loader, EPOCHS, max_norm=1.0, patience=10)


def recipe(**settings: Any) -> Callable[[], Any]:
    from ignite_recipes import train_model_advanced

    train_loader = plain.batched_loader(make_data(), BATCH, True)
    val_loader = plain.batched_loader(make_data(VAL_ROWS), BATCH, False)
    return lambda: train_model_advanced(
        make_model(), train_loader, val_loader, epochs=EPOCHS, seed=0, verbose=False, **settings
    )


def with_lightning() -> Callable[[], None]:
    quiet()
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            loss = losses(self.net, batch, True)["loss"]
            self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch[0]))
            return loss

        def validation_step(self, batch: Any, index: int) -> None:
            loss = losses(self.net, batch, False)["loss"]
            self.log("val_loss", loss, batch_size=len(batch[0]))

        def configure_optimizers(self) -> dict[str, Any]:
            optimizer = torch.optim.Adam(self.parameters())
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    train_loader = plain.row_loader(make_data(), BATCH, True)
    val_loader = plain.row_loader(make_data(VAL_ROWS), BATCH, False)

    def work() -> None:
        trainer = lightning.Trainer(
            max_epochs=EPOCHS,
            accelerator="cpu",
            gradient_clip_val=1.0,
            callbacks=[EarlyStopping("val_loss", patience=10, check_finite=True)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), train_loader, val_loader)

    return work


def with_ignite() -> Callable[[], None]:
    """Ignite alone: its own evaluator, metric and early stopping; clipping by hand, as it must be there."""
    quiet()
    from ignite.engine import Engine, Events, create_supervised_evaluator
    from ignite.handlers import EarlyStopping, TerminateOnNan
    from ignite.metrics import Loss, RunningAverage

    train_loader = plain.row_loader(make_data(), BATCH, True)
    val_loader = plain.row_loader(make_data(VAL_ROWS), BATCH, False)

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.Adam(model.parameters())

        def update(engine: Engine, batch: Any) -> float:
            model.train()
            optimizer.zero_grad()
            loss = mse_loss(model(batch[0]), batch[1])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            return loss.item()

        trainer = Engine(update)
        RunningAverage(output_transform=lambda loss: loss).attach(trainer, "train_loss")
        trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan())
        evaluator = create_supervised_evaluator(model, {"loss": Loss(mse_loss)})
        evaluator.add_event_handler(
            Events.COMPLETED, EarlyStopping(10, lambda engine: -engine.state.metrics["loss"], trainer)
        )
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
        trainer.run(train_loader, max_epochs=EPOCHS)

    return work


def with_accelerate() -> Callable[[], None]:
    quiet()
    from accelerate import Accelerator

    def work() -> None:
        accelerator = Accelerator(cpu=True)
        model = make_model()
        optimizer: Any = torch.optim.Adam(model.parameters())
        model, optimizer, train_loader, val_loader = accelerator.prepare(
            model,
            optimizer,
            plain.row_loader(make_data(), BATCH, True),
            plain.row_loader(make_data(VAL_ROWS), BATCH, False),
        )
        for _ in range(EPOCHS):
            model.train()
            total = 0.0
            for x, y in train_loader:
                optimizer.zero_grad()
                loss = mse_loss(model(x), y)
                accelerator.backward(loss)
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                total += loss.item() * len(x)
            model.eval()
            with torch.no_grad():
                sum(mse_loss(model(x), y).item() * len(x) for x, y in val_loader)

    return work


def with_skorch() -> Callable[[], None]:
    quiet()
    import skorch.callbacks
    from skorch import NeuralNetRegressor
    from skorch.helper import predefined_split
    from torch.utils.data import TensorDataset

    x, y = make_data()
    split = predefined_split(TensorDataset(*make_data(VAL_ROWS)))

    def work() -> None:
        callbacks = [
            skorch.callbacks.GradientNormClipping(1.0),
            skorch.callbacks.EarlyStopping(patience=10, load_best=True),
            skorch.callbacks.LRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau, monitor="valid_loss"),
        ]
        NeuralNetRegressor(
            make_model(),
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=BATCH,
            max_epochs=EPOCHS,
            train_split=split,
            iterator_train__shuffle=True,
            callbacks=callbacks,
            verbose=0,
        ).fit(x.numpy(), y.numpy())

    return work


def with_keras() -> Callable[[], None]:
    quiet()
    import os

    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    (x, y), val = make_data(), make_data(VAL_ROWS)
    data = x.numpy(), y.numpy()
    validation = tuple(tensor.numpy() for tensor in val)

    def work() -> None:
        keras.utils.set_random_seed(0)
        layers = [
            keras.layers.Dense(WIDTH, "relu"),
            keras.layers.Dense(WIDTH, "relu"),
            keras.layers.Dense(1),
        ]
        model = keras.Sequential([keras.Input((FEATURES,)), *layers])
        model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=1.0), "mse")
        callbacks = [
            keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(),
            keras.callbacks.TerminateOnNaN(),
        ]
        model.fit(*data, batch_size=BATCH, epochs=EPOCHS, validation_data=validation, callbacks=callbacks, verbose=0)

    return work


def floor() -> Callable[[], None]:
    """The matrix products of the training steps, and nothing else."""
    sizes = (FEATURES, WIDTH, WIDTH, 1)
    layers = [
        (torch.randn(BATCH, i), torch.randn(o, i), torch.randn(BATCH, o), i != FEATURES)
        for i, o in itertools.pairwise(sizes)
    ]
    return partial(multiply, layers, STEPS)


def multiply(layers: list[tuple[Tensor, Tensor, Tensor, bool]], steps: int) -> None:
    """Forward, gradient of the weights, and of the inputs where they need one, for each layer."""
    with torch.no_grad():
        for _ in range(steps):
            for x, weight, gradient, inner in layers:
                torch.mm(x, weight.t())
                torch.mm(gradient.t(), x)
                if inner:
                    torch.mm(gradient, weight)


def quiet() -> None:
    """Keep the frameworks' advice to themselves."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


PROGRAMS: dict[str, Program] = {
    "matrix products alone": floor,
    "plain loop": partial(by_hand, plain.train, plain.row_loader),
    "tuned loop": partial(by_hand, plain.train_tuned, plain.batched_loader),
    "**train_model_advanced**": recipe,
    "Ignite": with_ignite,
    "Accelerate": with_accelerate,
    "skorch": with_skorch,
    "Lightning": with_lightning,
    "Keras on torch": with_keras,
}

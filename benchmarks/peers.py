"""The same task in other frameworks, used as their documents show, each with what it has of what the recipe does.

All of them fetch row by row. A framework is imported where it is used: it need not be installed.
"""

import logging
import os
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import TensorDataset

from benchmarks.plain import Task

__all__ = ["import_keras", "quiet", "with_accelerate", "with_ignite", "with_keras", "with_lightning", "with_skorch"]

MakeTask = Callable[[], Task]
Work = Callable[[], None]


def quiet() -> None:
    """Keep the frameworks' advice to themselves."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def with_lightning(make_task: MakeTask) -> Work:
    quiet()
    import lightning
    from lightning.pytorch.callbacks import EarlyStopping

    task = make_task()
    train_loader, val_loader = task.loaders()

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = task.make_model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            values = task.losses(self.net, batch, True)
            for name, value in values.items():
                self.log(f"train_{name}", value, on_step=False, on_epoch=True, batch_size=len(batch[0]))
            return values["loss"]

        def validation_step(self, batch: Any, index: int) -> None:
            for name, value in task.losses(self.net, batch, False).items():
                if task.average_all or name == "loss":
                    self.log(f"val_{name}", value, batch_size=len(batch[0]))

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.Adam(self.parameters())
            if not task.plateau:
                return optimizer
            schedule = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "monitor": "val_loss"}}

    def work() -> None:
        trainer = lightning.Trainer(
            max_epochs=task.epochs,
            accelerator="cpu",
            gradient_clip_val=task.max_norm,
            callbacks=None if task.patience is None else [EarlyStopping("val_loss", patience=task.patience)],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(Module(), train_loader, val_loader)

    return work


def with_ignite(make_task: MakeTask) -> Work:
    """Ignite alone: its own metrics, evaluator and early stopping; clipping by hand, as it must be there."""
    quiet()
    from ignite.engine import Engine, Events, create_supervised_evaluator
    from ignite.handlers import EarlyStopping, TerminateOnNan
    from ignite.metrics import Loss, RunningAverage

    task = make_task()
    train_loader, val_loader = task.loaders()
    names = list(task.losses(task.make_model(), next(iter(val_loader)), False))

    def work() -> None:
        model = task.make_model()
        optimizer = torch.optim.Adam(model.parameters())

        def update(engine: Engine, batch: Any) -> dict[str, float]:
            model.train()
            optimizer.zero_grad()
            values = task.losses(model, batch, True)
            values["loss"].backward()
            if task.max_norm is not None:
                torch.nn.utils.clip_grad_norm_(model.parameters(), task.max_norm)
            optimizer.step()
            return {name: value.item() for name, value in values.items()}

        @torch.no_grad()
        def evaluate(engine: Engine, batch: Any) -> float:
            model.eval()
            return task.losses(model, batch, False)["loss"].item()

        trainer = Engine(update)
        for name in names:
            RunningAverage(output_transform=lambda output, name=name: output[name]).attach(trainer, f"train_{name}")
        if task.criterion is None:
            evaluator = Engine(evaluate)
            RunningAverage(output_transform=lambda loss: loss).attach(evaluator, "loss")
        else:
            evaluator = create_supervised_evaluator(model, {"loss": Loss(task.criterion)})
        if task.patience is not None:
            trainer.add_event_handler(Events.ITERATION_COMPLETED, TerminateOnNan(lambda output: output["loss"]))
            stopping = EarlyStopping(task.patience, lambda engine: -engine.state.metrics["loss"], trainer)
            evaluator.add_event_handler(Events.COMPLETED, stopping)
        trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(val_loader))
        trainer.run(train_loader, max_epochs=task.epochs)

    return work


def with_accelerate(make_task: MakeTask) -> Work:
    quiet()
    from accelerate import Accelerator

    task = make_task()

    def work() -> None:
        accelerator = Accelerator(cpu=True)
        model: Any = task.make_model()
        optimizer: Any = torch.optim.Adam(model.parameters())
        model, optimizer, train_loader, val_loader = accelerator.prepare(model, optimizer, *task.loaders())
        for _ in range(task.epochs):
            model.train()
            totals: dict[str, float] = {}
            for batch in train_loader:
                optimizer.zero_grad()
                values = task.losses(model, batch, True)
                accelerator.backward(values["loss"])
                if task.max_norm is not None:
                    accelerator.clip_grad_norm_(model.parameters(), task.max_norm)
                optimizer.step()
                for name, value in values.items():
                    totals[name] = totals.get(name, 0.0) + value.item() * len(batch[0])
            model.eval()
            with torch.no_grad():
                sum(task.losses(model, batch, False)["loss"].item() * len(batch[0]) for batch in val_loader)

    return work


def with_skorch(make_task: MakeTask) -> Work:
    """A regression, with its mean squared error and the schedule."""
    quiet()
    import skorch.callbacks
    from skorch import NeuralNetRegressor
    from skorch.helper import predefined_split

    task = make_task()
    (x, y), split = task.train, predefined_split(TensorDataset(*task.val))

    def work() -> None:
        callbacks = [
            skorch.callbacks.GradientNormClipping(task.max_norm),
            skorch.callbacks.EarlyStopping(patience=task.patience, load_best=True),
            skorch.callbacks.LRScheduler(torch.optim.lr_scheduler.ReduceLROnPlateau, monitor="valid_loss"),
        ]
        NeuralNetRegressor(
            task.make_model(),
            optimizer=torch.optim.Adam,
            lr=1e-3,
            batch_size=task.batch_size,
            max_epochs=task.epochs,
            train_split=split,
            iterator_train__shuffle=True,
            callbacks=callbacks,
            verbose=0,
        ).fit(x.numpy(), y.numpy())

    return work


def with_keras(make_task: MakeTask, make_model: Callable[[], Any]) -> Work:
    """A regression likewise; ``make_model`` makes the task's model of Keras' layers."""
    quiet()
    keras = import_keras()
    task = make_task()
    (x, y), (val_x, val_y) = ([tensor.numpy() for tensor in tensors] for tensors in (task.train, task.val))

    def work() -> None:
        keras.utils.set_random_seed(0)
        model = make_model()
        model.compile(keras.optimizers.Adam(1e-3, global_clipnorm=task.max_norm), "mse")
        callbacks = [
            keras.callbacks.EarlyStopping(patience=task.patience, restore_best_weights=True),
            keras.callbacks.ReduceLROnPlateau(),
            keras.callbacks.TerminateOnNaN(),
        ]
        settings = {"batch_size": task.batch_size, "epochs": task.epochs, "callbacks": callbacks, "verbose": 0}
        model.fit(x, y, validation_data=(val_x, val_y), **settings)

    return work


def import_keras() -> Any:
    """Keras, told to compute with torch."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras

    return keras

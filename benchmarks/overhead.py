"""What a step costs beside its arithmetic: everything off, and ours with everything on as well.

The perceptron of :mod:`benchmarks.mlp` with SGD on batches that are in memory already, on one thread. The raw loop does
forward, backward and step, and nothing else; what another program takes longer than that is its own.

What was tried on the step with everything on, in microseconds of the 275 that it added (the same by hand: 168; medians
of 25 paired rounds on 2026-11-27, two busy cores):

- The factor by which gradients are clipped, computed on the host, which has read the norm anyway: 17 less. Kept.
- No seed for Python's generator at each fetch: 12 less. Rejected: whoever draws from it later, a model or a data set,
  would draw other numbers after a resume, and nobody can know before whether somebody will.
- No seeds at all, of which there are two for torch's generator, one for NumPy's and one for Python's: 42 less. Rejected
  likewise; of what is left some 50 are Ignite's loop and events.
- A sum of the gradients instead of their norm for the guard, where nothing clips: for the VAE's 1.5 million weights 195
  instead of 270, 1% of its step. Rejected: ``state.grad_norm`` is what handlers read.
"""

import math
import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader

from benchmarks.measuring import Program, in_turns, ratio, table
from benchmarks.mlp import BATCH, FEATURES, make_data, make_keras_model, make_model
from benchmarks.peers import import_keras, quiet

STEPS, EPOCHS = 300, 3


def batches() -> list[tuple[Tensor, Tensor]]:
    torch.set_num_threads(1)
    x, y = make_data(STEPS * BATCH)
    return list(zip(x.split(BATCH), y.split(BATCH), strict=True))


def raw() -> Callable[[], None]:
    data = batches()

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(EPOCHS):
            for x, y in data:
                optimizer.zero_grad()
                mse_loss(model(x), y).backward()
                optimizer.step()

    return work


def raw_with_all() -> Callable[[], None]:
    """What our handlers do with everything on, by hand."""
    data = batches()

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        for _ in range(EPOCHS):
            total, count = 0.0, 0
            for x, y in data:
                optimizer.zero_grad()
                loss = mse_loss(model(x), y)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
                number = loss.item()
                if not math.isfinite(number) or not math.isfinite(norm.item()):
                    raise FloatingPointError(f"the loss is {number}")
                optimizer.step()
                total, count = total + number * len(x), count + len(x)

    return work


def ours_off() -> Callable[[], Any]:
    data = batches()
    from ignite_recipes import create_trainer

    def work() -> None:
        model = make_model()
        create_trainer(model, torch.optim.SGD(model.parameters(), lr=1e-3), loss, seed=0).run(data, max_epochs=EPOCHS)

    return work


def ours_on() -> Callable[[], Any]:
    """What :func:`train_model_advanced` has on: clipping, guard, averages, history, schedule, early stopping."""
    data = batches()
    import ignite_recipes as ir

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        trainer = ir.create_trainer(model, optimizer, loss, seed=0)
        handlers: list[Any] = [
            ir.GradientClipper(1.0),
            ir.NonFiniteGuard(),
            ir.EpochAverages("train_"),
            ir.History(["train_loss"]),
        ]
        for handler in handlers:
            handler.attach(trainer)
        ir.EarlyStopping(10, verbose=False).attach(trainer, "train_loss")
        ir.LearningRateScheduler(optimizer).attach(trainer, "train_loss")
        trainer.run(data, max_epochs=EPOCHS)

    return work


def loss(model: nn.Module, inputs: Tensor, batch: Any) -> dict[str, Tensor]:
    return {"loss": mse_loss(model(inputs), batch[1])}


def ignite_off() -> Callable[[], Any]:
    data = batches()
    quiet()
    from ignite.engine import Engine

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)

        def update(engine: Engine, batch: Any) -> Tensor:
            model.train()
            optimizer.zero_grad()
            loss = mse_loss(model(batch[0]), batch[1])
            loss.backward()
            optimizer.step()
            return loss.detach()

        Engine(update).run(data, max_epochs=EPOCHS)

    return work


def ignite_supervised() -> Callable[[], Any]:
    """As most begin with it: its own trainer, which reads the loss in each step."""
    data = batches()
    quiet()
    from ignite.engine import create_supervised_trainer

    def work() -> None:
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        create_supervised_trainer(model, optimizer, mse_loss).run(data, max_epochs=EPOCHS)

    return work


def accelerate_off() -> Callable[[], Any]:
    data = batches()
    quiet()
    from accelerate import Accelerator

    def work() -> None:
        accelerator = Accelerator(cpu=True)
        model: Any = make_model()
        optimizer: Any = torch.optim.SGD(model.parameters(), lr=1e-3)
        model, optimizer = accelerator.prepare(model, optimizer)
        for _ in range(EPOCHS):
            for x, y in data:
                optimizer.zero_grad()
                accelerator.backward(mse_loss(model(x), y))
                optimizer.step()

    return work


def skorch_off() -> Callable[[], Any]:
    data = batches()
    quiet()
    from skorch import NeuralNet

    def work() -> None:
        net = NeuralNet(
            make_model(),
            nn.MSELoss,
            optimizer=torch.optim.SGD,
            lr=1e-3,
            max_epochs=EPOCHS,
            train_split=None,
            iterator_train=lambda dataset, **settings: data,
            callbacks__valid_acc=None,
            callbacks__print_log=None,
            verbose=0,
        )
        net.fit(torch.zeros(1, FEATURES), torch.zeros(1, 1))

    return work


def lightning_off() -> Callable[[], Any]:
    data = batches()
    quiet()
    import lightning

    loader = DataLoader(data, batch_size=None)  # of a list it would make several loaders

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = make_model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return mse_loss(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=1e-3)

    def work() -> None:
        lightning.Trainer(max_epochs=EPOCHS, accelerator="cpu", barebones=True).fit(Module(), loader)

    return work


def keras_off() -> Callable[[], Any]:
    x, y = (torch.cat(parts) for parts in zip(*batches(), strict=True))
    quiet()
    keras = import_keras()

    def work() -> None:
        model = make_keras_model()
        model.compile(keras.optimizers.SGD(1e-3), "mse")
        model.fit(x.numpy(), y.numpy(), batch_size=BATCH, epochs=EPOCHS, shuffle=False, verbose=0)

    return work


PROGRAMS: dict[str, Program] = {
    "raw loop": raw,
    "raw loop, clipping, guard and mean by hand": raw_with_all,
    "**ours, a bare trainer**": ours_off,
    "**ours, everything on**": ours_on,
    "Ignite, a bare Engine": ignite_off,
    "Ignite, create_supervised_trainer": ignite_supervised,
    "skorch": skorch_off,
    "Accelerate": accelerate_off,
    "Lightning, barebones": lightning_off,
    "Keras on torch": keras_off,
}


def overhead(rounds: int) -> str:
    figures = in_turns(PROGRAMS, rounds)
    bare = figures["raw loop"]
    rows = []
    for name, took in figures.items():
        added = [ours - theirs for ours, theirs in zip(took.seconds, bare.seconds, strict=True)]
        microseconds = statistics.median(added) / (STEPS * EPOCHS) * 1e6
        rows.append([name, f"{microseconds:.0f}", f"{ratio(took, bare)[0]:.2f}"])
    return table(["program", "added µs a step", "of the raw loop"], rows)

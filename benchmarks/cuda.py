"""On an accelerator: a tiny perceptron and the VAE at batch 128, beside the plain and the tuned loop there.

The tuned loop has its rows on the device, draws their order there, and reads no number inside an epoch. Of a compiled
run the epochs count in which no program is made any more. The sizes are such that all of it takes less than two
minutes on one device.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from benchmarks import mlp, plain, vae
from benchmarks.compiled import later_epochs
from benchmarks.measuring import Figures, Program, in_turns, ratio, table

VAE_ROWS, VAE_EPOCHS = 25_600, 2
MLP_EPOCHS = 5


@dataclass(frozen=True)
class DeviceBatches:
    """Batches of rows that are on the device already, in an order that is drawn there."""

    tensors: tuple[Tensor, ...]
    batch_size: int
    shuffle: bool

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        rows, device = len(self.tensors[0]), self.tensors[0].device
        order = torch.randperm(rows, device=device) if self.shuffle else torch.arange(rows, device=device)
        for chosen in order.split(self.batch_size):
            yield tuple(tensor[chosen] for tensor in self.tensors)


def vae_task(device: str, rows_on: str = "cpu") -> plain.Task:
    data = [(vae.make_data(rows).to(rows_on),) for rows in (VAE_ROWS, vae.VAL_ROWS)]
    task = replace(vae.task(), train=data[0], val=data[1], epochs=VAE_EPOCHS)
    return _on(device, task)


def mlp_task(device: str, rows_on: str = "cpu") -> plain.Task:
    data = [tuple(part.to(rows_on) for part in mlp.make_data(rows)) for rows in (mlp.ROWS, mlp.VAL_ROWS)]
    return _on(device, replace(mlp.task(), train=data[0], val=data[1], epochs=MLP_EPOCHS))


def _on(device: str, task: plain.Task) -> plain.Task:
    """The same with its model on the device, to which each step copies its batch."""

    def losses(model: torch.nn.Module, batch: Any, training: bool) -> Any:
        return task.losses(model, [part.to(device) for part in batch], training)

    return replace(task, make_model=lambda: task.make_model().to(device), losses=losses)


def tuned(make_task: Callable[..., plain.Task], device: str) -> Callable[[], None]:
    return plain.tuned_loop(partial(make_task, device, device), DeviceBatches)


def train_vae(device: str, rows_on: str, tf32: bool = False, compile: bool | str = False, **settings: Any) -> Any:
    from ignite_recipes import RowDataset, create_dataloaders, train_variational_autoencoder

    if tf32:
        torch.set_float32_matmul_precision("high")
    sets = [RowDataset(vae.make_data(rows).to(torch.uint8)).to(rows_on) for rows in (VAE_ROWS, vae.VAL_ROWS)]
    loaders = create_dataloaders(*sets, batch_size=vae.BATCH)
    settings = {"seed": 0, "device": device, "print_every": None, "compile": compile, **settings}

    def train(epochs: int, **more: Any) -> None:
        train_variational_autoencoder(vae.make_model(), *loaders, num_epochs=epochs, **settings, **more)

    return partial(later_epochs, train, VAE_EPOCHS) if compile else partial(train, VAE_EPOCHS)


def train_mlp(device: str, rows_on: str, compile: bool | str = False, **settings: Any) -> Any:
    from ignite_recipes import train_model_advanced

    loaders = mlp_task(device, rows_on).loaders(plain.batched_loader)
    settings = {"seed": 0, "device": device, "verbose": False, "use_mixed_precision": False, **settings}

    def train(epochs: int, **more: Any) -> None:
        train_model_advanced(mlp.make_model(), *loaders, epochs=epochs, compile=compile, **settings, **more)

    return partial(later_epochs, train, MLP_EPOCHS) if compile else partial(train, MLP_EPOCHS)


def programs(device: str) -> dict[str, dict[str, Program]]:
    """Workload -> name -> program."""
    fast = {"tf32": True, "precision": "bfloat16"}
    return {
        "tiny perceptron": {
            "plain loop": partial(plain.plain_loop, partial(mlp_task, device)),
            "tuned loop": partial(tuned, mlp_task, device),
            "**recipe**, rows on the host": partial(train_mlp, device, "cpu"),
            "... rows on the device": partial(train_mlp, device, device),
            '... and `compile="step"`': partial(train_mlp, device, device, compile="step"),
        },
        "VAE, batch 128": {
            "plain loop": partial(plain.plain_loop, partial(vae_task, device)),
            "tuned loop": partial(tuned, vae_task, device),
            "**recipe**, rows on the host": partial(train_vae, device, "cpu"),
            "... rows on the device, as bytes": partial(train_vae, device, device),
            "... and TF32": partial(train_vae, device, device, tf32=True),
            "... and bfloat16": partial(train_vae, device, device, **fast),
            '... and `compile="step"`': partial(train_vae, device, device, compile="step"),
            '... `compile="step"`, TF32 and bfloat16': partial(train_vae, device, device, **fast, compile="step"),
        },
    }


def cuda(rounds: int, device: str = "cuda") -> str:
    """Throughput, as a multiple of the plain loop's; what is compiled is run once, for each run compiles again."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "Not measured: this machine has no CUDA device."
    rows: dict[tuple[str, str], list[str]] = {}
    of_all = programs(device)
    plain_loops = {}
    for workload, of_it in of_all.items():
        figures = in_turns({name: program for name, program in of_it.items() if "compile" not in name}, rounds)
        plain_loops[workload] = figures["plain loop"]
        for name, took in figures.items():
            rows[workload, name] = _row(workload, name, plain_loops[workload], took)
    for workload, of_it in of_all.items():
        for name, program in of_it.items():
            if (workload, name) not in rows:
                [seconds] = in_turns({name: program}, 1, warm_up=0)[name].seconds
                rows[workload, name] = _row(workload, name, plain_loops[workload], Figures([seconds] * rounds, 0, 0))
    header = ["program", "throughput, of the plain loop", "rounds"]
    return table(header, [rows[workload, name] for workload, of_it in of_all.items() for name in of_it])


def _row(workload: str, name: str, plain_loop: Figures, took: Figures) -> list[str]:
    gain, low, high = ratio(plain_loop, took)
    row = [f"{workload}: {name}", f"{gain:.1f}", f"{low:.1f} to {high:.1f}"]
    print(" | ".join(row), file=sys.stderr, flush=True)  # shown at once: a long run may be cut short
    return row

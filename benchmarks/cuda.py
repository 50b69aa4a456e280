"""The VAE at batch 128 on an accelerator: what each of torch's means brings, beside the plain loop there."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks import plain, vae
from benchmarks.measuring import Program, in_turns, table

ROWS, EPOCHS = 51_200, 5


def task(device: str) -> plain.Task:
    """Each batch copied to the device in its step."""

    def losses(model: torch.nn.Module, batch: Any, training: bool) -> Any:
        return vae.losses(model, [batch[0].to(device)], training)

    data = (vae.make_data(ROWS),), (vae.make_data(vae.VAL_ROWS),)
    return plain.Task(lambda: vae.make_model().to(device), losses, *data, vae.BATCH, EPOCHS)


def recipe(device: str, on_device: bool, tf32: bool = False, **settings: Any) -> Callable[[], Any]:
    from ignite_recipes import RowDataset, create_dataloaders, train_variational_autoencoder

    if tf32:
        torch.set_float32_matmul_precision("high")
    sets = [RowDataset(vae.make_data(rows).to(torch.uint8)) for rows in (ROWS, vae.VAL_ROWS)]
    loaders = create_dataloaders(*(s.to(device) if on_device else s for s in sets), batch_size=vae.BATCH)
    return lambda: train_variational_autoencoder(
        vae.make_model(), *loaders, num_epochs=EPOCHS, seed=0, device=device, print_every=None, **settings
    )


def cuda(rounds: int, device: str = "cuda") -> str:
    """Throughput, as a multiple of the plain loop's."""
    if device.startswith("cuda") and not torch.cuda.is_available():
        return "Not measured: this machine has no CUDA device."
    fast = {"on_device": True, "tf32": True, "precision": "bfloat16"}
    programs: dict[str, Program] = {
        "plain loop": partial(plain.plain_loop, partial(task, device)),
        "**recipe**, rows on the host": partial(recipe, device, False),
        "... rows on the device, as bytes": partial(recipe, device, True),
        "... and TF32": partial(recipe, device, True, tf32=True),
        "... and bfloat16": partial(recipe, device, **fast),
        "... and `compile=True`": partial(recipe, device, **fast, compile=True),
        '... and `compile="reduce-overhead"` (CUDA graphs)': partial(recipe, device, **fast, compile="reduce-overhead"),
    }
    figures = in_turns(programs, rounds)
    plain_loop = figures["plain loop"].seconds
    rows = []
    for name, took in figures.items():
        gains = sorted(theirs / ours for ours, theirs in zip(took.seconds, plain_loop, strict=True))
        rows.append([name, f"{gains[len(gains) // 2]:.1f}"])
    return table(["program", "throughput, of the plain loop"], rows)

"""What ``compile="step"`` brings: the training step as one program, once it is made, and what making it takes.

Each workload trains as in its own benchmark, with validation; the VAE also at a size where overhead counts. Of ours the
epochs after the second one count, in which nothing is made any more.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import mlp, plain, traffic, vae
from benchmarks.compiled import EpochClock, later_epochs
from benchmarks.measuring import Program, in_turns, ratio, table

__all__ = ["whole_step"]

SMALL = {"WIDTH": 32, "BATCH": 32, "ROWS": 3200, "VAL_ROWS": 320}  # of the small VAE
WIDE = {"ROWS": 3200, "VAL_ROWS": 640}  # a wide one on bfloat16 takes long where the processor has none


def _trained(module: Any, sizes: dict[str, int], settings: dict[str, Any]) -> Callable[..., Any]:
    """``train(epochs, handlers=...)``: the workload's recipe."""
    vars(module).update(sizes)

    def train(epochs: int, **more: Any) -> Any:
        module.EPOCHS = epochs
        return module.recipe(**settings, **more)()

    return train


def recipe(module: str, sizes: dict[str, int], **settings: Any) -> Callable[[], float]:
    workload = _module(module)
    return partial(later_epochs, _trained(workload, sizes, settings), workload.EPOCHS)


def bare() -> Callable[[], float]:
    """The step of the perceptron alone, which nobody looks at."""
    import torch

    from ignite_recipes import create_trainer

    loader, _ = mlp.task().loaders(plain.batched_loader)

    def loss_fn(model: Any, inputs: Any, batch: Any) -> dict[str, Any]:
        return mlp.losses(model, batch, True)

    def train(epochs: int, handlers: list[Any]) -> None:
        model = mlp.make_model()
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        trainer = create_trainer(model, optimizer, loss_fn, seed=0, compile="step")
        for handler in handlers:
            handler.attach(trainer)
        trainer.run(loader, max_epochs=epochs)

    return partial(later_epochs, train, mlp.EPOCHS)


def loop(module: str, sizes: dict[str, int], kind: str) -> Callable[[], None]:
    workload = _module(module)
    vars(workload).update(sizes)
    return getattr(plain, f"{kind}_loop")(workload.task)  # type: ignore[no-any-return]


def _module(name: str) -> Any:
    return {"mlp": mlp, "vae": vae, "traffic": traffic}[name]


WORKLOADS: dict[str, tuple[str, dict[str, int]]] = {
    "tiny perceptron": ("mlp", {}),
    "traffic predictor": ("traffic", {}),
    "VAE, width 32, batch 32": ("vae", SMALL),
    "VAE, width 512, batch 128": ("vae", WIDE),
}
EAGER, COMPILED = "recipe", 'recipe, `compile="step"`'


def programs() -> dict[str, dict[str, Program]]:
    """Workload -> name -> program."""
    found: dict[str, dict[str, Program]] = {}
    for name, (module, sizes) in WORKLOADS.items():
        found[name] = {kind: partial(loop, module, sizes, kind.split()[0]) for kind in ("plain loop", "tuned loop")}
        found[name][EAGER] = partial(recipe, module, sizes)
        found[name][COMPILED] = partial(recipe, module, sizes, compile="step")
    found["tiny perceptron"]['the step alone, `compile="step"`'] = bare
    wide = found["VAE, width 512, batch 128"]
    wide["recipe, bfloat16"] = partial(recipe, "vae", WIDE, precision="bfloat16")
    wide['recipe, bfloat16, `compile="step"`'] = partial(recipe, "vae", WIDE, precision="bfloat16", compile="step")
    return found


def whole_step(rounds: int) -> str:
    """Time of an epoch as a multiple of the plain loop's, and the seconds that making the program takes."""
    rows, gains = [], {}
    for workload, of_it in programs().items():
        figures = in_turns(of_it, rounds)
        for name, took in figures.items():
            median, least, most = ratio(took, figures["plain loop"])
            rows.append([f"{workload}: {name}", f"{median:.2f}", f"{least:.2f} to {most:.2f}"])
            print(" | ".join(rows[-1]), file=sys.stderr, flush=True)  # shown at once
        eager, compiled = (figures[name].seconds for name in (EAGER, COMPILED))
        gained = statistics.median(before - after for before, after in zip(eager, compiled, strict=True))
        gains[workload] = gained / _module(WORKLOADS[workload][0]).EPOCHS
    header = ["program", "time, of the plain loop's", "rounds"]
    return f"{table(header, rows)}\n\n{_making(gains)}"


def _making(gains: dict[str, float]) -> str:
    """Seconds until the third epoch, above those of later epochs: the first time, and from the cache.

    Args:
        gains: seconds an epoch that the program is faster.
    """
    rows = []
    for name, (module, sizes) in WORKLOADS.items():
        with tempfile.TemporaryDirectory() as folder:
            took = [
                in_turns({name: partial(_start, module, sizes, folder)}, 1, warm_up=0)[name].seconds[0]
                for _ in range(2)
            ]
        epochs = [f"{seconds / gains[name]:.0f}" if gains[name] > 0 else "never" for seconds in took]
        rows.append([name, *(f"{seconds:.1f}" for seconds in took), *epochs])
        print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    header = ["making the program", "seconds, the first time", "from the cache", "pays after epochs", "from the cache"]
    return table(header, rows)


def _start(module: str, sizes: dict[str, int], folder: str) -> Callable[[], float]:
    import os

    os.environ["IGNITE_RECIPES_CACHE"] = folder
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = f"{folder}/inductor"  # which a first time does not have either
    train = _trained(_module(module), sizes, {"compile": "step"})

    def work() -> float:
        clock = EpochClock()
        began = time.perf_counter()
        train(5, handlers=[clock])
        epochs = clock.seconds()
        return clock.times[2] - began - 2 * statistics.median(epochs[2:])

    return work

"""Time and memory as the work grows: model, data, handlers, length of a run. Flat where it should be."""

import functools
import gc
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.measuring import in_turns, table

FEATURES, BATCH, STEPS = 20, 32, 200
WIDTHS, ROW_COUNTS = (16, 64, 256, 1024), (3_200, 32_000, 320_000, 3_200_000)
HANDLER_COUNTS, RUN_LENGTHS = (0, 5, 10, 20, 40), (500, 1_000, 2_000, 4_000, 8_000)

TIME, MEMORY = "µs a step", "MiB without the imports"


class Growth(NamedTuple):
    """What grows, to which sizes, and the figures of each program at each of them."""

    label: str
    sizes: Sequence[int]
    micros: dict[str, list[float]]
    mebibytes: dict[str, list[float]]


def growth(rounds: int, picture: Path) -> str:
    """Measure, draw, and give the figures as tables."""
    torch.set_num_threads(1)
    found = [
        _grow("width of the three layers", WIDTHS, {"tuned loop": tuned, "ours, everything on": ours}, rounds),
        _grow("rows of the data set", ROW_COUNTS, {"ours, everything on": with_rows}, rounds),
        _grow("handlers listening in each step", HANDLER_COUNTS, {"a bare trainer": with_handlers}, rounds),
        by_length(),
    ]
    _draw(found, picture)
    texts = []
    for label, sizes, *figures in found:
        for unit, lines in zip((TIME, MEMORY), figures, strict=True):
            rows = [[name, *(f"{value:.0f}" for value in values)] for name, values in lines.items()]
            texts.append(table([f"{unit}, by {label}", *(f"{size:,}" for size in sizes)], rows))
    return "\n\n".join(texts)


def _grow(label: str, sizes: Sequence[int], works: Mapping[str, Callable[[int], float]], rounds: int) -> Growth:
    """Time the works in turns, in this process; measure the memory of each in a process of its own."""
    took: dict[str, list[list[float]]] = {name: [[] for _ in sizes] for name in works}
    for _ in range(rounds + 1):
        for k, size in enumerate(sizes):
            for name, work in works.items():
                gc.collect()
                took[name][k].append(work(size))
    alone = {f"{name} {size}": partial(_alone, work, size) for name, work in works.items() for size in sizes}
    held = in_turns(alone, rounds=1, warm_up=0)
    return Growth(
        label,
        sizes,
        {name: [statistics.median(each[1:]) * 1e6 for each in took[name]] for name in works},
        {name: [held[f"{name} {size}"].grown for size in sizes] for name in works},
    )


def _alone(work: Callable[[int], float], size: int) -> Callable[[], Any]:
    torch.set_num_threads(1)
    with_handlers(0)  # what every run needs once
    return partial(work, size)


# The works: each does some steps at one size, and says how many seconds one of them took.


def tuned(width: int) -> float:
    model = _net(width)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    began = time.perf_counter()
    for batch in _batches():
        optimizer.zero_grad()
        loss(model, batch, batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    return (time.perf_counter() - began) / STEPS


def ours(width: int) -> float:
    return _timed(_trainer(_net(width), everything=True))


def with_handlers(count: int) -> float:
    from ignite.engine import Events

    trainer = _trainer(_net(64))
    for _ in range(count):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
    return _timed(trainer)


def with_rows(count: int) -> float:
    """Of bytes, drawn at random by the library's own loader; the shuffling at the start is left out."""
    from ignite_recipes import RowDataset, create_dataloaders

    loader, _ = create_dataloaders(RowDataset(torch.zeros(count, FEATURES, dtype=torch.uint8)), None, BATCH)
    trainer, clock = _trainer(_net(64), everything=True), _Clock(start=20, steps=60)
    clock.attach(trainer)
    trainer.run(loader, max_epochs=1)
    return clock.per_step


def by_length() -> Growth:
    """Of one run, whose history, statistics and averages must not grow with its steps."""
    data = _batches()[:100]
    with_handlers(0)
    gc.collect()
    before, done = _held(), 0
    trainer = _trainer(_net(64), everything=True)
    micros, mebibytes = [], []
    for steps in RUN_LENGTHS:
        began = time.perf_counter()
        trainer.run(data, max_epochs=steps // len(data))
        micros.append((time.perf_counter() - began) / (steps - done) * 1e6)
        done = steps
        gc.collect()
        mebibytes.append(_held() - before)
    name = "ours, everything on"
    return Growth("steps of the run", RUN_LENGTHS, {name: micros}, {name: mebibytes})


def loss(model: nn.Module, inputs: Tensor, batch: Any) -> dict[str, Tensor]:
    return {"loss": mse_loss(model(inputs), batch[:, :1])}


@functools.cache
def _batches() -> Sequence[Tensor]:
    return torch.rand(STEPS * BATCH, FEATURES).split(BATCH)


def _net(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def _trainer(model: nn.Module, everything: bool = False) -> Any:
    import ignite_recipes as ir

    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    trainer = ir.create_trainer(model, optimizer, loss, seed=0, get_inputs=lambda batch: batch)
    if everything:
        for handler in (ir.GradientClipper(1.0), ir.NonFiniteGuard(), ir.EpochAverages("train_")):
            handler.attach(trainer)
        ir.History(["train_loss"]).attach(trainer)
        ir.EarlyStopping(None, verbose=False).attach(trainer, "train_loss")
    return trainer


def _timed(trainer: Any) -> float:
    began = time.perf_counter()
    trainer.run(_batches(), max_epochs=1)
    return (time.perf_counter() - began) / STEPS


class _Clock:
    """Times some steps in the middle of a run, and ends it after them."""

    def __init__(self, start: int, steps: int) -> None:
        self.start, self.steps, self.per_step = start, steps, 0.0

    def attach(self, trainer: Any) -> None:
        from ignite.engine import Events

        @trainer.on(Events.ITERATION_COMPLETED)
        def look(engine: Any) -> None:
            done = engine.state.iteration - self.start
            if done == 0:
                self._began = time.perf_counter()
            elif done == self.steps:
                self.per_step = (time.perf_counter() - self._began) / self.steps
                engine.terminate()


def _held() -> float:
    """Memory in use now, in MiB, which only some systems tell."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return float("nan")
    import resource

    return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20


def _draw(found: Sequence[Growth], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 6), layout="constrained")
    panels = figure.subplots(2, len(found), sharex="col")
    styles = {
        "tuned loop": {"color": "#0072B2", "marker": "o"},
        "ours, everything on": {"color": "#D55E00", "marker": "s", "linestyle": "--"},
        "a bare trainer": {"color": "#009E73", "marker": "^", "linestyle": ":"},
    }
    for column, (label, sizes, *figures) in zip(panels.T, found, strict=True):
        for axes, unit, lines in zip(column, (TIME, MEMORY), figures, strict=True):
            for name, values in lines.items():
                axes.plot(sizes, values, label=name, **styles[name])
            if sizes != HANDLER_COUNTS:
                axes.set_xscale("log")
            axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            highest = max(max(values) for values in lines.values())
            axes.set_ylim(0, 1.4 * max(highest, 10))
            axes.yaxis.set_major_formatter("{x:,.0f}")
            axes.set_ylabel(unit)
            axes.grid(alpha=0.3)
        column[0].legend(loc="upper left", frameon=False)
        column[-1].set_xlabel(label)
    figure.savefig(path, dpi=110)

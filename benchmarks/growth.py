"""Time and memory as the work grows: model, data, handlers, length of a run. Flat where it should be."""

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from benchmarks.measuring import table

FEATURES, BATCH, STEPS = 20, 32, 200
WIDTHS, ROW_COUNTS = (16, 64, 256, 1024), (3_200, 32_000, 320_000, 3_200_000)
HANDLER_COUNTS, RUN_LENGTHS = (0, 5, 10, 20, 40), (500, 1_000, 2_000, 4_000, 8_000)

Line = tuple[str, Sequence[float], list[float]]


def loss(model: nn.Module, inputs: Tensor, batch: Any) -> dict[str, Tensor]:
    return {"loss": mse_loss(model(inputs), batch[:, :1])}


def growth(rounds: int, picture: Path) -> str:
    """Measure, draw, and give the figures as tables."""
    torch.set_num_threads(1)
    width_lines = by_width(rounds)
    panels = [
        ("width of the three layers", "µs a step", width_lines),
        ("rows of the data set", "µs a step", by_rows(rounds)),
        ("handlers listening in each step", "µs a step", by_handlers(rounds)),
        ("steps of the run", "MiB that the process holds", by_length()),
    ]
    _draw(panels, picture)
    texts = []
    for label, unit, lines in panels:
        rows = [[name, *(f"{value:.0f}" for value in values)] for name, _, values in lines]
        texts.append(table([f"{unit}, by {label}", *(f"{x:,}" for x in lines[0][1])], rows))
    return "\n\n".join(texts)


def by_width(rounds: int) -> list[Line]:
    data = torch.rand(STEPS * BATCH, FEATURES).split(BATCH)
    names = ["tuned loop", "ours, everything on"]
    took: dict[str, list[float]] = {name: [] for name in names}
    for width in WIDTHS:
        works = (partial(_tuned, width, data), partial(_ours, width, data))
        for name, seconds in zip(names, _medians(works, rounds), strict=True):
            took[name].append(seconds / STEPS * 1e6)
    return [(name, WIDTHS, took[name]) for name in names]


def by_rows(rounds: int) -> list[Line]:
    """With rows of bytes, drawn at random by the library's own loader; the shuffling at the start is left out."""
    from ignite_recipes import RowDataset, create_dataloaders

    values = []
    for rows in ROW_COUNTS:
        loader, _ = create_dataloaders(RowDataset(torch.zeros(rows, FEATURES, dtype=torch.uint8)), None, BATCH)
        clock = _Clock(start=20, steps=60)
        values.append(_medians([partial(_ours, 64, loader, clock)], rounds, clock)[0] * 1e6)
    return [("ours, everything on", ROW_COUNTS, values)]


def by_handlers(rounds: int) -> list[Line]:
    from ignite.engine import Events

    data = torch.rand(STEPS * BATCH, FEATURES).split(BATCH)

    def work(count: int) -> None:
        trainer = _trainer(_net(64))
        for _ in range(count):
            trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)
        trainer.run(data, max_epochs=1)

    works = [partial(work, count) for count in HANDLER_COUNTS]
    return [("a bare trainer", HANDLER_COUNTS, [s / STEPS * 1e6 for s in _medians(works, rounds)])]


def by_length() -> list[Line]:
    """Of one run, whose history, statistics and averages must not grow with its steps."""
    data = torch.rand(100 * BATCH, FEATURES).split(BATCH)
    trainer = _trainer(_net(64), everything=True)
    values = []
    for steps in RUN_LENGTHS:
        trainer.run(data, max_epochs=steps // len(data))
        gc.collect()
        values.append(_held())
    return [("ours, everything on", RUN_LENGTHS, values)]


def _held() -> float:
    """Memory in use now, which only some systems tell."""
    status = Path("/proc/self/statm")
    if not status.exists():
        return float("nan")
    import resource

    return int(status.read_text().split()[1]) * resource.getpagesize() / 2**20


def _net(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(FEATURES, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 1))


def _tuned(width: int, data: Sequence[Tensor]) -> None:
    model = _net(width)
    parameters = list(model.parameters())
    optimizer = torch.optim.Adam(parameters, fused=True)
    for batch in data:
        optimizer.zero_grad()
        loss(model, batch, batch)["loss"].backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()


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


class _Clock:
    """Times some steps in the middle of a run, and ends it behind them."""

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


def _ours(width: int, data: Any, clock: _Clock | None = None) -> None:
    trainer = _trainer(_net(width), everything=True)
    if clock is not None:
        clock.attach(trainer)
    trainer.run(data, max_epochs=1)


def _medians(works: Sequence[Callable[[], None]], rounds: int, clock: _Clock | None = None) -> list[float]:
    """The median seconds of each, in turns; the first round does not count."""
    took: list[list[float]] = [[] for _ in works]
    for _ in range(rounds + 1):
        for work, seconds in zip(works, took, strict=True):
            began = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - began if clock is None else clock.per_step)
    return [statistics.median(seconds[1:]) for seconds in took]


def _draw(panels: Sequence[tuple[str, str, list[Line]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 2).flat
    styles = [{"color": "#0072B2", "marker": "o"}, {"color": "#D55E00", "marker": "s", "linestyle": "--"}]
    for ax, (label, unit, lines) in zip(axes, panels, strict=True):
        for (name, x, y), style in zip(lines, styles, strict=False):
            ax.plot(x, y, label=name, **style)
        if label != "handlers listening in each step":
            ax.set_xscale("log")
        ax.set_xticks(lines[0][1], [f"{x:,}" for x in lines[0][1]])
        ax.minorticks_off()
        if len(lines) > 1:
            ax.set_yscale("log")
            ax.yaxis.set_major_formatter("{x:,.0f}")
            ax.yaxis.set_minor_formatter("{x:,.0f}")
        else:
            ax.set_ylim(0, 1.6 * max(lines[0][2]))
        ax.set_xlabel(label)
        ax.set_ylabel(unit)
        ax.grid(alpha=0.3)
        ax.legend(loc="upper left", frameon=False)
    figure.savefig(path, dpi=110)

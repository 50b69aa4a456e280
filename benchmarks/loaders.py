"""What it costs to fetch batches: loaders as people write them, in our trainers, compared with our own and row by row.

Each program goes through the shuffled batches of some epochs as a run does, seeds of every fetch included; nothing is
trained. The rows are those of :mod:`benchmarks.mlp`, pairs of 20 numbers and one.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.data import ConcatDataset, DataLoader, Dataset, Subset, TensorDataset, random_split

from benchmarks.measuring import Program, in_turns, ratio, table
from benchmarks.mlp import make_data

__all__ = ["loaders"]

ROWS, EPOCHS = 6400, 10
BATCHES = (32, 128)
OURS = "our own fetch, `(x, y)` with `batch_size`"


class Rows(Dataset[Any]):
    """A data set of the user's own, of which nobody knows what its rows are: they are fetched one by one."""

    def __init__(self, data: Dataset[Any]) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Any:
        return self.data[index]


def pairs() -> TensorDataset:
    return TensorDataset(*make_data(ROWS))


def halves() -> ConcatDataset[Any]:
    x, y = make_data(ROWS)
    return ConcatDataset([TensorDataset(x[:3000], y[:3000]), TensorDataset(x[3000:], y[3000:])])


def split() -> Subset[Any]:
    return random_split(TensorDataset(*make_data(ROWS + 1000)), [ROWS, 1000])[0]


def one_by_one() -> Rows:
    return Rows(pairs())


def written(make: Callable[[], Dataset[Any]], batch_size: int) -> Callable[[], Any]:
    """The loader as people write it."""
    return fetched(DataLoader(make(), batch_size=batch_size, shuffle=True))


def ours(batch_size: int) -> Callable[[], Any]:
    from ignite_recipes.loading.given import as_loader

    return fetched(as_loader(make_data(ROWS), batch_size, shuffle=True, name="data", of="pairs"))


def fetched(loader: Any) -> Callable[[], None]:
    from ignite_recipes.loading.keyed_loader import KeyedLoader

    torch.set_num_threads(1)

    def work() -> None:
        keyed = KeyedLoader(loader, seed=0)
        for epoch in range(1, EPOCHS + 1):
            keyed.enter(epoch)
            for _ in keyed:
                pass

    return work


def programs(batch_size: int) -> dict[str, Program]:
    return {
        OURS: partial(ours, batch_size),
        "`DataLoader(TensorDataset(x, y), batch_size, shuffle=True)`": partial(written, pairs, batch_size),
        "the same over a part of `random_split`": partial(written, split, batch_size),
        "the same over a `ConcatDataset`": partial(written, halves, batch_size),
        "the same, row by row, as torch does": partial(written, one_by_one, batch_size),
    }


def loaders(rounds: int) -> str:
    """Times of our own fetch, and microseconds a batch, for each batch size."""
    rows: dict[str, list[str]] = {}
    for batch_size in BATCHES:
        figures = in_turns(programs(batch_size), rounds)
        count = EPOCHS * -(-ROWS // batch_size)
        for name, found in figures.items():
            middle, least, most = ratio(found, figures[OURS])
            micros = sorted(found.seconds)[len(found.seconds) // 2] / count * 1e6
            rows.setdefault(name, []).extend([f"{middle:.2f} ({least:.2f} to {most:.2f})", f"{micros:.0f}"])
    header = ["loader"]
    for batch_size in BATCHES:
        header += [f"batch {batch_size}: of our own", "microseconds a batch"]
    return table(header, [[name, *cells] for name, cells in rows.items()])

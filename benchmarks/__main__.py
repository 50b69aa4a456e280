"""``python -m benchmarks NAME ...``: measure, and print tables in Markdown."""

import argparse
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.backtests import backtests
from benchmarks.birds import birds
from benchmarks.compiled import compiled
from benchmarks.cuda import cuda
from benchmarks.ebird import ebird, ebird_large
from benchmarks.few import few_checklists
from benchmarks.flags import flags
from benchmarks.growth import growth
from benchmarks.loaders import loaders
from benchmarks.many import many
from benchmarks.measuring import machine
from benchmarks.memory import memory
from benchmarks.mnist import EPOCHS, mnist
from benchmarks.overhead import overhead
from benchmarks.precision import precision
from benchmarks.presets import presets
from benchmarks.scaling import scaling
from benchmarks.step import whole_step
from benchmarks.steps import mlp_steps, traffic_steps, vae_steps
from benchmarks.tables import table_memory, tables


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmarks that are named; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="how often each program runs (default: 9)")
    parser.add_argument("--folder", type=Path, help="where large files are written (default: a temporary folder)")
    parser.add_argument("--gigabytes", type=float, default=10.0, help="size of ebird-large's file (default: 10)")
    parser.add_argument("--limit", type=float, default=2.0, help="GiB of memory for ebird-large (default: 2)")
    parser.add_argument("--picture", type=Path, default=Path("benchmarks/growth.png"), help="where growth draws")
    parser.add_argument("--device", default="cuda", help="of the benchmark named cuda (default: cuda)")
    parser.add_argument(
        "--data", type=Path, default=Path("data/MNIST/raw"), help="MNIST's files (default: data/MNIST/raw)"
    )
    parser.add_argument("--epochs", type=int, default=EPOCHS, help=f"of mnist (default: {EPOCHS}, as published)")
    known = [
        "mlp",
        "vae",
        "traffic",
        "overhead",
        "loaders",
        "memory",
        "compile",
        "step",
        "many",
        "ebird",
        "growth",
        "scaling",
        "tables",
        "table-memory",
        "precision",
        "presets",
        "flags",
        "backtest",
        "cuda",
        "ebird-large",
        "mnist",
        "few-checklists",
        "birds",
    ]
    parser.add_argument("names", nargs="+", choices=["all", *known], metavar="NAME", help=f"all, {', '.join(known)}")
    options = parser.parse_args(arguments)
    names = [name for name in known if name in options.names or "all" in options.names]
    print(machine(), end="\n\n")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        benchmarks: dict[str, Callable[[], str]] = {
            "mlp": partial(mlp_steps, options.rounds),
            "vae": partial(vae_steps, options.rounds),
            "traffic": partial(traffic_steps, options.rounds),
            "overhead": partial(overhead, options.rounds),
            "loaders": partial(loaders, options.rounds),
            "memory": partial(memory, options.rounds),
            "compile": partial(compiled, options.rounds),
            "step": partial(whole_step, options.rounds),
            "many": partial(many, options.rounds),
            "ebird": partial(ebird, min(options.rounds, 3), Path(folder)),
            "growth": partial(growth, options.rounds, options.picture),
            "scaling": partial(scaling, options.rounds),
            "tables": tables,
            "table-memory": partial(table_memory, Path(folder)),
            "precision": partial(precision, Path(folder)),
            "presets": partial(presets, Path(folder) / "presets"),
            "flags": flags,
            "backtest": backtests,
            "cuda": partial(cuda, options.rounds, options.device),
            "ebird-large": partial(ebird_large, options.gigabytes, options.limit, Path(folder)),
            "mnist": partial(mnist, options.data, options.epochs),
            "few-checklists": partial(few_checklists, Path(folder)),
            "birds": partial(birds, Path(folder)),
        }
        for name in names:
            print(f"### {name}\n{benchmarks[name]()}\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

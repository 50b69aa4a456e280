"""eBird files: how fast and in how much memory they become a matrix, beside pandas, and one larger than the memory."""

import contextlib
import csv
import hashlib
import json
import multiprocessing
import os
import resource
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import measuring
from ignite_recipes.data import (
    create_dataloaders,
    create_species_matrix,
    load_ebird_data,
    split_train_val,
    write_example_ebd,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ebird", "ebird_large"]

CHECKLIST, GROUP, SPECIES = "SAMPLING EVENT IDENTIFIER", "GROUP IDENTIFIER", "COMMON NAME"

CHECKLISTS = 75_000  # some 13.5 sightings each: a million rows
STRAY_TABS = 8  # more than any line has
BLOCK_CHECKLISTS = 10_000  # of the piece that is repeated in a large file: 48 MB, and four digits of an identifier
OURS, PANDAS = "`load_ebird_data`, `create_species_matrix`", "`pandas.read_csv`, `pivot_table`"


def ebird(rounds: int, folder: Path, num_checklists: int = CHECKLISTS) -> str:
    """Compare the way from a file to the matrix with how it is written in pandas, in Markdown.

    Args:
        rounds: that count.
        folder: where the file is written, and deleted afterwards.
        num_checklists: in the file, of some 13.5 rows each.

    Raises:
        RuntimeError: if the two matrices differ in a species, a checklist or a 0 or 1.
    """
    path = folder / "ebird.txt"
    try:
        programs = {OURS: partial(_ours, path), PANDAS: partial(_pandas, path)}
        _apart(_check, path, num_checklists, programs)
        num_rows, num_columns = _size(path)
        megabytes = path.stat().st_size / 1e6
        figures = _apart(measuring.in_turns, programs, rounds)
    finally:
        path.unlink(missing_ok=True)
    ours, theirs = figures[OURS], figures[PANDAS]
    rows = [
        (name, f"{statistics.median(took.seconds):.2f}", f"{took.peak:.0f}", f"{took.grown:.0f}")
        for name, took in figures.items()
    ]
    faster, least, most = measuring.ratio(theirs, ours)
    return (
        measuring.table(("program", "seconds", "peak MiB", "of it after the imports"), rows)
        + f"\n\n{num_rows:,} rows of {num_columns} columns ({megabytes:.0f} MB, quotes and stray tabs in the comments) "
        f"to the same matrix, by a digest of its species, checklists and values: {faster:.1f} times as fast "
        f"({least:.1f} to {most:.1f} over {rounds} rounds), in {ours.grown / theirs.grown:.2f} of the memory that "
        f"pandas takes, {ours.peak / theirs.peak:.2f} with what both have imported, torch the most of it. "
        f"{measuring.machine()}.\n"
    )


def ebird_large(gigabytes: float, limit_gib: float, folder: Path) -> str:
    """Train from a file larger than the memory allowed to the process, in Markdown.

    The limit is RLIMIT_DATA: it counts all memory of the process that is its own and can be written to, touched or
    not, and asking for more fails. That the peak of the resident memory, which counts code and files too, stayed
    below it is checked besides.

    Args:
        gigabytes: 10**9 bytes of rows; the file is deleted afterwards.
        limit_gib: the memory allowed, in 2**30 bytes.
        folder: where the file is written.

    Raises:
        RuntimeError: if the process fails or takes more memory.
    """
    path, report = folder / "ebird_large.txt", folder / "ebird_large.json"
    try:
        copies = _apart(_write_large, path, gigabytes)
        size = path.stat().st_size / 1e9
        programs = {"train": partial(_train, path, report, limit_gib)}
        figures = _apart(partial(measuring.in_turns, warm_up=0), programs, 1)["train"]
        facts = json.loads(report.read_text())
    finally:
        path.unlink(missing_ok=True)
        report.unlink(missing_ok=True)
    if figures.peak > limit_gib * 1024:
        raise RuntimeError(f"the peak must stay below {limit_gib} GiB; got {figures.peak:.0f} MiB")
    rows = [(step, f"{seconds:.1f}", f"{peak:.0f}") for step, (seconds, peak) in facts["steps"].items()]
    per_second = facts["rows"] / facts["steps"]["load_ebird_data"][0]
    return (
        measuring.table(("step", "seconds", "peak MiB until then"), rows)
        + f"\n\n{size:.1f} GB, {facts['rows']:,} rows ({copies} times {BLOCK_CHECKLISTS:,} checklists, each time under "
        f"new identifiers), {per_second / 1e6:.2f} million rows a second read; {facts['checklists']:,} complete "
        f"checklists of {facts['species']} species. Memory was limited to {limit_gib:g} GiB (RLIMIT_DATA); the peak "
        f"was {figures.peak:.0f} MiB, of which {figures.peak - figures.grown:.0f} by the imports. "
        f"{measuring.machine()}.\n"
    )


def _apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function returns, called in a process of its own: the peak of a child begins at its parent's memory."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def _size(path: Path) -> tuple[int, int]:
    """Rows and named columns of a file."""
    with path.open("rb") as file:
        columns = file.readline().rstrip(b"\t\n").split(b"\t")
        return sum(1 for _ in file), len(columns)


def _ours(path: Path) -> Callable[[], "pd.DataFrame"]:
    _import()
    return lambda: create_species_matrix(load_ebird_data(path))[0].set_index(CHECKLIST)


def _pandas(path: Path) -> Callable[[], "pd.DataFrame"]:
    _import()
    return partial(_pandas_matrix, path)


def _pandas_matrix(path: Path) -> "pd.DataFrame":
    """As one writes it, with its default engine and types; quotes are text, and stray tabs need spare columns."""
    import pandas as pd

    with path.open(encoding="utf-8") as file:
        header = file.readline().rstrip("\t\n").split("\t")
    spare = [f"spare {number}" for number in range(STRAY_TABS)]
    data = pd.read_csv(path, sep="\t", quoting=csv.QUOTE_NONE, names=[*header, *spare], skiprows=1)
    data = data[
        data["CATEGORY"].isin(["species", "issf", "form", "intergrade", "domestic"])  # all by the species' common name
        & data["OBSERVATION TYPE"].isin(["Traveling", "Stationary"])
        & (data["ALL SPECIES REPORTED"] == 1)
    ]
    first_of_group = data.groupby(GROUP)[CHECKLIST].transform("min")
    data = data[data[GROUP].isna() | (data[CHECKLIST] == first_of_group)]
    return data.assign(seen=1).pivot_table(
        index=CHECKLIST, columns=SPECIES, values="seen", aggfunc="max", fill_value=0
    )  # fmt: skip


def _import() -> None:
    """What either program needs, so that their memory is compared after the same imports."""
    import pandas  # noqa: F401
    import polars  # noqa: F401
    import scipy.sparse  # noqa: F401


def _check(path: Path, num_checklists: int, programs: dict[str, measuring.Program]) -> None:
    """Write the file, and make sure that the programs make the same of it."""
    write_example_ebd(path, num_checklists)
    digests = {name: _digest(program) for name, program in programs.items()}
    if len(set(digests.values())) > 1:
        raise RuntimeError(f"both must make the same matrix; got the digests {digests}")


def _digest(program: measuring.Program) -> str:
    """Of the species, the checklists and the values of a program's matrix, in its order."""
    import numpy as np

    matrix = program()()
    digest = hashlib.sha256(json.dumps([matrix.columns.tolist(), matrix.index.tolist()]).encode())
    for name in matrix.columns:  # by columns: a sparse matrix need not become dense as a whole
        digest.update(np.asarray(matrix[name], dtype=np.uint8).tobytes())
    return digest.hexdigest()


def _write_large(path: Path, gigabytes: float) -> int:
    """Write one piece again and again, with other checklists, groups and sightings; how many times."""
    piece = write_example_ebd(path, BLOCK_CHECKLISTS).read_bytes()
    header, newline, lines = piece.partition(b"\n")
    with path.open("wb") as file:
        file.write(header + newline)
        for number in count():
            copy = lines
            for start, zeros in ((b"\tS2", 4), (b"\tG1", 3), (b":OBS3", 3)):
                copy = copy.replace(start + b"0" * zeros, start + f"{number:0{zeros}}".encode())
            file.write(copy)
            if file.tell() >= gigabytes * 1e9:
                return number + 1
    raise AssertionError("count() has no end")


def _train(path: Path, report: Path, limit_gib: float) -> Callable[[], None]:
    import torch

    _import()
    torch.set_num_threads(1)  # steps this small gain nothing from more, and wait long where another program has a core
    limit = int(limit_gib * 2**30)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    return partial(_train_limited, path, report)


def _train_limited(path: Path, report: Path) -> None:
    """The documented way, one epoch; notes in ``report`` how long each step took and the peak by then."""
    from ignite_recipes.models import VariationalAutoencoder
    from ignite_recipes.recipes import train_variational_autoencoder

    steps: dict[str, tuple[float, float]] = {}

    @contextlib.contextmanager
    def step(name: str) -> Any:
        began = time.perf_counter()
        yield
        steps[name] = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with step("load_ebird_data"):
        data = load_ebird_data(path)
    with step("create_species_matrix"):
        matrix, species = create_species_matrix(data)
    with step("split_train_val"):
        loaders = create_dataloaders(*split_train_val(matrix, species), batch_size=1024)
    with step("one epoch of the VAE"), open(os.devnull, "w") as nothing, contextlib.redirect_stdout(nothing):
        model = VariationalAutoencoder(len(species), latent_dimension=16, hidden_dimension=128)
        train_variational_autoencoder(model, *loaders, num_epochs=1)
    sizes = {"rows": len(data), "checklists": len(matrix), "species": len(species)}
    report.write_text(json.dumps({"steps": steps, **sizes}))

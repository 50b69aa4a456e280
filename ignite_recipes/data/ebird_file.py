"""Read columns of a tab-separated file of any size, in memory for the columns alone."""

import gzip
import zlib
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl

__all__ = ["read_columns", "read_header"]

MAX_HEADER_BYTES = 65_536  # a header is some 900 bytes long; a file of another kind may have no line ends
BLOCK_BYTES = 4 * 2**20  # of the file in memory at once, a few times; more is no faster
BLOCKS_AHEAD = 3  # parsed meanwhile: polars alone keeps no second core busy with a block of this size
UNREADABLE = (OSError, EOFError, zlib.error)  # what a file that is broken, or of another kind, raises

Result = TypeVar("Result")


def read_header(path: Path) -> list[str]:
    """The names in the first line of a plain or gzipped file.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it cannot be read or is empty.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no eBird file {path}; check the path, or write_example_ebd makes one")
    try:
        with _open(path) as file:
            line = file.readline(MAX_HEADER_BYTES)
    except UNREADABLE as error:
        raise ValueError(f"{path} must be a readable text file, plain or gzipped; got {error!r}") from error
    if not line.strip():
        raise ValueError(f"{path} must begin with the header of an eBird file; it is empty: download it again")
    return line.decode("utf-8-sig", errors="replace").rstrip("\r\n").split("\t")


def read_columns(
    path: Path, names: Sequence[str], numbers: Collection[str], nrows: int | None
) -> "dict[str, NDArray[np.float64] | pd.Categorical[str]]":
    """The named columns of at most ``nrows`` rows; those among ``numbers`` as float64, others as categoricals.

    A row takes 1 to 4 bytes of a categorical column, by the number of its categories, which are sorted.

    Raises:
        ValueError: if the file cannot be read to its end.
    """
    floats = {name: _Numbers() for name in names if name in numbers}
    texts = {name: _Texts() for name in names if name not in numbers}
    left = nrows
    # With a number of rows it is a block at a time: the next call asks for those left, and none for what may be broken.
    ahead = BLOCKS_AHEAD if nrows is None else 0
    calls = (partial(_parse, block, list(texts), list(floats), left) for block in _blocks(path))
    try:
        for rows, distinct in _in_order(calls, ahead):
            for name, floats_so_far in floats.items():
                floats_so_far.add(rows[name])
            for name, texts_so_far in texts.items():
                texts_so_far.add(distinct[name], rows[name])
            if left is not None and not (left := left - rows.height):
                break
    except (pl.exceptions.PolarsError, *UNREADABLE) as error:
        raise ValueError(f"{path} cannot be read to its end ({error}); download or unpack it again") from error
    # Each is let go before the next: both forms of all of them would be twice the memory.
    return {name: (floats if name in floats else texts).pop(name).to_pandas() for name in names}


def _open(path: Path) -> gzip.GzipFile | BufferedReader:
    with path.open("rb") as file:
        is_packed = file.read(2) == b"\x1f\x8b"
    return gzip.open(path) if is_packed else path.open("rb")


def _blocks(path: Path) -> Iterator[bytes]:
    """The file in pieces of whole lines, each below the header, so that it is a file of its own.

    Mapped into memory as a whole, which is how polars reads a path, the file would count as this process's memory.
    """
    with _open(path) as file:
        header = file.readline()
        while block := file.read(BLOCK_BYTES):
            yield b"".join((header, block, file.readline()))


def _parse(
    block: bytes, texts: Sequence[str], numbers: Sequence[str], nrows: int | None
) -> "tuple[pl.DataFrame, dict[str, pl.Series]]":
    """At most ``nrows`` rows, with codes for texts, -1 where one is missing; and the texts of these codes."""
    scanned = pl.scan_csv(
        block, separator="\t", quote_char=None, truncate_ragged_lines=True, infer_schema=False,
        encoding="utf8-lossy", n_rows=nrows,
    )  # fmt: skip
    rows = scanned.select(*texts, *numbers).collect(engine="streaming")
    distinct = {name: rows[name].drop_nulls().unique() for name in texts}
    codes = [pl.col(name).cast(pl.Enum(distinct[name])).to_physical().cast(pl.Int64).fill_null(-1) for name in texts]
    return rows.select(*codes, pl.col(numbers).cast(pl.Float64, strict=False)), distinct


def _in_order(calls: Iterable[Callable[[], Result]], ahead: int) -> Iterator[Result]:
    """What the calls return, while threads make as many more; polars does not hold the interpreter's lock."""
    with ThreadPoolExecutor(ahead + 1) as pool:
        pending: deque[Future[Result]] = deque()
        for call in calls:
            pending.append(pool.submit(call))
            if len(pending) > ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class _Numbers:
    """A column of numbers, block after block."""

    def __init__(self) -> None:
        self.parts: list[NDArray[np.float64]] = [np.empty(0)]

    def add(self, column: "pl.Series") -> None:
        self.parts.append(column.to_numpy())

    def to_pandas(self) -> NDArray[np.float64]:
        return np.concatenate(self.parts)


class _Texts:
    """A column of texts, block after block: a number for each distinct one, and these numbers, -1 where it is missing.

    As categories of polars the columns of an eBird file would take twice the memory.
    """

    def __init__(self) -> None:
        self.number_of: dict[str, int] = {}
        # One of each type at most: they grow in place, while arrays of a block each would leave holes when freed.
        self.parts = [array("b")]

    def add(self, distinct: "pl.Series", codes: "pl.Series") -> None:
        ours = [self.number_of.setdefault(text, len(self.number_of)) for text in distinct.to_list()]
        numbers = np.array([*ours, -1], _smallest_type(self.number_of))  # by code; the last is that of a missing one
        if self.parts[-1].typecode != numbers.dtype.char:
            self.parts.append(array(numbers.dtype.char))
        self.parts[-1].frombytes(numbers[codes.to_numpy()].tobytes())

    def to_pandas(self) -> "pd.Categorical[str]":
        texts = sorted(self.number_of)
        codes = np.full(len(texts) + 1, -1, _smallest_type(texts))  # by number; the last is that of a missing one
        codes[[self.number_of[text] for text in texts]] = np.arange(len(texts))
        parts = [np.frombuffer(part, part.typecode) for part in self.parts]
        values = np.concatenate(parts, dtype=codes.dtype)
        for start in range(0, len(values), BLOCK_BYTES):  # to index, the numbers take 8 bytes each for a while
            block = slice(start, start + BLOCK_BYTES)
            values[block] = codes[values[block]]
        categories = pd.Index(texts, dtype=str)
        # This tells pandas that they differ, which it would find out with a table larger than they are.
        _ = categories.is_monotonic_increasing
        return pd.Categorical.from_codes(values, categories=categories)


def _smallest_type(categories: Collection[str]) -> np.dtype[np.signedinteger[Any]]:
    """Of integers that hold the number of each category, and -1; it is the one that pandas keeps them in."""
    kind: np.dtype[Any] = np.min_scalar_type(-len(categories) - 1)
    return kind

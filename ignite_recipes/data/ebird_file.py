"""Read columns of an eBird file of any size, in memory for the columns alone."""

import csv
import logging
from array import array
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ignite_recipes.data.ebird_archive import UNREADABLE, EbirdFile
from ignite_recipes.data.ebird_columns import NUMBERS
from ignite_recipes.data.ebird_encoding import as_utf8
from ignite_recipes.data.ebird_header import Header
from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl

__all__ = ["Columns", "read_tables"]
logger = logging.getLogger(__name__)

BLOCK_BYTES = 4 * 2**20  # of the file in memory at once, a few times; more is not faster
BLOCKS_AHEAD = 3  # parsed meanwhile: polars alone keeps no second core busy with a block of this size

Result = TypeVar("Result")


class Columns(NamedTuple):
    """Which columns to read of which rows."""

    names: Sequence[str]
    """As the eBird Basic Dataset calls them."""
    once_per: str | None = None
    """Keep the first of the rows in a block that have the same value here; None keeps all rows."""


def read_tables(file: EbirdFile, tables: Sequence[Columns], nrows: int | None = None) -> "list[pd.DataFrame]":
    """Columns of at most ``nrows`` rows, one frame for each of ``tables``; the file is read once.

    Columns of numbers are float64, others categoricals, whose categories are sorted: a row takes 1 to 4 bytes of one,
    by the number of its categories. Lines that are not UTF-8 are taken as Latin-1, which is warned of.

    Raises:
        ValueError: if the file cannot be read to its end.
    """
    columns = [{name: _Numbers() if name in NUMBERS else _Texts() for name in table.names} for table in tables]
    left, num_recoded, first_recoded = nrows, 0, b""
    # With a number of rows it is a block at a time: the next call asks for those left, and none for what may be broken.
    ahead = BLOCKS_AHEAD if nrows is None else 0
    calls = (partial(_parse, block, file.header, tables, left) for block in _blocks(file))
    try:
        for num_rows, parsed, lines in _in_order(calls, ahead):
            num_recoded, first_recoded = num_recoded + len(lines), first_recoded or b"".join(lines[:1])
            for of_table, part in zip(columns, parsed, strict=True):
                for name, column in of_table.items():
                    column.add(part.rows[name], part.distinct.get(name))
            if left is not None and not (left := left - num_rows):
                break
    except (pl.exceptions.PolarsError, *UNREADABLE) as error:
        why = str(error).strip().partition("\n")[0]
        raise ValueError(f"{file} cannot be read to its end ({why}); download or unpack it again") from error
    if num_recoded:
        logger.warning(
            "%s is not UTF-8 throughout: %d lines were read as Latin-1 (Windows-1252), the first as %r; if names look "
            "wrong, save the file as UTF-8",
            file, num_recoded, as_utf8(first_recoded)[0].decode()[:80],
        )  # fmt: skip
    frames = []
    for of_table in columns:
        # Each is let go before the next: both forms of all of them would be twice the memory.
        frames.append(pd.DataFrame({name: of_table.pop(name).to_pandas() for name in list(of_table)}, copy=False))
    return frames


def _blocks(file: EbirdFile) -> Iterator[bytes]:
    """What stands below the header, in pieces of whole rows.

    Mapped into memory as a whole, which is how polars reads a path, the file would count as this process's memory.
    """
    with file.open() as opened:
        opened.readline()
        is_first = True
        while block := opened.read(BLOCK_BYTES):
            lines = [block, opened.readline()]
            if file.header.is_quoted:  # a line may end inside a field
                while sum(line.count(b'"') for line in lines) % 2 and (line := opened.readline()):
                    lines.append(line)
            rows = b"".join(lines)
            if is_first and file.header.is_quoted:
                _check_width(rows.partition(b"\n")[0], file)
            is_first = False
            yield rows


def _check_width(line: bytes, file: EbirdFile) -> None:
    """Refuse what R's write.table makes: rows that begin with a number which the header has no name for."""
    values = next(csv.reader([line.decode("utf-8", "replace")], delimiter=file.header.separator))
    width = len(values)
    if width == len(file.header.names) + 1 and values[-1].strip():
        raise ValueError(
            f"{file} must have {width - 1} values in a row, as in its header; got {width}, as R's write.table has "
            "them with row names: write it with row.names = FALSE"
        )


class _Part(NamedTuple):
    """A table's part of a block."""

    rows: "pl.DataFrame"  # numbers; for texts their codes, -1 where one is missing
    distinct: "dict[str, pl.Series]"  # the texts of these codes


def _parse(
    block: bytes, header: Header, tables: Sequence[Columns], nrows: int | None
) -> tuple[int, list[_Part], list[bytes]]:
    """How many rows there were, at most ``nrows``; their columns for each table; the lines that were not UTF-8."""
    rows, recoded = as_utf8(block)
    # By their places, since names may stand twice, or hold what separates them.
    places = header.separator.join(f"c{place}" for place in range(len(header.names)))
    scanned = pl.scan_csv(
        b"".join((places.encode(), b"\n", rows)), separator=header.separator, truncate_ragged_lines=True,
        quote_char='"' if header.is_quoted else None, null_values=header.missing, infer_schema=False,
        encoding="utf8-lossy", n_rows=nrows,
    )  # fmt: skip
    names = list(dict.fromkeys(name for table in tables for name in table.names))
    columns = [pl.col(f"c{header.names.index(name)}").alias(name) for name in names]
    read = scanned.select(_value(column, header) for column in columns).collect(engine="streaming")
    return read.height, [_part(read, table, header) for table in tables], recoded


def _value(column: "pl.Expr", header: Header) -> "pl.Expr":
    return column.replace("", None) if header.is_quoted else column  # a field of two quotes is empty, too


def _part(read: "pl.DataFrame", table: Columns, header: Header) -> _Part:
    if table.once_per is not None:
        read = read.unique(table.once_per, keep="first", maintain_order=True)
    texts = [name for name in table.names if name not in NUMBERS]
    numbers = [pl.col(name) for name in table.names if name in NUMBERS]
    if header.separator == ";":  # where a comma is not a separator, it is a decimal point
        numbers = [number.str.replace(",", ".", literal=True) for number in numbers]
    distinct = {name: read[name].drop_nulls().unique() for name in texts}
    codes = [pl.col(name).cast(pl.Enum(distinct[name])).to_physical().cast(pl.Int64).fill_null(-1) for name in texts]
    return _Part(read.select(*codes, *(number.cast(pl.Float64, strict=False) for number in numbers)), distinct)


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

    def add(self, column: "pl.Series", distinct: "pl.Series | None" = None) -> None:
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

    def add(self, codes: "pl.Series", distinct: "pl.Series | None") -> None:
        assert distinct is not None
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
    """The integers that hold the number of each category, and -1; pandas uses the same."""
    kind: np.dtype[Any] = np.min_scalar_type(-len(categories) - 1)
    return kind

"""Read a CSV file as people have them, and say in one line what is wrong with one."""

import csv
import gzip
import os
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from ignite_recipes.arguments import as_text
from ignite_recipes.optional import polars as pl

__all__ = ["NULLS", "check_names", "read_csv"]

NULLS = ("", "?", "NA", "N/A", "n/a", "#N/A", "NaN", "nan", "NULL", "null")
"""What stands for a missing value in a text file."""

SEPARATORS = ",;\t|"
_ROWS_TO_INFER = 10_000  # rows from which the types are told; where a later one does not fit, all are read
_START = 1 << 16  # bytes that are looked at for the header


def read_csv(path: Path, text_columns: Sequence[str] = ()) -> "pl.DataFrame":
    """The rows of a CSV file, plain or gzipped, with a line of column names.

    Values are separated by commas, semicolons, tabs or bars: by what the header has most of. In a file of
    semicolons a comma may be the decimal point.

    Args:
        path: the file, UTF-8 text.
        text_columns: columns that hold text, also where it looks like numbers, as codes with leading zeros do.

    Raises:
        ValueError: naming the file and the line, for rows of another length than the header, text in another encoding,
            no rows, no header, or a name that stands twice.
    """
    start = _start_of(path)
    separator = max(SEPARATORS, key=start.partition("\n")[0].count)
    names = _header(start, separator, path)

    def read(num_rows: int | None) -> "pl.DataFrame":
        how: dict[str, Any] = {
            "separator": separator,
            "null_values": [*NULLS],
            "infer_schema_length": num_rows,
            "schema_overrides": {name: pl.String for name in text_columns if name in names},
            "decimal_comma": separator == ";" and re.search(r"(?<!\d)\d+,\d+(?!\d)", start) is not None,
        }
        name = as_text(os.fspath(path))  # polars takes no other
        if _is_gzip(path):
            return pl.read_csv(name, **how)
        return pl.scan_csv(name, **how).collect(engine="streaming")  # takes less memory

    try:
        try:
            frame = read(_ROWS_TO_INFER)
        except pl.exceptions.ComputeError:
            frame = read(None)
    except PermissionError:
        raise
    except (pl.exceptions.PolarsError, OSError) as error:  # the latter for a gzip file that is cut
        _complain(path, separator, len(names))
        raise ValueError(f"{path} must be a CSV file with a line of column names: {_first_line(error)}") from error
    if not frame.height:
        raise ValueError(f"{path} must hold rows below its line of column names; got none: check the file")
    if frame[:, -1].null_count():  # what is missing at the end of a row is null, too
        _complain(path, separator, len(names))
    return frame


def _is_gzip(path: Path) -> bool:
    return path.suffix.lower() == ".gz"


def _open(path: Path) -> TextIO:
    opened = gzip.open if _is_gzip(path) else open
    return opened(path, "rt", encoding="utf-8-sig", newline="")


def _start_of(path: Path) -> str:
    with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
        try:
            start = file.read(_START)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} must be a whole gzip file: {error}") from error
    if not start.strip():
        raise ValueError(f"{path} must hold a line of column names and rows; it is empty")
    if b"\0" in start:
        raise ValueError(f"{path} must be UTF-8 text; it holds zero bytes, as UTF-16 does: save it as UTF-8 CSV")
    return start.decode("utf-8-sig", errors="replace")


def _header(start: str, separator: str, path: Path) -> list[str]:
    names = next(csv.reader(start.splitlines(keepends=True), delimiter=separator))
    check_names(names, str(path))
    return names


def check_names(names: Sequence[str], what: str) -> None:
    """Raise ValueError if a column's name stands twice."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{what} must name each column once; got {twice[0]!r} twice: rename one of them")


def _complain(path: Path, separator: str, num_columns: int) -> None:
    """Raise an error that names the first line which is wrong, if there is one."""
    try:
        with _open(path) as file:
            rows = csv.reader(file, delimiter=separator)
            for row in rows:
                if row and len(row) != num_columns:
                    raise ValueError(
                        f"{path} must have {num_columns} values in every row, as in its line of column names; line "
                        f"{rows.line_num} has {len(row)}: correct it, or quote values that hold {separator!r}"
                    )
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path} must be UTF-8 text; got {_bad_bytes(path)}: save it as UTF-8, e.g. iconv -f WINDOWS-1252 -t UTF-8"
        ) from error
    except (EOFError, OSError, csv.Error, zlib.error) as error:
        raise ValueError(f"{path} must be a valid CSV file: {error}") from error


def _bad_bytes(path: Path) -> str:
    with gzip.open(path) if _is_gzip(path) else path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                return f"the byte 0x{line[error.start]:02x} in line {number}"
    return "other bytes"


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]

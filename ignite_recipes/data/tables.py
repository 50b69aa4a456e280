"""A table as people have it, a file, a frame, an array or a tensor, as one frame of polars."""

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from ignite_recipes.arguments import as_text
from ignite_recipes.data.csv_file import check_names, read_csv
from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl
from ignite_recipes.said_once import warn

__all__ = ["as_column", "file_identity", "is_path", "read_table"]

logger = logging.getLogger(__name__)

CSV, PARQUET, FEATHER = (".csv", ".tsv", ".txt"), (".parquet", ".pq"), (".feather", ".arrow", ".ipc")
_KINDS = "a file (.csv, .csv.gz, .parquet, .feather), a pandas or polars frame, an array or a tensor (N, D)"


def read_table(data: Any, text_columns: Sequence[str] = ()) -> "pl.DataFrame":
    """The rows and columns of ``data`` as a frame of polars; the columns of arrays are x0, x1, ...

    Args:
        data: the name of a CSV file (also gzipped), Parquet or Feather file; a frame of pandas or polars; a dict of
            columns; an array or a tensor (N, D).
        text_columns: columns of a CSV file that hold text, also where it looks like numbers.

    Raises:
        TypeError: for data of another kind.
        FileNotFoundError: if there is no such file.
        ValueError: for a file that cannot be read, an array that is not (N, D), a column of lists or objects, or no
            rows.
    """
    if is_path(data):
        frame = _read_file(Path(data).expanduser(), text_columns)
    elif isinstance(data, pl.DataFrame):
        frame = data
    elif hasattr(data, "iloc") and hasattr(data, "columns"):
        check_names([str(name) for name in data.columns], "data")
        frame = pl.DataFrame([_from_pandas(str(name), data.iloc[:, k]) for k, name in enumerate(data.columns)])
    elif isinstance(data, dict):
        frame = pl.DataFrame([as_column(values, str(name)) for name, values in data.items()])
    elif isinstance(data, (Tensor, np.ndarray)):
        frame = _from_array(data)
    else:
        raise TypeError(f"data must be {_KINDS}; got {type(data).__name__}")
    if not frame.height or not frame.width:
        raise ValueError(f"data must hold rows and columns; got {frame.height} rows of {frame.width} columns")
    if infinite := [name for name in frame.columns if frame[name].dtype.is_float() and frame[name].is_infinite().any()]:
        warn(logger, f"infinite values are taken as missing, in column {', '.join(map(repr, infinite))}")
    return pl.DataFrame([_plain(column) for column in frame.get_columns()])


def as_column(values: Any, name: str) -> "pl.Series":
    """One column: a list, an array or tensor (N,) or (N, 1), a Series of pandas or polars.

    Raises:
        ValueError: if there is more than one value a row.
    """
    if isinstance(values, pl.Series):
        return _plain(values.alias(name))
    if hasattr(values, "iloc"):
        if getattr(values, "ndim", 1) == 2 and values.shape[1] == 1:
            values = values.iloc[:, 0]
        if getattr(values, "ndim", 1) == 1:
            return _from_pandas(name, values)
    if isinstance(values, pl.DataFrame):
        values = values.to_numpy()
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != 1:
        raise ValueError(f"{name} must be one value a row, (N,) or (N, 1); got shape {tuple(array.shape)}")
    return _from_numpy(name, array)


def is_path(data: Any) -> bool:
    """Whether it is the name of a file."""
    return isinstance(data, (str, os.PathLike))


def file_identity(path: str | os.PathLike[str]) -> dict[str, Any]:
    """By what a file is known again: ``size`` in bytes and ``sha256`` of its contents."""
    digest = hashlib.sha256()
    with Path(path).expanduser().open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
        return {"size": file.tell(), "sha256": digest.hexdigest()}


def _read_file(path: Path, text_columns: Sequence[str]) -> "pl.DataFrame":
    if not path.is_file():
        raise FileNotFoundError(f"data must be a file; there is none at {path}")
    endings = [ending.lower() for ending in path.suffixes]
    kind = endings[-2] if endings[-1:] == [".gz"] and len(endings) > 1 else (endings or [""])[-1]
    if kind in CSV:
        return read_csv(path, text_columns)
    if kind not in (*PARQUET, *FEATHER):
        raise ValueError(
            f"{path} must be a CSV file (.csv, .tsv, also .gz), Parquet (.parquet) or Feather (.feather); got "
            f"the ending {''.join(endings[-2:])!r}: rename or convert it"
        )
    try:
        name = as_text(os.fspath(path))  # polars takes no other
        return pl.read_parquet(name) if kind in PARQUET else pl.read_ipc(name)
    except PermissionError:
        raise
    # Polars takes a number in a file of another kind for a place in it.
    except (pl.exceptions.PolarsError, OSError) as error:
        said = str(error).strip().partition("\n")[0]
        raise ValueError(f"{path} must be a {kind[1:]} file, as its ending says; it is none: {said}") from error


def _from_array(data: Any) -> "pl.DataFrame":
    array = data.detach().cpu().numpy() if isinstance(data, Tensor) else data
    if array.ndim != 2:
        raise ValueError(f"data must be (N, D), a row for each sample; got shape {tuple(array.shape)}: reshape it")
    return pl.DataFrame([_from_numpy(f"x{k}", array[:, k]) for k in range(array.shape[1])])


def _from_pandas(name: str, column: Any) -> "pl.Series":
    kinds = pd.api.types
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.SparseDtype):
        column = column.sparse.to_dense()
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if kinds.is_datetime64_any_dtype(column.dtype) or kinds.is_timedelta64_dtype(column.dtype):
        return _from_numpy(name, column.to_numpy())
    if kinds.is_numeric_dtype(column.dtype) and not column.isna().any():
        return _from_numpy(name, column.to_numpy(dtype=getattr(column.dtype, "numpy_dtype", column.dtype)))
    if kinds.is_numeric_dtype(column.dtype) and not kinds.is_bool_dtype(column.dtype):
        return _from_numpy(name, column.to_numpy(dtype=np.float64, na_value=np.nan))
    return _from_numpy(name, column.astype(object).where(column.notna(), None).to_numpy())


def _from_numpy(name: str, array: Any) -> "pl.Series":
    """Objects that have no type in common become text."""
    if array.dtype.kind == "f":
        return pl.Series(name, array, nan_to_null=True)
    if array.dtype.kind in "US":
        return pl.Series(name, array.astype(str).tolist(), dtype=pl.String)
    if array.dtype.kind != "O":
        return pl.Series(name, np.ascontiguousarray(array))
    values = [None if value is None or value != value else value for value in array.tolist()]
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float} or len(kinds) <= 1:
        return pl.Series(name, values, strict=False)
    return pl.Series(name, [None if value is None else str(value) for value in values], dtype=pl.String)


def _plain(column: "pl.Series") -> "pl.Series":
    """Numbers, booleans, text and times only; NaN and infinity as missing."""
    kind = column.dtype
    if kind in (pl.Categorical, pl.Enum):
        return column.cast(pl.String)
    if kind == pl.Duration:
        return column.dt.total_microseconds().cast(pl.Float64) / 1e6
    if kind == pl.Time:
        return column.cast(pl.Int64).cast(pl.Float64) / 1e9
    if isinstance(kind, pl.Decimal) or kind == pl.Null:
        return column.cast(pl.Float64)
    if kind.is_nested() or kind in (pl.Object, pl.Binary):
        raise ValueError(
            f"column {column.name!r} must hold numbers, text, booleans or times; got {kind}: take it out, or make "
            "columns of its parts"
        )
    if kind.is_float() and not column.is_finite().all():
        return column.to_frame().select(pl.when(pl.first().is_finite()).then(pl.first())).to_series().alias(column.name)
    return column

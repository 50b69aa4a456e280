"""Frames of pandas and polars as rows of numbers."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ignite_recipes.arguments import shown
from ignite_recipes.data.rows import RowDataset
from ignite_recipes.optional import pandas as pd

__all__ = ["as_pandas", "frame_rows", "is_frame"]


def is_frame(data: object) -> bool:
    """Whether it is a frame of pandas or polars: told by what it has, so that nothing else needs them."""
    return hasattr(data, "to_numpy") and hasattr(data, "columns")


def as_pandas(frame: Any) -> "pd.DataFrame":
    """A frame of pandas as it is, one of polars as one of pandas."""
    if isinstance(frame, pd.DataFrame):
        return frame
    return pd.DataFrame({name: frame[name].to_numpy() for name in frame.columns}, copy=False)


def frame_rows(frame: Any, species: Sequence[str] | None = None) -> RowDataset:
    """The chosen columns of a frame, by default all of numbers, sparse if they are.

    Raises:
        ValueError: if a column is missing or not of numbers, or none is left.
    """
    frame = as_pandas(frame)
    is_number = {name: pd.api.types.is_numeric_dtype(dtype) for name, dtype in frame.dtypes.items()}
    names: list[Any] = [name for name in frame if is_number[name]] if species is None else list(species)
    if species is None and not names:
        raise ValueError(f"the frame must have at least one column of numbers; got {list(is_number)}: convert them")
    if isinstance(species, str) or not names:
        raise ValueError(f"species must name at least one column of numbers; got {shown(species)}: pass a list of them")
    if wrong := [name for name in names if not is_number.get(name)]:
        raise ValueError(f"species must be columns of numbers in the matrix; got {wrong}: leave them out")
    chosen = frame[names]
    if all(isinstance(dtype, pd.SparseDtype) and dtype.fill_value == 0 for dtype in chosen.dtypes):
        sparse: Any = chosen.sparse  # an accessor that pandas' stubs do not know
        return RowDataset(sparse.to_coo().tocsr(), names)
    rows = chosen.to_numpy()
    if rows.dtype == object:  # of columns that have no type of numpy's in common
        rows = chosen.to_numpy(dtype=np.float32, na_value=np.nan)
    return RowDataset(rows, names)

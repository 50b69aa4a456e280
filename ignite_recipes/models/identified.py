"""Embeddings with what each row is called, as a frame."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ignite_recipes.arguments import kind_of, listed
from ignite_recipes.data.frames import is_frame
from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl

__all__ = ["split_identifiers", "with_identifiers"]


def split_identifiers(data: Any, identifiers: Any) -> tuple[Any, Any]:
    """The data without the columns that name its rows, and these.

    Args:
        data: whose rows are named.
        identifiers: a column of ``data``, or several, by name; or names apart from it, which are given back: a frame, a
            column of pandas or polars, or another sequence.

    Raises:
        ValueError: if a column is missing.
        TypeError: if columns are named of data that are not a frame.
    """
    names = [identifiers] if isinstance(identifiers, str) else identifiers
    are_columns = isinstance(identifiers, str) or (
        is_frame(data)
        and isinstance(names, (list, tuple))
        and len(names) > 0
        and all(isinstance(name, str) for name in names)
        and (len(names) != len(data) or set(names) <= set(data.columns))
    )
    if not are_columns:
        return data, identifiers
    if not is_frame(data):
        raise TypeError(
            f"identifiers={identifiers!r} names a column, which {kind_of(data)} has not: pass the names of its rows"
        )
    if missing := [name for name in names if name not in data.columns]:
        raise ValueError(f"identifiers must be columns of the frame; missing: {listed(missing)}")
    rest = [name for name in data.columns if name not in names]
    return data[rest], data[list(names)]


def with_identifiers(embeddings: Tensor, identifiers: Any) -> Any:
    """A frame of identifiers and ``z1``, ``z2``, ...: of pandas if the identifiers are, else of polars.

    Raises:
        ValueError: if there is not one for each embedding, or one is called like an embedding's column.
    """
    columns = {f"z{k + 1}": column for k, column in enumerate(embeddings.T.numpy())}
    is_pandas = hasattr(identifiers, "iloc")
    if is_frame(identifiers):
        named = identifiers
    elif is_pandas or isinstance(identifiers, pl.Series):
        named = identifiers.to_frame(identifiers.name or "identifier")
    elif isinstance(identifiers, Sequence) or hasattr(identifiers, "__array__"):
        named = pl.DataFrame({"identifier": list(identifiers)})
    else:
        raise TypeError(f"identifiers must be columns, a frame or a sequence; got {kind_of(identifiers)}")
    if len(named) != len(embeddings):
        raise ValueError(f"identifiers must be one for each of the {len(embeddings)} vectors; got {len(named)}")
    if taken := [name for name in named.columns if name in columns]:
        raise ValueError(f"identifiers must not have the names of the embeddings' columns; got {listed(taken)}: rename")
    if not is_pandas:
        return pl.concat([named, pl.DataFrame(columns)], how="horizontal")

    return pd.concat([named, pd.DataFrame(columns, index=named.index)], axis=1)

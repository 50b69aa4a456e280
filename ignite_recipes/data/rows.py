"""Rows of a matrix, dense or sparse, as a data set that fetches a whole batch at once."""

import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.loading.arrays import REAL_KINDS, share_memory
from ignite_recipes.loading.row_sets import BatchDataset, row_numbers, take_rows

if TYPE_CHECKING:
    from scipy.sparse import csr_array, csr_matrix

    Rows: TypeAlias = Tensor | NDArray[Any] | csr_matrix[Any] | csr_array[Any]

__all__ = ["RowDataset"]


class RowDataset(BatchDataset[Tensor]):
    """The rows of a matrix, each a float32 tensor (D,); a list of rows is fetched by one indexing operation.

    The matrix is kept as it is, and only fetched rows become dense and float32: a sparse matrix of a million
    checklists, or one of bytes, stays as small as it was.

    Args:
        rows: (N, D), a torch tensor, a numpy array or a scipy CSR matrix, of numbers or booleans.
        feature_names: the names of the D columns, if they have any.
        indices: (N,), the numbers of these rows in a larger matrix, by which labels of that matrix are found; by
            default from 0.

    Raises:
        TypeError: if ``rows`` is none of these kinds.
        ValueError: if it is not 2-D, or the names are not D, or the indices not N.

    >>> dataset = RowDataset(torch.eye(3))
    >>> len(dataset), dataset[1], dataset.__getitems__([2, 0]).shape
    (3, tensor([0., 1., 0.]), torch.Size([2, 3]))
    """

    draws_nothing = True

    def __init__(
        self, rows: "Rows", feature_names: Sequence[str] | None = None, indices: NDArray[np.int64] | None = None
    ) -> None:
        self.rows = _checked_rows(rows)
        self.indices = np.arange(len(self)) if indices is None else np.asarray(indices)
        if self.indices.shape != (len(self),):
            raise ValueError(f"indices must be a number for each of the {len(self)} rows; got {self.indices.shape}")
        self.feature_names = None if feature_names is None else list(feature_names)
        if self.feature_names is not None and len(self.feature_names) != self.num_features:
            raise ValueError(
                f"feature_names must name each of the {self.num_features} columns, in their order; "
                f"got {len(self.feature_names)} names"
            )

    @property
    def num_features(self) -> int:
        """The number of columns, D."""
        return int(self.rows.shape[1])

    def to(self, device: str | torch.device) -> "RowDataset":
        """The same rows as a dense matrix on ``device``, of the type that they have.

        Rows of bytes that fit into an accelerator's memory are best kept there: a batch is fetched and becomes
        float32 where it is needed, and nothing is copied in a step but the numbers of its rows.
        """
        dense = self.rows if isinstance(self.rows, Tensor) else torch.from_numpy(self.rows.toarray())
        return RowDataset(dense.to(device), self.feature_names, self.indices)

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.rows.device if isinstance(self.rows, Tensor) else torch.device("cpu")

    def __len__(self) -> int:
        return int(self.rows.shape[0])

    def blocks(self, size: int = 4096) -> Iterator[Tensor]:
        """All rows in their order, at most ``size`` at a time."""
        for start in range(0, len(self), size):
            yield self.__getitems__(list(range(start, min(start + size, len(self)))))

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Tensor:
        """The rows of one batch, (len(indices), D): what a torch ``DataLoader`` calls."""
        if isinstance(self.rows, Tensor):
            return take_rows(self.rows, row_numbers(indices)).float()
        return torch.from_numpy(self.rows[indices].toarray()).float()


def _checked_rows(rows: Any) -> Any:
    """The rows as a tensor or a CSR matrix, copied only where torch cannot share them."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind in REAL_KINDS:
        rows = share_memory(rows)
    is_dense = isinstance(rows, Tensor) and rows.layout == torch.strided and not rows.is_complex()
    if not is_dense and not _is_csr(rows):
        kind = f"{type(rows).__name__} of {getattr(rows, 'dtype', 'no dtype')}"
        raise TypeError(f"rows must be a dense tensor, an array or a CSR matrix of real numbers; got {kind}")
    if rows.ndim != 2:
        raise ValueError(f"rows must be 2-D, (rows, features); got shape {tuple(rows.shape)}: reshape them")
    return rows.detach() if isinstance(rows, Tensor) else rows


def _is_csr(rows: Any) -> bool:
    sparse = sys.modules.get("scipy.sparse")  # where nobody has imported it there are no such rows
    if sparse is None or not isinstance(rows, (sparse.csr_array, sparse.csr_matrix)):
        return False
    return rows.dtype.kind in REAL_KINDS

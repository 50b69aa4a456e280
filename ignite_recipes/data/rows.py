"""Rows of a matrix, dense or sparse, as data sets and loaders that fetch a whole batch at once."""

import logging
from collections.abc import Sequence, Sized
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, default_collate

from ignite_recipes.arguments import whole_number

if TYPE_CHECKING:
    import pandas as pd
    from scipy.sparse import csr_array, csr_matrix

    Rows: TypeAlias = Tensor | NDArray[Any] | csr_matrix[Any] | csr_array[Any]

__all__ = ["RowDataset", "create_dataloaders", "split_train_val"]

logger = logging.getLogger(__name__)

GROUP = "GROUP IDENTIFIER"
CHECKLIST = "SAMPLING EVENT IDENTIFIER"
REAL_KINDS = "buif"  # numpy's letters for booleans, unsigned and signed integers, and floats


class RowDataset(Dataset[Tensor]):
    """The rows of a matrix, each a float32 tensor (D,); a list of rows is fetched by one indexing operation.

    The matrix is kept as it is, and only what is fetched becomes dense and float32: a sparse matrix of a
    million checklists, or one of bytes, stays as small as it came.

    Args:
        rows: (N, D), a torch tensor, a numpy array or a scipy CSR matrix, of numbers or booleans.
        feature_names: the names of the D columns, if they have any.
        indices: (N,), the numbers of these rows in a larger matrix, by which labels of its rows find theirs; by
            default their own.

    Raises:
        TypeError: if ``rows`` is none of these kinds.
        ValueError: if it is not 2-D, or the names are not D, or the indices not N.

    >>> dataset = RowDataset(torch.eye(3))
    >>> len(dataset), dataset[1], dataset.__getitems__([2, 0]).shape
    (3, tensor([0., 1., 0.]), torch.Size([2, 3]))
    """

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

    def __getitem__(self, index: int) -> Tensor:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> Tensor:
        """The rows of one batch, (len(indices), D): what a torch ``DataLoader`` calls."""
        if isinstance(self.rows, Tensor):
            # A list would take torch longer to read than the rows take to fetch.
            numbers = torch.from_numpy(np.asarray(indices, dtype=np.int64))
            if self.device.type != "cpu":  # from pinned memory nobody waits for the copy
                pinned = torch.empty(len(numbers), dtype=torch.int64, pin_memory=_can_pin()).copy_(numbers)
                numbers = pinned.to(self.device, non_blocking=True)
            return self.rows[numbers].float()
        return torch.from_numpy(self.rows[indices].toarray()).float()


def split_train_val(
    matrix: "pd.DataFrame | Rows",
    species: Sequence[str] | None = None,
    val_size: float = 0.2,
    random_seed: int = 42,
) -> tuple[RowDataset, RowDataset]:
    """Split the rows at random in a part to train on and one to validate on.

    Rows of one group, e.g. the checklists that several observers made of the same walk, are nearly the same,
    so they stay on one side. Groups are known by a column GROUP IDENTIFIER of a frame, or by a level of its index
    of that name. A row without one goes with those of its SAMPLING EVENT IDENTIFIER, if the frame has this column
    or level, or is a group of its own. Whole groups are drawn for validation until it has the wanted number of
    rows; one group at least is left to train on. A frame of checklists that has lost its groups, as
    ``matrix.merge(facts)`` does, is warned of; ``matrix.join`` keeps them.

    Args:
        matrix: (N, D), the frame of :func:`create_species_matrix`, sparse or dense, with
            or without the column of identifiers, or another frame of pandas or polars; or a numpy array, a torch
            tensor or a scipy CSR matrix.
        species: the columns of the frame to use, by default those of numbers; of another matrix, their names.
        val_size: the part for validation, a fraction of all rows in (0, 1) or a number of rows.
        random_seed: the split is a function of it and the matrix; no global generator is read or seeded.

    Returns:
        The rows to train on and those to validate on, both in their order in ``matrix``; their ``indices`` are the
        numbers of their rows there.

    Raises:
        ValueError: if a side would be empty, or a column is missing.

    >>> train, val = split_train_val(torch.eye(10), val_size=0.3)
    >>> len(train), len(val)
    (7, 3)
    >>> torch.equal(torch.eye(10)[val.indices], val.rows)
    True
    """
    data: Any = matrix
    if is_frame(data):
        dataset, groups = frame_rows(data, species), _group_numbers(as_pandas(data))
    else:
        dataset = RowDataset(data, species)
        groups = np.arange(len(dataset))
    is_val = _draw_groups(groups, _wanted_rows(val_size, len(dataset)), random_seed)
    sides = (np.flatnonzero(~is_val), np.flatnonzero(is_val))
    train, val = (RowDataset(dataset.rows[rows], dataset.feature_names, rows) for rows in sides)
    return train, val


def create_dataloaders(
    train: Dataset[Any],
    val: Dataset[Any] | None,
    batch_size: int = 128,
    num_workers: int = 0,
    pin_memory: bool = False,
) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Loaders of (N, D) float32 batches: of all rows, shuffled for training, in order for validation.

    Args:
        train: the rows to train on; other data sets than :class:`RowDataset` are batched as torch does.
        val: the rows to validate on, or None for no such loader.
        batch_size: rows per batch; the last batch may be shorter.
        num_workers: processes that fetch batches; with 0 the caller's own does, mostly the quickest here.
        pin_memory: fetch into page-locked memory, for quicker copies to an accelerator; nothing without one.

    Raises:
        TypeError: for a frame, the name of a file, or no training set.
        ValueError: if a data set has no rows, or a number is too small; for workers, if the rows are on an
            accelerator, which other processes have no part in.

    >>> train_loader, val_loader = create_dataloaders(*split_train_val(torch.eye(10)), batch_size=4)
    >>> [len(batch) for batch in train_loader], [len(batch) for batch in val_loader]
    ([4, 4], [2])
    """
    _check_datasets(train, val)
    train_loader = create_dataloader(train, batch_size, num_workers, pin_memory, shuffle=True)
    if val is None:
        return train_loader, None
    return train_loader, create_dataloader(val, batch_size, num_workers, pin_memory, shuffle=False)


def create_dataloader(
    dataset: Dataset[Any], batch_size: int, num_workers: int, pin_memory: bool, *, shuffle: bool
) -> DataLoader[Any]:
    """One loader of a data set that fetches a whole batch by ``__getitems__``; nothing is dropped.

    Raises:
        ValueError: if a number is too small, or there are to be workers for rows on an accelerator.
    """
    on_device = isinstance(dataset, RowDataset) and dataset.device.type != "cpu"
    if on_device and num_workers:
        raise ValueError(
            f"num_workers must be 0 for rows on an accelerator, which are fetched there; got {num_workers}"
        )
    return DataLoader(
        dataset,
        batch_size=whole_number(batch_size, "batch_size"),
        shuffle=shuffle,
        num_workers=whole_number(num_workers, "num_workers", at_least=0),
        collate_fn=collate_rows,
        pin_memory=pin_memory and not on_device and _can_pin(),
    )


def collate_rows(batch: Any) -> Any:
    """A batch that was fetched at once, a tensor or a tuple of them, as it is; a list of samples as torch does."""
    return batch if isinstance(batch, (Tensor, tuple)) else default_collate(batch)


def _can_pin() -> bool:
    """Where this is false, torch would warn and pin nothing."""
    accelerator = torch.accelerator.current_accelerator(check_available=True)
    return accelerator is not None and accelerator.type != "mps"


def _checked_rows(rows: Any) -> Any:
    """The rows as a tensor or a CSR matrix, copied only where torch cannot share them."""
    if isinstance(rows, np.ndarray) and rows.dtype.kind in REAL_KINDS:
        rows = _to_tensor(rows)
    is_dense = isinstance(rows, Tensor) and rows.layout == torch.strided and not rows.is_complex()
    if not is_dense and not _is_csr(rows):
        kind = f"{type(rows).__name__} of {getattr(rows, 'dtype', 'no dtype')}"
        raise TypeError(f"rows must be a dense tensor, an array or a CSR matrix of real numbers; got {kind}")
    if rows.ndim != 2:
        raise ValueError(f"rows must be 2-D, (rows, features); got shape {tuple(rows.shape)}: reshape them")
    return rows.detach() if isinstance(rows, Tensor) else rows


def _to_tensor(array: NDArray[Any]) -> Tensor:
    # torch shares no memory that is read-only (as pandas' is), runs backwards or has another byte order.
    native = array.astype(array.dtype.newbyteorder("="), copy=not array.flags.writeable)
    return torch.from_numpy(np.ascontiguousarray(native))


def _is_csr(rows: Any) -> bool:
    from scipy.sparse import csr_array, csr_matrix

    return isinstance(rows, (csr_array, csr_matrix)) and rows.dtype.kind in REAL_KINDS


def is_frame(data: object) -> bool:
    """Whether it is a frame of pandas or polars: told by what it has, so that nothing else needs them."""
    return hasattr(data, "to_numpy") and hasattr(data, "columns")


def as_pandas(frame: Any) -> "pd.DataFrame":
    """A frame of pandas as it is, one of polars as one of pandas."""
    import pandas as pd

    if isinstance(frame, pd.DataFrame):
        return frame
    return pd.DataFrame({name: frame[name].to_numpy() for name in frame.columns}, copy=False)


def frame_rows(frame: Any, species: Sequence[str] | None = None) -> RowDataset:
    """The chosen columns of a frame, by default all of numbers, sparse if they are.

    Raises:
        ValueError: if a column is missing or not of numbers, or none is left.
    """
    import pandas as pd

    frame = as_pandas(frame)
    is_number = {name: pd.api.types.is_numeric_dtype(dtype) for name, dtype in frame.dtypes.items()}
    names: list[Any] = [name for name in frame if is_number[name]] if species is None else list(species)
    if species is None and not names:
        raise ValueError(f"the frame must have at least one column of numbers; got {list(is_number)}: convert them")
    if isinstance(species, str) or not names:
        raise ValueError(f"species must name at least one column of numbers; got {species!r}: pass a list of them")
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


def _group_numbers(frame: "pd.DataFrame") -> NDArray[np.int64]:
    import pandas as pd

    keys = [_labels(frame, name) for name in (GROUP, CHECKLIST)]
    if keys[0] is None and keys[1] is not None:
        logger.warning(
            "the matrix has %s but no %s: if checklists were shared, nearly the same ones may be on both sides; "
            "keep the index of create_species_matrix, by matrix.join(facts.set_index(%r), on=%r) where "
            "matrix.merge(facts) would drop it",
            CHECKLIST, GROUP, CHECKLIST, CHECKLIST,
        )  # fmt: skip
    numbers = np.full(len(frame), -1, np.int64)
    for labels in keys:
        if labels is not None:
            found, _ = pd.factorize(labels)
            new = (numbers < 0) & (found >= 0)
            numbers[new] = found[new] + numbers.max(initial=-1) + 1
    alone = np.flatnonzero(numbers < 0)
    numbers[alone] = numbers.max(initial=-1) + 1 + np.arange(len(alone))
    return numbers


def _labels(frame: "pd.DataFrame", name: str) -> "pd.Series[Any] | None":
    """What a column, or else a level of the index, says of each row, an empty text nothing; None without either."""
    if name not in frame and name not in frame.index.names:
        return None
    labels = frame[name] if name in frame else frame.index.get_level_values(name).to_series()
    return labels.astype(object).where(labels.ne(""), None)


def _wanted_rows(val_size: float, n: int) -> int:
    is_count = isinstance(val_size, (int, np.integer)) and not isinstance(val_size, bool)
    if not (1 <= val_size < n if is_count else 0 < val_size < 1):
        raise ValueError(
            f"val_size must be a fraction in (0, 1), or a number of rows from 1 to {n - 1} that leaves some "
            f"of the {n} rows to train on; got {val_size!r}"
        )
    return int(val_size) if is_count else max(1, round(val_size * n))


def _draw_groups(groups: NDArray[np.int64], wanted: int, random_seed: int) -> NDArray[np.bool_]:
    """Which rows are for validation: those of the groups drawn until there are ``wanted`` rows."""
    _, numbers, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        raise ValueError(
            f"matrix must hold at least two groups of rows, one for each side; got {len(groups)} rows "
            f"in {len(sizes)}: use more data, or drop {GROUP}"
        )
    drawn = np.random.default_rng(random_seed).permutation(len(sizes))
    enough = int(np.searchsorted(sizes[drawn].cumsum(), wanted)) + 1
    is_val = np.zeros(len(sizes), dtype=bool)
    is_val[drawn[: min(enough, len(sizes) - 1)]] = True
    return is_val[numbers]


def _check_datasets(train: Dataset[Any], val: Dataset[Any] | None) -> None:
    for name, dataset in (("train", train), ("val", val)):
        if is_frame(dataset) or isinstance(dataset, str) or train is None:
            got = type(dataset).__name__
            raise TypeError(f"{name} must be a data set; got {got}: split_train_val(matrix) makes two of a matrix")
        if isinstance(dataset, Sized) and not len(dataset):
            raise ValueError(f"{name} must hold at least one row; got none: {_NEXT_STEP[name]}")
    if isinstance(train, RowDataset) and isinstance(val, RowDataset) and train.num_features != val.num_features:
        raise ValueError(
            f"train and val must have the same features; got {train.num_features} and {val.num_features}: "
            "take both from one split_train_val"
        )


_NEXT_STEP = {"train": "check the filters that made it", "val": "pass None to train without validation"}

"""From a person's table to vectors and targets: rows chosen, split, preprocessed, and known again on a resume."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ignite_recipes.arguments import counted, listed, shown, whole_number
from ignite_recipes.data.folds import fold_rows
from ignite_recipes.data.preprocessing import TablePreprocessor
from ignite_recipes.data.table_dates import date_format, read_dates
from ignite_recipes.data.table_split import split_rows
from ignite_recipes.data.table_target import CLASSIFICATION, TableTarget
from ignite_recipes.data.tables import as_column, file_identity, is_path, read_table
from ignite_recipes.data.target_check import check_target
from ignite_recipes.loading.row_sets import BatchDataset, row_numbers, take_rows
from ignite_recipes.optional import polars as pl
from ignite_recipes.said_once import warn

__all__ = ["PreparedTable", "TableRows", "check_fold", "class_weighting", "prepare_table", "validation_rows"]

logger = logging.getLogger(__name__)


class TableRows(BatchDataset[tuple[Tensor, Tensor]]):
    """Vectors (N, D) and their targets; a list of rows is fetched by one indexing operation."""

    draws_nothing = True

    def __init__(self, vectors: Tensor, targets: Tensor) -> None:
        self.vectors, self.targets = vectors, targets

    def __len__(self) -> int:
        return len(self.vectors)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.vectors[index], self.targets[index]

    def __getitems__(self, indices: list[int]) -> tuple[Tensor, Tensor]:
        """The rows of one batch: what a torch ``DataLoader`` calls."""
        numbers = row_numbers(indices)
        return take_rows(self.vectors, numbers), take_rows(self.targets, numbers)


@dataclass
class PreparedTable:
    """What is trained on and what with: all that the recipe needs of a table."""

    train: TableRows
    val: TableRows | None
    val_rows: NDArray[np.int64]
    """The numbers of the rows to validate on, from 0, in the data that they are of."""
    val_truth: "pl.Series"
    """The target in these rows."""
    preprocessor: TablePreprocessor
    target: TableTarget
    source: dict[str, Any] | None
    """The name, size and hash by which a file is recognised on a resume."""

    def fingerprint(self) -> str:
        """A hash of all numbers that are trained and validated on."""
        digest = hashlib.blake2b(digest_size=16)
        for part in filter(None, (self.train, self.val)):
            for numbers in (part.vectors, part.targets):
                digest.update(numbers.contiguous().view(-1).view(torch.uint8).numpy())  # type: ignore[arg-type]
        return digest.hexdigest()


def prepare_table(
    data: Any,
    target: Any,
    *,
    val_data: Any,
    val_size: float | None,
    fold: tuple[int, int] | None,
    group: Any,
    time: Any,
    ignore: Sequence[str],
    task: str | None,
    max_categories: int,
    seed: int,
    saved: Mapping[str, Any] | None,
) -> PreparedTable:
    """Read, split and preprocess a table.

    Args:
        data, target, val_data, val_size, fold, group, time, ignore, task, max_categories: as of :func:`train_on_table`.
        seed: the seed of the split.
        saved: of a run that is resumed: its preprocessing is taken, not learnt again.

    Raises:
        ValueError, TypeError, FileNotFoundError: as :func:`train_on_table`.
    """
    source = _source(data, saved)
    texts = [] if saved is None else [*saved["preprocessor"]["use"]["categories"]]
    rows = _rows(read_table(data, texts), target, group, time)
    if saved is None:
        check_target(rows.target, rows.number, task)
    known = TableTarget(rows.target, task) if saved is None else TableTarget.from_state(saved["target"])
    left_out = _left_out(rows.inputs.columns, ignore, group, time)
    if val_data is None:
        train, val = _split(rows, known, val_size, fold, seed)
    else:
        train, val = rows, _rows(*_as_pair(val_data, texts, target, known.name), None, None)
    del rows  # a file's rows are not needed any more
    _check_classes(known, train.target)
    preprocessor = TablePreprocessor(max_categories)
    if saved is None:
        known.learn(train.target)
        preprocessor.fit(train.inputs, left_out=left_out)
    else:
        preprocessor.load_state_dict(saved["preprocessor"])
    if val_data is not None:
        preprocessor.check(val.inputs)
    first, second = (
        TableRows(preprocessor.vectors(side.inputs), known.encode(side.target)) if len(side.target) else None
        for side in (train, val)
    )
    assert first is not None
    numbers = val.number.to_numpy().astype(np.int64)
    return PreparedTable(first, second, numbers, known.true_values(val.target), preprocessor, known, source)


def validation_rows(
    settings: Mapping[str, Any], texts: Sequence[str], target: TableTarget, source: Mapping[str, Any] | None
) -> "pl.DataFrame":
    """The rows of a file that a command's run was validated on, with their target.

    Args:
        settings: the settings of the command.
        texts: the columns of categories.
        target: as it was trained.
        source: by what the file is known again; None if that was not kept.

    Returns:
        All columns of the file; the first, ``row``, is added: the number of the row in the file, from 0.

    Raises:
        FileNotFoundError, ValueError: if the file is gone, or is not the one that was trained on.
    """
    data = settings["file"]
    _source(data, {"source": source})
    table = read_table(data, texts)
    number = "row" if "row" not in table.columns else "row of the file"
    rows = _rows(table.with_row_index(number), settings["target"], settings["group"], settings["time"])
    fold = None if settings.get("fold") is None else (settings["fold"], settings["folds"])
    seed = settings["seed"] if settings.get("split_seed") is None else settings["split_seed"]
    val = _split(rows, target, settings["val_size"], fold, seed)[1]
    return val.inputs.with_columns(val.target.alias(target.name))


class _Rows(NamedTuple):
    """Rows of a table: what is predicted from, what is predicted, and what they are split by."""

    inputs: "pl.DataFrame"
    target: "pl.Series"
    group: "pl.Series | None"
    time: "pl.Series | None"
    number: "pl.Series"

    def filter(self, chosen: Any) -> "_Rows":
        """Those of them that a boolean column chooses."""
        return _Rows(*(None if part is None else part.filter(chosen) for part in self))  # type: ignore[arg-type]


def _source(data: Any, saved: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """By what a file is known again; the file of a run that is resumed must be that run's."""
    if not is_path(data) or not Path(data).expanduser().is_file():
        return None  # what is missing is said where it is read
    found = file_identity(data)
    if saved is not None and saved["source"] not in (None, found):
        raise ValueError(
            f"{data} must be the file that the run was trained on; it had {saved['source']['size']} bytes, this one "
            f"has {found['size']} and other contents: put the first back, or start a new run"
        )
    return found


def _left_out(names: Sequence[str], ignore: Sequence[str], group: Any, time: Any) -> dict[str, str]:
    """The columns that are not inputs, and why."""
    ignore = [column for word in ignore for column in ([word] if word in names else _words(word))]
    if missing := [name for name in ignore if name not in names]:
        near = get_close_matches(missing[0], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the table has {listed(names)}"
        raise ValueError(f"ignore must name columns of the table; got {missing[0]!r}: {hint}")
    found = dict.fromkeys(ignore, "is left out, as you asked")
    for role, column in (("group", group), ("time", time)):
        if isinstance(column, str):
            found[column] = f"is left out: it is the {role} that rows are split by"
    return found


def _words(text: str) -> list[str]:
    """Names with commas between them."""
    return [word.strip() for word in text.split(",") if word.strip()] or [text]


def _split(
    rows: _Rows, target: TableTarget, val_size: float | None, fold: tuple[int, int] | None, seed: int
) -> tuple[_Rows, _Rows]:
    count = len(rows.target)
    labels = target.encode(rows.target).numpy() if target.task == CLASSIFICATION else None
    by = {"labels": labels, "groups": _codes(rows.group), "times": _moments(rows.time)}
    if fold is not None:
        number, folds = check_fold(fold)
        sides = fold_rows(count, folds, seed, **by)[number - 1]
    elif val_size is None:
        sides = np.arange(count), np.arange(0)
    else:
        sides = split_rows(count, val_size, seed, **by)
    train, val = (_Rows(rows.inputs[side], rows.target[side], None, None, rows.number[side]) for side in sides)
    return train, val


def check_fold(fold: Any) -> tuple[int, int]:
    """The number of a fold, from 1, and how many there are.

    Raises:
        ValueError: if it is not such a pair.
    """
    if not isinstance(fold, (tuple, list)) or len(fold) != 2:
        raise ValueError(
            f"fold must be a pair, the number of the fold from 1 and how many there are; got {shown(fold)}"
        )
    number, folds = whole_number(fold[0], "the number of the fold"), whole_number(fold[1], "folds", at_least=2)
    if number > folds:
        raise ValueError(f"fold must be one of 1 to {folds}; got {number}")
    return number, folds


def class_weighting(weights: str | Mapping[Any, float] | None, target: TableTarget, labels: Tensor) -> Tensor | None:
    """The weight of each class, (classes,), of which the mean over the training rows is 1.

    Args:
        weights: ``"balanced"`` weighs every class alike; or a weight for each class, by its name.
        target: with the classes.
        labels: (N,), of the rows to train on.

    Raises:
        ValueError: for a target without classes, a class without weight, or a weight that is not positive.
    """
    if weights is None:
        return None
    if target.task != CLASSIFICATION:
        raise ValueError(
            f"class_weights must be None for a target of numbers, as {target.name!r} is; got {shown(weights)}"
        )
    counts = labels.bincount(minlength=len(target.classes)).double()
    if isinstance(weights, str):
        if weights != "balanced":
            raise ValueError(f"class_weights must be 'balanced', or a weight for each class; got {shown(weights)}")
        found = 1 / counts
    else:
        named = {str(name): weight for name, weight in weights.items()}
        names = [str(value) for value in target.classes]
        if set(named) != set(names) or not all(weight > 0 for weight in named.values()):
            raise ValueError(f"class_weights must give a positive weight to each of {names}; got {dict(weights)}")
        found = torch.tensor([float(named[name]) for name in names], dtype=torch.float64)
    return (found / ((found * counts).sum() / counts.sum())).float()


def _rows(frame: "pl.DataFrame", target: Any, group: Any, time: Any) -> _Rows:
    """The rows that have a target."""
    column = _column(frame, target, "target")
    groups, times = (
        None if values is None else _column(frame, values, role) for role, values in (("group", group), ("time", time))
    )
    inputs = frame.drop(target) if isinstance(target, str) else frame
    rows = _Rows(inputs, column, groups, times, as_column(np.arange(frame.height), "row"))
    if not rows.inputs.width:
        raise ValueError(f"the table must have a column to predict from; got none except the target {column.name!r}")
    if missing := column.null_count():
        have, are = ("has", "is") if missing == 1 else ("have", "are")
        warn(logger, f"{missing} of {counted(len(column), 'row')} {have} no target and {are} left out")
        rows = rows.filter(column.is_not_null())
    return rows


def _column(frame: "pl.DataFrame", values: Any, role: str) -> "pl.Series":
    """A column of the table by its name, or one that is given separately."""
    if isinstance(values, str):
        if values not in frame.columns:
            near = get_close_matches(values, frame.columns, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"the table has {listed(frame.columns)}"
            raise ValueError(f"{role} must be a column of the table; got {shown(values)}: {hint}")
        return frame[values]
    named = getattr(values, "name", None)
    column = as_column(values, named if named and isinstance(named, str) else role)
    if len(column) != frame.height:
        raise ValueError(f"{role} must have a value for each of the {frame.height} rows; got {len(column)}")
    return column


def _as_pair(val_data: Any, texts: Sequence[str], target: Any, name: str) -> "tuple[pl.DataFrame, Any]":
    """Rows to validate on, and their target: in them, or given separately."""
    if isinstance(val_data, tuple) and len(val_data) == 2:
        return read_table(val_data[0], texts), as_column(val_data[1], name)
    if not isinstance(target, str):
        raise ValueError("val_data must be (data, target) if the target is given separately; got data only")
    return read_table(val_data, texts), target


def _codes(column: "pl.Series | None") -> NDArray[Any] | None:
    """A number for each group; a row without one is a group of its own."""
    if column is None:
        return None
    codes = column.rank("dense").fill_null(0).to_numpy().astype(np.int64)
    alone = np.flatnonzero(codes == 0)
    codes[alone] = codes.max() + 1 + np.arange(len(alone))
    return codes


def _moments(column: "pl.Series | None") -> NDArray[Any] | None:
    if column is None:
        return None
    if column.dtype == pl.String:
        form = date_format(column)
        if form is None:
            raise ValueError(
                f"time must be a column of times or numbers; {column.name!r} holds text like "
                f"{listed(column.drop_nulls()[:1].to_list())}: write times as 2024-01-31 or 2024-01-31 12:30:00"
            )
        column = read_dates(column, form)
    if column.null_count():
        raise ValueError(f"time must be known in every row; {column.name!r} is missing in {column.null_count()} rows")
    return (column.to_physical() if column.dtype.is_temporal() else column).to_numpy()


def _check_classes(target: TableTarget, column: "pl.Series") -> None:
    """Every class must be there to be trained on."""
    if target.task != CLASSIFICATION:
        return
    counts = target.encode(column).bincount(minlength=len(target.classes)).tolist()
    if sum(count > 0 for count in counts) == 1:
        only = target.classes[counts.index(max(counts))]
        raise ValueError(
            f"the rows to train on must hold at least two classes; got {only!r} in all {len(column)} of them: split "
            "otherwise, or use more data"
        )
    if unseen := [value for value, count in zip(target.classes, counts, strict=True) if not count]:
        raise ValueError(
            f"the rows to train on must hold every class of {target.name!r}; got none of {listed(unseen)}, which only "
            "the rows to validate on hold: split otherwise, or leave those rows out"
        )

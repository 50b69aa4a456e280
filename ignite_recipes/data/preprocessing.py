"""The numbers that a network gets of a table's rows, by scikit-learn's transformers, fitted once and kept."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ignite_recipes.arguments import counted, listed, whole_number
from ignite_recipes.data.table_columns import ColumnUse, as_numbers, as_text, decide_columns
from ignite_recipes.data.table_dates import read_dates
from ignite_recipes.data.tables import read_table
from ignite_recipes.optional import needs
from ignite_recipes.optional import pandas as pd
from ignite_recipes.optional import polars as pl
from ignite_recipes.said_once import warn

__all__ = ["TablePreprocessor", "say_unknown"]

logger = logging.getLogger(__name__)

_BLOCK = 8  # columns whose numbers are computed at a time
_FARTHEST = 1e6  # deviations from the mean: a number that is farther off, or infinite in float32, is taken to be there
_CHUNK = 1 << 22  # numbers that are made at a time


class TablePreprocessor:
    """A table's rows as vectors (N, D) float32, by a ``ColumnTransformer`` of scikit-learn.

    Numbers get their median where they are missing, with a column that says so, and are scaled to mean 0 and
    deviation 1. Each category is a column of 0 and 1; categories beyond the ``max_categories`` most frequent, those of
    a single row and, later, unknown ones are all 0. Dates become days, scaled, and their place in the year, the week
    and the day as sine and cosine. Constant columns, row numbers and text that differs in nearly every row are left
    out. The decisions are in ``decisions``.

    Args:
        max_categories: the most categories of a column.

    Attributes:
        use: what each column is used as; None before it is fitted.
        feature_names: the names of the D numbers.
        decisions: the decisions on the columns, as sentences.

    Raises:
        RuntimeError: if it is used before it is fitted.

    >>> import pandas as pd
    >>> table = pd.DataFrame({"size": [1.0, 2.0, None, 3.0], "city": ["Rome", "Rome", "Oslo", "Oslo"]})
    >>> preprocessor = TablePreprocessor().fit(table)
    >>> preprocessor.feature_names
    ['size', 'size is missing', 'city=Oslo', 'city=Rome']
    >>> preprocessor.transform(pd.DataFrame({"city": ["Oslo"], "size": [2.0]}))
    tensor([[0., 0., 1., 0.]])
    """

    def __init__(self, max_categories: int = 50) -> None:
        self.max_categories = whole_number(max_categories, "max_categories")
        self.use: ColumnUse | None = None
        self._numbers: dict[str, Tensor] = {}
        self._transformer: Any = None

    @property
    def feature_names(self) -> list[str]:
        """The names of the D numbers, in their order."""
        use = self._fitted()
        categories = [f"{name}={value}" for name, values in use.categories.items() for value in values]
        return [*use.number_names, *(f"{name} is missing" for name in use.missing), *categories]

    @property
    def decisions(self) -> list[str]:
        """The decisions on the columns."""
        return self._fitted().sentences()

    def fit(self, table: Any, *, left_out: Mapping[str, str] | None = None) -> "TablePreprocessor":
        """Learn medians, means, scales and categories from the training rows.

        Args:
            table: as :func:`train_on_table` takes it, without the target.
            left_out: columns that must not be used, and why.

        Raises:
            ValueError: if no column can be used.
        """
        frame = read_table(table)
        use = decide_columns(frame, self.max_categories, left_out or {})
        learnt = [_learn(block) for block in _blocks(use.numbers_of(frame))]
        names = ("medians", "means", "scales")
        self._numbers = {
            name: torch.cat([torch.zeros(0, dtype=torch.float64), *(part[k] for part in learnt)])
            for k, name in enumerate(names)
        }
        self.use = use
        self._transformer = _assembled(use, self._numbers)
        return self

    def transform(self, table: Any) -> Tensor:
        """The vectors of a table's rows, (N, D) float32, in their order; columns are found by their names.

        A warning in the log names unknown and rare categories once.

        Raises:
            ValueError: naming columns that are missing, or hold text where there were numbers.
        """
        frame = read_table(table, [*self._fitted().categories])
        self.check(frame)
        return self.vectors(frame)

    def vectors(self, frame: "pl.DataFrame") -> Tensor:
        """As :meth:`transform`, of rows that were checked."""
        use = self._fitted()
        width = len(self.feature_names)
        vectors = torch.empty(frame.height, width)
        step = max(1, _CHUNK // width)
        for start in range(0, frame.height, step):
            chunk = frame.slice(start, step)
            made = self._transformer.transform(_as_pandas(use.numbers_of(chunk), use.texts_of(chunk)))
            vectors[start : start + step] = torch.from_numpy(np.clip(made, -_FARTHEST, _FARTHEST).astype(np.float32))
        return vectors

    def check(self, frame: "pl.DataFrame") -> None:
        """Refuse a table without the columns, and say which values training did not have.

        Raises:
            ValueError: as :meth:`transform`.
        """
        self.check_readable(frame)
        say_unknown([self], frame)

    def check_readable(self, frame: "pl.DataFrame") -> None:
        """Refuse a table without the columns.

        Raises:
            ValueError: as :meth:`transform`.
        """
        use = self._fitted()
        if missing := [name for name in use.columns if name not in frame.columns]:
            raise ValueError(
                f"the table must have the columns that the model was trained on; missing: {listed(missing)}; got "
                f"{listed(frame.columns)}: add them, with empty values where nothing is known"
            )
        for name in [*use.numbers, *use.dates]:
            _check_readable(frame[name], use)

    def state_dict(self) -> dict[str, Any]:
        """Plain values and tensors, for a checkpoint."""
        use = self._fitted()
        return {"max_categories": self.max_categories, "use": use.state_dict(), **self._numbers}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore the state of ``state_dict``.

        Raises:
            ValueError: if it has not a number for each column of numbers.
        """
        use = ColumnUse(**state["use"])
        numbers = {name: state[name] for name in ("medians", "means", "scales")}
        if any(value.shape != (len(use.number_names),) for value in numbers.values()):
            raise ValueError(f"a preprocessor must have a median, mean and scale of each of {listed(use.number_names)}")
        self._transformer = _assembled(use, numbers)
        self.max_categories, self.use, self._numbers = state["max_categories"], use, numbers

    def _fitted(self) -> ColumnUse:
        if self.use is None:
            raise RuntimeError("the preprocessor must be fitted before it is used: call fit(table), or load a state")
        return self.use


def say_unknown(preprocessors: "Sequence[TablePreprocessor]", frame: "pl.DataFrame") -> None:
    """Warn once of the categories in a checked table that one of them or more has no number for."""
    known: dict[str, set[str]] = {}
    for one in preprocessors:
        for name, values in one._fitted().categories.items():
            known[name] = known.get(name, {*values}) & {*values}
    if unknown := [line for name, values in known.items() if (line := _unknown(frame[name], values))]:
        warn(logger, "; ".join(unknown))


def _blocks(frame: "pl.DataFrame") -> "list[pl.DataFrame]":
    return [frame[:, start : start + _BLOCK] for start in range(0, frame.width, _BLOCK)]


def _scaling() -> Any:
    with needs("tables"):
        from sklearn.impute import SimpleImputer
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

    return make_pipeline(SimpleImputer(strategy="median", keep_empty_features=True), StandardScaler())


def _learn(block: "pl.DataFrame") -> tuple[Tensor, Tensor, Tensor]:
    """Medians, means and scales of some columns."""
    imputer, scaler = (step for _, step in _scaling().fit(block.to_numpy()).steps)
    return tuple(torch.from_numpy(np.array(x)) for x in (imputer.statistics_, scaler.mean_, scaler.scale_))  # type: ignore[return-value]


def _assembled(use: ColumnUse, numbers: Mapping[str, Tensor]) -> Any:
    """The fitted ColumnTransformer: fitted on two rows for its columns, then given the numbers that were learnt."""
    with needs("tables"):
        from sklearn.compose import ColumnTransformer
        from sklearn.impute import MissingIndicator
        from sklearn.preprocessing import OneHotEncoder

    categories = [np.array(values, dtype=object) for values in use.categories.values()]
    encoder = OneHotEncoder(categories=categories, handle_unknown="ignore", sparse_output=False, dtype=np.float32)
    parts = [
        ("numbers", _scaling(), use.number_names),
        ("missing", MissingIndicator(features="all"), use.missing),
        ("categories", encoder, [*use.categories]),
    ]
    transformer = ColumnTransformer([part for part in parts if part[2]], sparse_threshold=0.0)
    example = pl.DataFrame({name: [0.0, 1.0] for name in use.number_names})
    texts = pl.DataFrame({name: values[:1] * 2 for name, values in use.categories.items()})
    transformer.fit(_as_pandas(example, texts))
    if use.number_names:
        imputer, scaler = (step for _, step in transformer.named_transformers_["numbers"].steps)
        imputer.statistics_ = numbers["medians"].numpy()
        scaler.mean_, scaler.scale_ = numbers["means"].numpy(), numbers["scales"].numpy()
        scaler.var_ = scaler.scale_**2
    return transformer


def _as_pandas(numbers: "pl.DataFrame", texts: "pl.DataFrame") -> "pd.DataFrame":
    columns = {column.name: column.to_numpy() for column in numbers.get_columns()}
    words = {column.name: pd.Series(column.to_list(), dtype=object) for column in texts.get_columns()}
    return pd.DataFrame({**columns, **words}, copy=False)


def _check_readable(column: "pl.Series", use: ColumnUse) -> None:
    """Text in a column of numbers or dates is refused, unless training had some there too."""
    if column.dtype != pl.String or (column.name in use.notes and column.name in use.numbers):
        return
    is_date = column.name in use.dates
    read = read_dates(column, use.dates[column.name]["format"]) if is_date else as_numbers(column)
    bad = read.is_null() & column.is_not_null()
    if bad.any():
        row = int(bad.arg_true()[0])
        raise ValueError(
            f"column {column.name!r} must hold {'times' if is_date else 'numbers'}, as in training; got "
            f"{column[row]!r} in row {row} (from 0): correct it, or leave it empty"
        )


def _unknown(column: "pl.Series", known: Collection[str]) -> str | None:
    """What a column holds that is not among its categories, and how often."""
    text = as_text(column)
    new = text.filter(~text.is_in([*known]))
    if not len(new):
        return None
    values = new.unique().sort().to_list()
    rows = f"{counted(len(new), 'row')} {'has' if len(new) == 1 else 'have'}"
    what = "a category that was" if len(values) == 1 else "categories that were"
    taken = "it is treated as a rare one" if len(values) == 1 else "they are treated as one rare category"
    return f"{column.name!r}: {rows} {what} rare in training or not seen ({listed(values, 3)}), {taken}"

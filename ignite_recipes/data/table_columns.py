"""What each column of a table is used as: decided on the rows to train on, and said."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ignite_recipes.arguments import counted, listed
from ignite_recipes.data.table_dates import date_format, date_parts, read_dates
from ignite_recipes.optional import polars as pl

__all__ = ["MISSING", "ColumnUse", "as_numbers", "as_text", "decide_columns"]

MISSING = "(missing)"
"""The category of a missing value."""

LEAST_ROWS = 2  # of a category of its own; rarer ones are taken together
IDENTIFIER = 0.9  # of the values differ: text that says which row it is, and nothing else
READABLE = 0.9  # of the values are numbers: what is left is taken as missing
LARGEST = 1e100  # of a number; a larger one, whose square would be infinite, is missing
WHOLE = 2**53  # up to here floats hold every whole number
CONSTANT = 1e-12  # of its size is what rounding leaves of a constant


@dataclass
class ColumnUse:
    """The columns of a table by their use; all of it plain values.

    Attributes:
        numbers: columns of numbers and booleans.
        categories: of each column of text its categories; all others are one together.
        dates: of each column of times its format (None if it is not text) and the parts of it that are used.
        missing: columns of numbers with missing values.
        left_out: columns that are not used, and why.
        notes: what else was decided on a column.
        gaps: columns of categories and dates with missing values, and what these are taken as.
    """

    numbers: list[str] = field(default_factory=list)
    categories: dict[str, list[str]] = field(default_factory=dict)
    dates: dict[str, dict[str, Any]] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    gaps: dict[str, str] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that are used."""
        return [*self.numbers, *self.categories, *self.dates]

    @property
    def number_names(self) -> list[str]:
        """The names of all numbers: columns, then the parts of dates."""
        return [*self.numbers, *(part for use in self.dates.values() for part in use["parts"])]

    def numbers_of(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """The numbers of a table's rows, float64, null where missing."""
        parts = [
            date_parts(read_dates(table[name], use["format"])).select(use["parts"]) for name, use in self.dates.items()
        ]
        numbers = pl.DataFrame([as_numbers(table[name]) for name in self.numbers])
        return pl.concat([numbers, *parts], how="horizontal") if parts else numbers

    def texts_of(self, table: "pl.DataFrame") -> "pl.DataFrame":
        """The columns of categories, as text."""
        return pl.DataFrame([as_text(table[name]) for name in self.categories])

    def sentences(self) -> list[str]:
        """What was decided, a line for each kind of columns."""
        kinds = {
            ("number", "numbers"): self.numbers,
            ("category", "categories"): self.categories,
            ("date", "dates"): self.dates,
        }
        used = [f"{len(names)} {one if len(names) == 1 else many}" for (one, many), names in kinds.items() if names]
        taken: dict[str, list[str]] = (
            {"the median, with a column that marks them": self.missing} if self.missing else {}
        )
        for name, what in self.gaps.items():
            taken.setdefault(what, []).append(name)
        gaps = "; ".join(f"in {listed(names, 5)} are taken as {what}" for what, names in taken.items())
        lines = [f"columns: {', '.join(used)}", *([f"missing values {gaps}"] if gaps else [])]
        return lines + [f"column {name!r} {what}" for name, what in {**self.notes, **self.left_out}.items()]

    def state_dict(self) -> dict[str, Any]:
        """All of it, as plain values."""
        return asdict(self)


def decide_columns(table: "pl.DataFrame", max_categories: int, left_out: Mapping[str, str]) -> ColumnUse:
    """Decide what each column of the rows to train on is used as.

    Args:
        table: the rows to train on, without the target.
        max_categories: the most categories of a column.
        left_out: columns that are not to be used, and why.

    Raises:
        ValueError: if no column is left, or one is named like a part of a date.
    """
    use = ColumnUse(left_out=dict(left_out))
    for column in table.get_columns():
        if column.name not in left_out:
            _decide(column, use, max_categories)
    if taken := sorted({part for date in use.dates.values() for part in date["parts"]} & set(table.columns)):
        raise ValueError(f"column {taken[0]!r} must have another name: a part of a date is called so; rename it")
    if not use.columns:
        reasons = "; ".join(f"{name!r} {why}" for name, why in use.left_out.items())
        raise ValueError(f"the table must have a column to predict from; got none except the target: {reasons}")
    return use


def as_numbers(column: "pl.Series") -> "pl.Series":
    """float64; text that is not a number is missing."""
    if column.dtype == pl.String:
        column = column.str.strip_chars()
    numbers = column.cast(pl.Float64, strict=False)
    return pl.select(pl.when(numbers.abs() <= LARGEST).then(numbers).alias(column.name)).to_series()


def as_text(column: "pl.Series") -> "pl.Series":
    """Text, with a category for what is missing; a whole number without its decimal point."""
    if column.dtype.is_float() and (column.drop_nulls() % 1 == 0).all() and (column.drop_nulls().abs() < WHOLE).all():
        column = column.cast(pl.Int64)
    return column.cast(pl.String).str.strip_chars().fill_null(MISSING)


def _decide(column: "pl.Series", use: ColumnUse, max_categories: int) -> None:
    name, known = column.name, column.drop_nulls()
    if known.n_unique() <= 1 and (known.n_unique() == 0 or not column.null_count()):
        use.left_out[name] = (
            "is left out: it has no value to train on" if not len(known) else "is left out: it is constant"
        )
    elif column.dtype.is_temporal():
        _use_as_date(column, None, use)
    elif column.dtype != pl.String:
        _use_as_numbers(column, use)
    elif form := date_format(column):
        use.notes[name] = f"is read as times, {form}"
        _use_as_date(column, form, use)
    else:
        _use_as_text(column, use, max_categories)


def _use_as_numbers(column: "pl.Series", use: ColumnUse) -> None:
    numbers = as_numbers(column)
    if _counts_rows(column):
        use.left_out[column.name] = "is left out: it is only a row number"
    elif not _varies(numbers) and not numbers.null_count():
        use.left_out[column.name] = "is left out: it is constant"
    else:
        use.numbers.append(column.name)
        if numbers.null_count():
            use.missing.append(column.name)


def _use_as_date(column: "pl.Series", form: str | None, use: ColumnUse) -> None:
    parts = [part.name for part in date_parts(read_dates(column, form)).get_columns() if _varies(part)]
    if parts:
        use.dates[column.name] = {"format": form, "parts": parts}
        if column.null_count():
            use.gaps[column.name] = "the median date"
    else:
        use.left_out[column.name] = "is left out: it is one time wherever it is known"


def _use_as_text(column: "pl.Series", use: ColumnUse, max_categories: int) -> None:
    name, text = column.name, as_text(column)
    found = text.value_counts(name="rows").rows()
    counts = sorted(found, key=lambda pair: (-pair[1], pair[0]))  # of equally many rows in the order of the alphabet
    if len(counts) > max_categories:
        numbers = as_numbers(column)
        unread = numbers.null_count() - column.null_count()
        if len(column) - numbers.null_count() >= READABLE * (len(column) - column.null_count()):
            values = "1 value that is none is" if unread == 1 else f"{unread} values that are none are"
            use.notes[name] = f"is read as numbers; {values} taken as missing"
            use.numbers.append(name)
            use.missing.append(name)
            return
        if len(counts) > IDENTIFIER * len(column):
            use.left_out[name] = "is left out: it is text with a value of its own in nearly every row"
            return
    kept = [category for category, rows in counts[:max_categories] if rows >= LEAST_ROWS]
    if not kept:
        use.left_out[name] = "is left out: no category has two rows"
        return
    if len(kept) < len(counts):
        rare = sum(rows for category, rows in counts if category not in set(kept))
        most = f"the {len(kept)} most frequent are kept, the others ({counted(rare, 'row')}) are one"
        use.notes[name] = f"has {len(counts)} categories: {most}"
    if column.null_count():
        use.gaps[name] = "a category of their own" if MISSING in kept else "rare categories"
    use.categories[name] = sorted(kept)


def _varies(numbers: "pl.Series") -> bool:
    spread, size = numbers.std(), numbers.abs().max()
    return isinstance(spread, float) and isinstance(size, (int, float)) and spread > CONSTANT * size


def _counts_rows(column: "pl.Series") -> bool:
    """Whether whole numbers go up from row to row and leave out few: a row's number, which says nothing."""
    if not column.dtype.is_integer() or column.null_count() or len(column) < 10:
        return False
    first, last = int(column[0]), int(column[-1])
    return last - first < 2 * len(column) and bool((column.cast(int).diff().drop_nulls() > 0).all())

"""Numbers that read as text, and numbers that are no classes, are refused by their values and rows."""

import polars as pl
import pytest

from ignite_recipes.data.target_check import check_target

PRICES = [f"{1000 + 7 * k}.5" for k in range(300)]


def with_values(values):
    """Prices of which some are something else."""
    return [values.get(k, price) for k, price in enumerate(PRICES)]


def check(values, task=None):
    column = pl.Series("price", values)
    check_target(column, pl.Series("row", range(len(values))), task)


def test_text_among_numbers_is_named_with_its_rows():
    values = with_values({10: "ask", 20: "on request", 30: "1.250.000"})
    said = (
        "column 'price' has 297 numbers and 3 values that are not numbers: 'ask' (row 10), 'on request' (row 20), "
        "'1.250.000' (row 30); rows are counted from 0: correct or empty them"
    )
    with pytest.raises(ValueError, match="price") as told:
        check(values)
    assert str(told.value) == f"{said}, or pass task='classification'"
    with pytest.raises(ValueError, match="price") as told:
        check(values, "regression")
    assert str(told.value) == said
    check(values, "classification")


REFUSED = {
    "one value": (with_values({4: "ask"}), None, r"1 value that is no number: 'ask' \(row 4\);"),
    "more than three": (with_values(dict.fromkeys(range(9), "ask")), None, r"9 values .*\(row 2\) and 6 more; rows"),
    "a currency": ([f"€{k}" for k in range(100)], None, "written with '€', as '€0'.*write plain numbers"),
    "thousands": ([f"{k},500" for k in range(1, 100)], None, "written with ',', as '1,500'"),
    "both": ([f"€{k},500" for k in range(1, 100)], "regression", "'€' and ',', as '€1,500'.*or 3.14$"),
    "behind": ([f"{k} EUR" for k in range(100)], None, "as '0 EUR'"),
    "dots": ([f"{k}.500.000" for k in range(1, 100)], None, r"written with '\.'"),
    "half of them": ([f"{k}" if k % 2 else f"${k}" for k in range(100)], None, r"written with '\$'"),
    "a measure as classes": (
        [k / 7 for k in range(100)],
        "classification",
        "100 different numbers, 100 of them",
    ),
    "counts as classes": ([*range(100), 1, 1, 2], "classification", "100 different numbers, 98 .* task='regression'"),
    "numbers as text": (PRICES, None, "300 different numbers.*pass task='regression'"),
}


@pytest.mark.parametrize(("values", "task", "said"), REFUSED.values(), ids=REFUSED)
def test_what_was_meant_otherwise_is_refused_in_one_line(values, task, said):
    with pytest.raises(ValueError, match=said) as told:
        check(values, task)
    assert "\n" not in str(told.value)


ALLOWED = {
    "words": (["red", "green"] * 100, None),
    "a word a row": ([f"bird {k}" for k in range(100)], None),
    "names with a number": ([f"A{k}" for k in range(100)], None),
    "dates": ([f"2024-01-{k:02}" for k in range(1, 29)], None),
    "few classes that are numbers": (["1", "2", "3", "other"] * 50, None),
    "fewer than nine in ten": ([str(k) if k % 8 else "none" for k in range(100)], None),
    "codes as text": ([str(k) for k in range(30)] * 3, None),
    "numbers": ([k / 7 for k in range(100)], None),
    "numbers as text to regress": (PRICES, "regression"),
    "many classes": ([*range(50)] * 2, "classification"),
    "booleans": ([True, False] * 30, "classification"),
}


@pytest.mark.parametrize(("values", "task"), ALLOWED.values(), ids=ALLOWED)
def test_classes_and_numbers_pass(values, task):
    check(values, task)

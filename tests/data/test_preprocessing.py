"""What is learnt is of the rows to train on, is kept as plain values, and is used on new rows column by column."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.tables import TABLE, mixed_table

from ignite_recipes import CheckpointError, TablePreprocessor, read_checkpoint, write_checkpoint
from ignite_recipes.data import preprocessing

INPUTS = TABLE.drop("kind")


def fitted(table=INPUTS, **settings):
    return TablePreprocessor(**settings).fit(table)


def test_rows_in_another_order_give_the_same_vectors_in_that_order():
    order = torch.randperm(len(INPUTS))
    preprocessor = fitted()
    assert torch.equal(preprocessor.transform(INPUTS[order.tolist()]), preprocessor.transform(INPUTS)[order])


def test_columns_in_another_order_and_more_of_them_change_nothing():
    preprocessor = fitted()
    other = INPUTS.select(INPUTS.columns[::-1]).with_columns(more=pl.lit("x"))
    assert torch.equal(preprocessor.transform(other), preprocessor.transform(INPUTS))


@pytest.mark.slow
@pytest.mark.parametrize("at_a_time", [20, 1000])
def test_how_many_rows_are_made_at_a_time_changes_nothing(monkeypatch, at_a_time):
    whole = fitted().transform(INPUTS)
    monkeypatch.setattr(preprocessing, "_CHUNK", at_a_time)
    monkeypatch.setattr(preprocessing, "_BLOCK", 1)
    assert torch.equal(fitted().transform(INPUTS), whole)


def test_numbers_are_scaled_with_gaps_at_the_median():
    vectors = fitted().transform(INPUTS)
    names = fitted().feature_names
    size = INPUTS["size"].fill_null(INPUTS["size"].median()).to_numpy()
    wanted = (size - size.mean()) / size.std()
    np.testing.assert_allclose(vectors[:, names.index("size")], wanted, rtol=1e-5, atol=1e-6)
    assert vectors[:, names.index("size is missing")].bool().tolist() == INPUTS["size"].is_null().to_list()


def test_it_is_what_scikit_learn_makes_of_the_same_columns():
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    numbers = mixed_table(500).select("size", "count")
    expected = make_pipeline(SimpleImputer(strategy="median"), StandardScaler()).fit_transform(numbers.to_numpy())
    vectors = fitted(numbers).transform(numbers)
    np.testing.assert_array_equal(vectors[:, :2].numpy(), expected.astype(np.float32))


def test_a_category_is_a_column_of_its_own():
    vectors, names = fitted().transform(INPUTS), fitted().feature_names
    for city in ("Oslo", "Rome", "Kyiv"):
        assert vectors[:, names.index(f"city={city}")].bool().tolist() == (INPUTS["city"] == city).to_list()


def test_a_state_through_a_checkpoint_gives_equal_vectors(tmp_path):
    preprocessor, other = fitted(), TablePreprocessor()
    path = write_checkpoint({"preprocessor": preprocessor.state_dict(), "model_state_dict": {}}, tmp_path / "state.pt")
    try:
        state = torch.load(path, weights_only=True)
    except CheckpointError:
        state = read_checkpoint(path)
    other.load_state_dict(state["preprocessor"])
    assert other.feature_names == preprocessor.feature_names
    assert other.decisions == preprocessor.decisions
    new = mixed_table(50, seed=9).drop("kind")
    assert torch.equal(other.transform(new), preprocessor.transform(new))


def test_frames_of_pandas_and_polars_and_a_file_give_equal_vectors(tmp_path):
    INPUTS.write_csv(tmp_path / "table.csv")
    frame = pd.DataFrame(INPUTS.to_dict(as_series=False))
    assert torch.equal(fitted(frame).transform(frame), fitted().transform(INPUTS))
    assert torch.equal(fitted(tmp_path / "table.csv").transform(frame), fitted().transform(INPUTS))


def test_float64_and_arrays_become_float32_vectors():
    x = np.random.default_rng(0).normal(1e6, 3, (50, 3))
    vectors = fitted(x).transform(torch.from_numpy(x))
    assert vectors.dtype == torch.float32
    assert vectors.std(0, correction=0).tolist() == pytest.approx([1.0] * 3, rel=1e-4)


DECISIONS = {
    "constant": ([5] * 20, "is left out: it is constant", []),
    "nearly constant by rounding": ([0.1 + 0.2, 0.3] * 10, "is left out: it is constant", []),
    "nothing": ([None] * 20, "is left out: it has no value to train on", []),
    "row number": (list(range(100, 120)), "is left out: it is only a row number", []),
    "row number with gaps": ([k + k // 3 for k in range(20)], "is left out: it is only a row number", []),
    "unique text": ([f"name {k}" for k in range(20)], "a value of its own in nearly every row", []),
    "rare only": (["a", "b"], "is left out: no category has two rows", []),
    "many categories": (list("aaaabbbccdefgaaaabbb"), "has 7 categories: the 2 most frequent are kept", ["x=a", "x=b"]),
    "dates": ([f"2024-01-{k + 1:02}" for k in range(20)], "is read as times, %Y-%m-%d", None),
    "dates, day first": ([f"{k + 1:02}/01/2024" for k in range(20)], "is read as times, %d/%m/%Y", None),
    "times": ([f"2024-01-01 {k + 1:02}:30:00" for k in range(20)], "is read as times, %Y-%m-%d %H:%M:%S", None),
    "numbers with a word": (
        [f"{k * k}.5" for k in range(19)] + ["none"],
        "is read as numbers; 1 value that is none is taken",
        None,
    ),
}


@pytest.mark.parametrize(("values", "said", "names"), DECISIONS.values(), ids=DECISIONS)
def test_what_is_decided_on_a_column_is_said(values, said, names):
    table = pl.DataFrame({"x": values, "other": ([0.5, 1.5, 7.0, 3.0] * 5)[: len(values)]})
    preprocessor = fitted(table, max_categories=2)
    (line,) = [line for line in preprocessor.decisions if line.startswith("column 'x'")]
    assert said in line
    found = [name for name in preprocessor.feature_names if not name.startswith("other")]
    assert found == names if names is not None else len(found) >= 2
    assert preprocessor.transform(table).isfinite().all()


def test_a_date_is_days_and_its_place_in_year_and_week():
    days = pl.DataFrame({"day": [f"2024-{month:02}-01" for month in range(1, 13)]})
    preprocessor = fitted(days)
    assert preprocessor.feature_names == [
        "day.days", "day.sin_of_year", "day.cos_of_year", "day.sin_of_week", "day.cos_of_week"
    ]  # fmt: skip
    as_dates = days.with_columns(pl.col("day").str.to_date())
    assert torch.equal(preprocessor.transform(as_dates), preprocessor.transform(days))


def test_unknown_categories_are_none_of_the_known_and_said_once_with_their_number(caplog):
    preprocessor = fitted()
    new = INPUTS.with_columns(city=pl.Series(["Lima", "Lima", "Bonn"] + ["Oslo"] * 197))
    vectors, names = preprocessor.transform(new), preprocessor.feature_names
    cities = [k for k, name in enumerate(names) if name.startswith("city=")]
    assert vectors[:3][:, cities].eq(0).all()
    assert vectors[3:][:, cities].sum(1).eq(1).all()
    (record,) = caplog.records
    assert (
        "'city': 3 rows have categories that were rare in training or not seen ('Bonn', 'Lima'), they are"
        in record.getMessage()
    )


def test_a_missing_column_is_named():
    with pytest.raises(ValueError, match="missing: 'city', 'day'; got 'size', 'count', 'sunny': add them"):
        fitted().transform(INPUTS.drop("city", "day"))


def test_text_where_there_were_numbers_or_times_is_refused():
    with pytest.raises(ValueError, match=r"column 'size' must hold numbers, as in training; got 'big' in row 1"):
        fitted().transform(INPUTS.with_columns(size=pl.Series(["1", "big"] + [None] * 198)))
    with pytest.raises(ValueError, match=r"column 'day' must hold times, as in training; got 'soon' in row 0"):
        fitted().transform(INPUTS.with_columns(day=pl.lit("soon")))


def test_numbers_as_text_and_gaps_without_one_in_training_are_taken(caplog):
    preprocessor = fitted()
    new = INPUTS.with_columns(pl.col("count").cast(pl.String), sunny=pl.lit(None))
    assert preprocessor.transform(new).isfinite().all()
    assert not caplog.records


def test_without_a_usable_column_it_cannot_be_fitted():
    with pytest.raises(ValueError, match="must have a column to predict from; got none except the target: 'a' is left"):
        fitted(pl.DataFrame({"a": [1, 1], "b": [2, 2]}))


VALUES = [
    [1, 2, 3], [1.5, None, float("nan")], ["a", "b", None], [True, False, None], ["2024-01-01", "2024-02-03", None],
    ["1", "2", "x"], [10**18, 3], [-1e308, 1e308], [float("inf"), 1.0], [None], ["", " "], ["é", "ü"], [1e-300, 2e-300],
    ["01/02/2024", "13/02/2024"], [0.1, 0.2, 0.3], ["2024-01-01 10:00:00", "2024-01-02T10:00:00"],
]  # fmt: skip


@given(st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None)
def test_of_any_table_finite_numbers_are_made_or_it_is_refused_in_one_line(draw):
    def table(rows):
        return {name: [draw.choice(values) for _ in range(rows)] for name, values in columns.items()}

    columns = {name: draw.choice(VALUES) for name in "abcd"[: draw.randint(1, 4)]}
    other = {name: draw.choice(VALUES) for name in columns}
    try:
        preprocessor = fitted(table(draw.choice([2, 5, 40])), max_categories=draw.choice([1, 2, 50]))
        for _ in range(2):
            assert preprocessor.transform(table(draw.choice([1, 5, 40]))).isfinite().all()
            columns = other
    except ValueError as error:
        refused = str(error)
    else:
        refused = ""
    assert "\n" not in refused


def test_a_column_that_is_named_like_a_part_of_a_date_is_refused():
    with pytest.raises(ValueError, match=r"column 'day\.days' must have another name"):
        fitted(INPUTS.with_columns(pl.col("size").alias("day.days")))


def test_it_must_be_fitted_first():
    with pytest.raises(RuntimeError, match="must be fitted before it is used"):
        TablePreprocessor().transform(INPUTS)
    with pytest.raises(ValueError, match="max_categories must be a whole number"):
        TablePreprocessor(max_categories=0)


def test_gaps_of_every_kind_of_column_are_named_with_what_is_done():
    row = pl.int_range(200)
    gaps = INPUTS.with_columns(
        city=pl.when(row % 9 > 0).then(pl.col("city")),
        day=pl.when(row % 8 > 0).then(pl.col("day")),
        rare=pl.when(row > 0).then(pl.when(row % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))),
        when=pl.when(row % 5 > 0).then(pl.lit("2024-01-01").str.to_date() + pl.duration(days=row)),
    )
    preprocessor = fitted(gaps)
    said = (
        "missing values in 'size' are taken as the median, with a column that marks them; in 'city' are taken as a "
        "category of their own; in 'day', 'when' are taken as the median date; in 'rare' are taken as rare categories"
    )
    assert said in preprocessor.decisions
    assert "city=(missing)" in preprocessor.feature_names
    again = TablePreprocessor()
    again.load_state_dict(preprocessor.state_dict())
    assert again.decisions == preprocessor.decisions
    earlier = {name: value for name, value in preprocessor.use.state_dict().items() if name != "gaps"}
    again.load_state_dict({**preprocessor.state_dict(), "use": earlier})  # of a file of an earlier version
    assert torch.equal(again.transform(gaps), preprocessor.transform(gaps))
    assert not any("missing values" in line for line in fitted(INPUTS.drop("size")).decisions)


def test_one_unknown_category_is_said_in_the_singular(caplog):
    fitted().transform(INPUTS.with_columns(city=pl.Series(["Lima"] + ["Oslo"] * 199)))
    (line,) = caplog.messages
    said = "'city': 1 row has a category that was rare in training or not seen ('Lima'), it is treated as a rare one"
    assert line == said

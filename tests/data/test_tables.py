"""Whatever holds a table, the same table is read; what cannot be one is refused."""

import datetime

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from polars.testing import assert_frame_equal

from ignite_recipes.data.tables import as_column, file_identity, read_table

WANTED = pl.DataFrame({"n": [1.5, None, 3.0], "k": [1, 2, 3], "t": ["x", None, "z"], "b": [True, False, True]})
DATES = [datetime.datetime(2024, 1, day) for day in (1, 2, 3)]

HOLDERS = {
    "polars": lambda: WANTED,
    "pandas": lambda: pd.DataFrame(
        {"n": [1.5, np.nan, 3.0], "k": [1, 2, 3], "t": ["x", None, "z"], "b": [True, False, True]}
    ),
    "pandas objects": lambda: pd.DataFrame(
        {"n": [1.5, None, 3.0], "k": [1, 2, 3], "t": ["x", np.nan, "z"], "b": [True, False, True]}, dtype=object
    ),
    "pandas' own types": lambda: pd.DataFrame(
        {
            "n": pd.array([1.5, None, 3.0], dtype="Float64"),
            "k": pd.array([1, 2, 3], dtype="Int64"),
            "t": pd.Categorical(["x", None, "z"]),
            "b": pd.array([True, False, True], dtype="boolean"),
        }
    ),
    "lists": lambda: {"n": [1.5, None, 3.0], "k": [1, 2, 3], "t": ["x", None, "z"], "b": [True, False, True]},
    "categories": lambda: WANTED.with_columns(pl.col("t").cast(pl.Categorical)),
    "infinity": lambda: WANTED.with_columns(n=pl.Series([1.5, np.inf, 3.0])),
}


@pytest.mark.parametrize("make", HOLDERS.values(), ids=HOLDERS)
def test_frames_and_columns_of_any_kind(make):
    assert_frame_equal(read_table(make()), WANTED)


@pytest.mark.parametrize("ending", ["csv", "parquet", "feather", "PARQUET", "arrow"])
def test_files_of_any_kind(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    write = {"csv": "write_csv", "parquet": "write_parquet"}.get(ending.lower(), "write_ipc")
    getattr(WANTED, write)(path)
    assert_frame_equal(read_table(path), WANTED)
    assert_frame_equal(read_table(str(path)), WANTED)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.int32, torch.bool, torch.float16])
def test_arrays_and_tensors_have_numbered_columns(dtype):
    tensor = torch.eye(3).to(dtype)
    for data in (tensor, tensor.numpy(), tensor.clone().float().requires_grad_()):
        frame = read_table(data)
        assert frame.columns == ["x0", "x1", "x2"]
        np.testing.assert_array_equal(frame.to_numpy(), np.eye(3))


@pytest.mark.parametrize("times", [DATES, pd.Series(DATES), pd.Series(DATES).dt.tz_localize("UTC"), pl.Series(DATES)])
def test_times_are_times(times):
    column = as_column(times, "when") if not isinstance(times, list) else read_table({"when": times})["when"]
    assert column.cast(pl.Datetime("us")).to_list() == DATES


@pytest.mark.parametrize(
    "values",
    [[1, 2], np.array([[1], [2]]), torch.tensor([[1], [2]]), pd.DataFrame({"y": [1, 2]}), pl.DataFrame({"y": [1, 2]})],
    ids=["list", "array", "tensor", "pandas", "polars"],
)
def test_a_column_may_be_a_vector_or_a_matrix_of_one_column(values):
    assert as_column(values, "y").to_list() == [1, 2]
    assert as_column(values, "y").name == "y"


def test_objects_of_several_types_become_text():
    assert as_column(np.array([1, "a", None], dtype=object), "y").to_list() == ["1", "a", None]


REFUSED = {
    "missing file": ("no.csv", FileNotFoundError, "there is none at no.csv"),
    "kind of file": (__file__, ValueError, "must be a CSV file .* got the ending '.py'"),
    "three dimensions": (np.zeros((2, 2, 2)), ValueError, r"must be \(N, D\).* got shape \(2, 2, 2\)"),
    "one dimension": (torch.zeros(3), ValueError, r"must be \(N, D\)"),
    "another object": (3, TypeError, "data must be a file .* got int"),
    "no rows": (pl.DataFrame({"a": []}), ValueError, "must hold rows and columns; got 0 rows"),
    "lists inside": (pl.DataFrame({"a": [[1], [2]]}), ValueError, "column 'a' must hold numbers, text"),
    "a name twice": (pd.DataFrame([[1, 2]], columns=["a", "a"]), ValueError, "each column once; got 'a' twice"),
}


@pytest.mark.parametrize(("data", "error", "said"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused(data, error, said):
    with pytest.raises(error, match=said):
        read_table(data)


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_a_file_that_is_not_what_its_ending_says(tmp_path, ending):
    path = tmp_path / f"table.{ending}"
    path.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match=f"must be a {ending} file, as its ending says"):
        read_table(path)


def test_two_columns_are_no_target():
    with pytest.raises(ValueError, match=r"y must be one value a row.* got shape \(2, 2\)"):
        as_column(np.zeros((2, 2)), "y")


def test_a_file_is_known_again_by_its_contents(tmp_path):
    path, other = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"12")
    other.write_bytes(b"12")
    assert file_identity(path) == file_identity(other)
    other.write_bytes(b"13")
    assert file_identity(path) != file_identity(other)
    assert file_identity(path)["size"] == 2

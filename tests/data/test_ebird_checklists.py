"""Each checklist of a matrix is given with its place, time and effort, whatever release the file is of."""

import numpy as np
import pandas as pd
import pytest

from ignite_recipes.data import create_species_matrix, load_ebird_data, write_example_ebd
from ignite_recipes.data.ebird_checklists import read_checklists

CHECKLIST = "SAMPLING EVENT IDENTIFIER"


def lines_of(path):
    header, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [dict(zip(header, line, strict=False)) for line in lines]


def number(text):
    return float(text) if text else np.nan


def test_rows_are_those_of_the_matrix_in_its_order_with_what_the_lines_say(tmp_path):
    path = write_example_ebd(tmp_path / "e.txt", 60)
    matrix, _ = create_species_matrix(load_ebird_data(path))
    found = read_checklists(path, matrix[CHECKLIST])
    assert found.index.tolist() == matrix[CHECKLIST].tolist()
    assert found.index.name == CHECKLIST
    by_identifier = {line[CHECKLIST]: line for line in lines_of(path)}
    for identifier, row in found.iterrows():
        line = by_identifier[identifier]
        hours, minutes, _ = line["TIME OBSERVATIONS STARTED"].split(":")
        distance = 0.0 if line["OBSERVATION TYPE"] == "Stationary" else number(line["EFFORT DISTANCE KM"])
        assert row["date"] == pd.Timestamp(line["OBSERVATION DATE"])
        assert row["protocol"] == line["OBSERVATION TYPE"]
        numbers = row[["latitude", "longitude", "start_minutes", "duration_minutes", "distance_km", "observers"]]
        np.testing.assert_array_equal(
            numbers.to_numpy(dtype=float),
            [
                number(line["LATITUDE"]),
                number(line["LONGITUDE"]),
                60 * int(hours) + int(minutes),
                number(line["DURATION MINUTES"]),
                distance,
                number(line["NUMBER OBSERVERS"]),
            ],
        )


def test_without_identifiers_it_is_every_checklist_once_sorted_from_a_file_or_a_frame(tmp_path):
    path = write_example_ebd(tmp_path / "e.txt", 30, release="older")
    found = read_checklists(path)
    assert found.index.tolist() == sorted({line[CHECKLIST] for line in lines_of(path)})
    frame = pd.DataFrame(lines_of(path)).replace("", None)
    pd.testing.assert_frame_equal(read_checklists(frame), found)


def test_what_the_file_does_not_say_is_missing():
    found = read_checklists(pd.DataFrame({CHECKLIST: ["S1"]}))
    assert found.isna().all(axis=None)
    assert found["date"].dtype.kind == "M"
    assert found.columns.tolist() == [
        "latitude", "longitude", "date", "start_minutes", "duration_minutes", "distance_km", "observers", "protocol",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("07:15:00", 435), ("7:15", 435), ("07:15 PM", 1155), ("12:05 AM", 5), ("12:05 pm", 725), ("00:00:00", 0),
        ("24:10:00", np.nan), ("10:61", np.nan), ("noon", np.nan), ("", np.nan), (None, np.nan),
    ],
)  # fmt: skip
def test_times_of_day_in_every_notation(text, minutes):
    frame = pd.DataFrame({CHECKLIST: ["S1"], "TIME OBSERVATIONS STARTED": [text]})
    np.testing.assert_equal(read_checklists(frame)["start_minutes"].tolist(), [minutes])


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("2024-02-29", "2024-02-29"), ("2024-02-29 08:00:00", "2024-02-29"), ("02-29-2024", "2024-02-29"),
        ("2023-02-29", None), ("29 Feb", None), (None, None),
    ],
)  # fmt: skip
def test_dates_in_every_notation(text, date):
    found = read_checklists(pd.DataFrame({CHECKLIST: ["S1"], "OBSERVATION DATE": [text]}))["date"]
    assert found.isna().all() if date is None else found.tolist() == [pd.Timestamp(date)]


def test_the_distance_of_a_stationary_checklist_is_zero_and_of_no_other():
    frame = pd.DataFrame({CHECKLIST: ["S1", "S2", "S3"], "PROTOCOL CODE": ["P21", "P22", "P62"]})
    np.testing.assert_equal(read_checklists(frame)["distance_km"].tolist(), [0, np.nan, np.nan])


def test_checklists_that_are_not_in_the_file_are_named():
    with pytest.raises(ValueError, match="lacks 'S3'"):
        read_checklists(pd.DataFrame({CHECKLIST: ["S1"]}), ["S1", "S3"])
    with pytest.raises(ValueError, match=r"identifiers must be a list.*got 'S1'"):
        read_checklists(pd.DataFrame({CHECKLIST: ["S1"]}), "S1")
    with pytest.raises(ValueError, match=rf"column {CHECKLIST}; got the columns 'a'"):
        read_checklists(pd.DataFrame({"a": [1]}))

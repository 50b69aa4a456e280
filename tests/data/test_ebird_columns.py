"""Columns are known by every name that eBird, R and auk have for them."""

import pandas as pd
import pytest

from ignite_recipes.data.ebird_columns import CHECKLIST, CHECKLIST_COLUMNS, ebd_names, protocol_name, with_ebd_names
from ignite_recipes.data.ebird_example import EBD_COLUMNS


def test_the_names_of_the_ebd_are_themselves():
    assert ebd_names(EBD_COLUMNS) == list(EBD_COLUMNS)
    assert set(CHECKLIST_COLUMNS) <= set(EBD_COLUMNS)


@pytest.mark.parametrize("sign", ["_", "."])
def test_every_name_is_known_as_auk_and_r_write_it(sign):
    written = [name.lower().replace(" ", sign).replace("/", sign) for name in EBD_COLUMNS]
    assert ebd_names(written) == list(EBD_COLUMNS)


def test_the_identifier_of_auk_stands_in_only_where_there_is_no_other():
    assert ebd_names(["checklist_id", "common_name"])[0] == CHECKLIST
    assert ebd_names(["checklist_id", "sampling_event_identifier"]) == ["CHECKLIST ID", CHECKLIST]


def test_a_frame_is_renamed_without_making_two_columns_of_one_name():
    frame = pd.DataFrame({"submission_id": ["S1"], "checklist_id": ["G1"], "Count": [1], "observation_count": [2]})
    assert with_ebd_names(frame).columns.tolist() == [
        CHECKLIST,
        "CHECKLIST ID",
        "OBSERVATION COUNT",
        "observation_count",
    ]
    other = pd.DataFrame({"a": [1], "common_name": ["b"]})
    assert with_ebd_names(other) is other


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Traveling", "Traveling"), ("traveling", "Traveling"), ("eBird - Traveling Count", "Traveling"),
        ("P22", "Traveling"), ("eBird - Stationary Count", "Stationary"), ("p21", "Stationary"),
        ("eBird - Casual Observation", "Incidental"), ("P23", "Area"), ("Banding", "Banding"), ("", ""),
    ],
)  # fmt: skip
def test_a_protocol_has_one_name_in_all_releases(text, name):
    assert protocol_name(text) == name

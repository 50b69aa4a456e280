"""Each filter keeps what its unit says, and nothing of which it is not known."""

import datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data import BEST_PRACTICES, ChecklistFilters
from ignite_recipes.data.ebird_checklists import checklist_facts, one_row_each

CHECKLIST = "SAMPLING EVENT IDENTIFIER"
numbers = st.none() | st.integers(0, 12).map(float)
rows = st.fixed_dictionaries(
    {
        "OBSERVATION DATE": st.none() | st.dates(datetime.date(2023, 1, 1), datetime.date(2024, 12, 31)).map(str),
        "LATITUDE": st.none() | st.integers(-90, 90).map(float),
        "LONGITUDE": st.none() | st.integers(-180, 180).map(float),
        "DURATION MINUTES": numbers,
        "EFFORT DISTANCE KM": numbers,
        "NUMBER OBSERVERS": numbers,
        "OBSERVATION TYPE": st.sampled_from([None, "Traveling", "Stationary", "Area"]),
        "ALL SPECIES REPORTED": st.sampled_from(["0", "1", None]),
        "STATE CODE": st.sampled_from([None, "IN-KL", "IN-TN", "US-KL"]),
    }
)
choices = st.fixed_dictionaries(
    {},
    optional={
        "start_date": st.dates(datetime.date(2023, 1, 1), datetime.date(2023, 12, 31)),
        "end_date": st.dates(datetime.date(2024, 1, 1), datetime.date(2024, 12, 31)).map(str),
        "months": st.lists(st.integers(1, 12), min_size=1, max_size=6),
        "bounding_box": st.tuples(
            st.integers(-180, 180), st.integers(-90, 0), st.integers(-180, 180), st.integers(1, 90)
        ),
        "region": st.sampled_from(["IN", ["in-kl"], ["US-KL", "IN-TN"]]),
        "protocols": st.sampled_from(["P22", ["Traveling", "stationary"], ["Area"]]),
        "complete_only": st.booleans(),
        "min_duration_minutes": st.integers(0, 5),
        "max_duration_minutes": st.integers(5, 12),
        "max_distance_km": st.integers(0, 12),
        "max_speed_km_per_hour": st.integers(0, 200),
        "max_observers": st.integers(0, 12),
    },
)
CODES = {"p22": "traveling"}


def passes(row, given):
    """Whether a checklist passes all filters, by plain comparisons."""
    date = row["OBSERVATION DATE"]
    distance = row["EFFORT DISTANCE KM"]
    if distance is None and row["OBSERVATION TYPE"] == "Stationary":
        distance = 0.0
    west, south, east, north = given.get("bounding_box", (0, 0, 0, 0))
    x, y = row["LONGITUDE"], row["LATITUDE"]
    duration, state = row["DURATION MINUTES"], row["STATE CODE"]
    wanted = lambda name: [v.lower() for v in ([given[name]] if isinstance(given[name], str) else given[name])]  # noqa: E731
    tests = {
        "start_date": lambda v: date is not None and date >= str(v),
        "end_date": lambda v: date is not None and date <= v,
        "months": lambda v: date is not None and int(date[5:7]) in v,
        "bounding_box": lambda v: (
            None not in (x, y)
            and south <= y <= north
            and (west <= x <= east if west <= east else x >= west or x <= east)
        ),
        "region": lambda v: state is not None and bool({state.lower(), state[:2].lower()} & set(wanted("region"))),
        "protocols": lambda v: (
            str(row["OBSERVATION TYPE"]).lower() in [CODES.get(name, name) for name in wanted("protocols")]
        ),
        "complete_only": lambda v: not v or row["ALL SPECIES REPORTED"] == "1",
        "min_duration_minutes": lambda v: duration is not None and duration >= v,
        "max_duration_minutes": lambda v: duration is not None and duration <= v,
        "max_distance_km": lambda v: distance is not None and distance <= v,
        "max_speed_km_per_hour": lambda v: (
            distance == 0 or (None not in (distance, duration) and duration > 0 and distance / duration * 60 <= v)
        ),
        "max_observers": lambda v: row["NUMBER OBSERVERS"] is not None and row["NUMBER OBSERVERS"] <= v,
    }
    return all(tests[name](value) for name, value in given.items())


@settings(max_examples=150, deadline=None)
@given(st.lists(rows, min_size=1, max_size=12), choices)
def test_filters_keep_what_plain_comparisons_keep(checklists, given):
    frame = pd.DataFrame([{CHECKLIST: f"S{n:02d}", **row} for n, row in enumerate(checklists)])
    each = one_row_each(frame)
    filters = ChecklistFilters(**given)
    masks = filters.masks(checklist_facts(each), each)
    assert len(masks) == len([name for name, value in given.items() if value is not False])
    kept = np.logical_and.reduce([np.ones(len(each), dtype=bool), *masks.values()])
    assert kept.tolist() == [passes(row, given) for row in checklists]


@pytest.mark.parametrize("column", ["COUNTRY", "COUNTRY CODE", "STATE", "STATE CODE", "COUNTY", "COUNTY CODE"])
def test_a_region_is_found_by_name_or_code_of_every_size(column):
    values = ["IN-KL-KT", "Kerala", None, "INX"] if column.endswith("CODE") else ["kerala", "IN", None, "in kerala"]
    frame = one_row_each(pd.DataFrame({CHECKLIST: list("abcd"), column: values}))
    facts = checklist_facts(frame)
    (mask,) = ChecklistFilters(region=["IN", "Kerala"]).masks(facts, frame).values()
    assert mask.tolist() == [True, True, False, False]


@pytest.mark.parametrize(
    ("text", "filters"),
    [
        ("12,1, 2", {"months": [12, 1, 2]}),
        ("[12, 1]", {"months": [12, 1]}),
        ("['IN-KL', \"Goa\"]", {"region": ["IN-KL", "Goa"]}),
        ("-80,25,-79.5,26", {"bounding_box": [-80, 25, -79.5, 26]}),
        ("Traveling,P21", {"protocols": ["Traveling", "P21"]}),
        ("IN-KL", {"region": ["IN-KL"]}),
        (np.array([1, 2]), {"months": [1, 2]}),
        ({2, 1}, {"months": [1, 2]}),
        (np.array([1.0, 2, 3, 4]), {"bounding_box": [1, 2, 3, 4]}),
    ],
)
def test_a_text_with_commas_an_array_and_a_set_are_lists(text, filters):
    (name, value) = next(iter(filters.items()))
    assert ChecklistFilters(**{name: text}).given() == {name: value}


BAD = {
    "months 13": ({"months": [13]}, r"months must be a list of numbers from 1 to 12.*got \[13\]"),
    "months zero": ({"months": [0]}, "months must be"),
    "months empty": ({"months": []}, "months must be"),
    "months text": ({"months": "June"}, "months must be.*got 'June'"),
    "months number": ({"months": 6}, "months must be.*got 6"),
    "box of three": ({"bounding_box": (1, 2, 3)}, "must be west, south, east and north"),
    "box upside down": ({"bounding_box": (1, 5, 3, 2)}, "the south first"),
    "box far out": ({"bounding_box": (200, 5, 3, 6)}, "from -180 to 180"),
    "box nan": ({"bounding_box": (1, float("nan"), 3, 6)}, "must be west, south"),
    "box words": ({"bounding_box": "Kerala"}, "must be west.*got 'Kerala'"),
    "date": ({"start_date": "31.1.2024"}, "start_date must be a day, as 2024-01-31; got '31.1.2024'"),
    "no such date": ({"end_date": "2023-02-29"}, "end_date must be a day"),
    "dates swapped": ({"start_date": "2024-02-01", "end_date": "2024-01-01"}, "must not be later than end_date"),
    "negative": ({"max_distance_km": -1}, "max_distance_km must be a number of km that is not negative; got -1"),
    "nan": ({"max_duration_minutes": float("nan")}, "number of minutes"),
    "text": ({"max_observers": "ten"}, "number of observers.*got 'ten'"),
    "durations swapped": ({"min_duration_minutes": 9, "max_duration_minutes": 5}, "must not be above"),
    "a word for no": ({"complete_only": "no"}, "complete_only must be True, False or None; got 'no'"),
    "empty protocols": ({"protocols": []}, "protocols must be a list"),
    "empty region": ({"region": " "}, "region must be a list"),
    "a list of numbers": ({"region": [1]}, "region must be a list"),
}


@pytest.mark.parametrize(("settings_", "message"), [pytest.param(*case, id=name) for name, case in BAD.items()])
def test_a_setting_that_makes_no_sense_is_refused(settings_, message):
    with pytest.raises(ValueError, match=message):
        ChecklistFilters(**settings_)


def test_best_practices_are_filters():
    assert ChecklistFilters(**BEST_PRACTICES).given() == dict(BEST_PRACTICES)

"""From sightings and sampling events to the matrix: zeros are filled in, shared checklists and taxa are joined."""

import logging
from unittest import mock

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.ebird_downloads import CHECKLIST, csv_text, rows_of, sampling_text

from ignite_recipes.data import (
    BEST_PRACTICES,
    create_species_matrix,
    load_ebird_data,
    read_checklists,
    read_species_matrix,
    write_example_ebd,
)

GROUP, NAME = "GROUP IDENTIFIER", "COMMON NAME"
EMPTY = {
    CHECKLIST: "S100",
    "OBSERVATION TYPE": "Traveling",
    "ALL SPECIES REPORTED": "1",
    "DURATION MINUTES": "30",
    "EFFORT DISTANCE KM": "2",
    "NUMBER OBSERVERS": "2",
}


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return write_example_ebd(tmp_path_factory.mktemp("example") / "e.txt", 60)


def as_dict(matrix):
    """The species on each checklist."""
    names = matrix.columns[1:]
    rows = matrix[names].to_numpy()
    return {key: {*names[row.astype(bool)]} for key, row in zip(matrix[CHECKLIST], rows, strict=True)}


def sightings(*rows, **facts):
    data = pd.DataFrame(rows, columns=[CHECKLIST, NAME])
    return data.assign(CATEGORY="species", **{"OBSERVATION TYPE": "Traveling", "ALL SPECIES REPORTED": "1"}, **facts)


lists = st.dictionaries(st.sampled_from("ABCDEFG"), st.sets(st.sampled_from("xyz"), max_size=3), min_size=1)


@settings(max_examples=60, deadline=None)
@given(lists)
def test_a_checklist_of_the_sampling_events_is_a_row_whether_a_species_was_seen_or_not(checklists):
    seen = [(key, name) for key, names in checklists.items() for name in names]
    if not seen:
        return
    events = pd.DataFrame({CHECKLIST: list(checklists)}).assign(
        **{"OBSERVATION TYPE": "Traveling", "ALL SPECIES REPORTED": "1"}
    )
    data = pd.DataFrame(seen, columns=[CHECKLIST, NAME])  # what is known of a checklist is taken from the events
    matrix, species = create_species_matrix(data, sampling=events)
    assert as_dict(matrix) == checklists
    assert species == sorted(set().union(*checklists.values()))


def test_filters_and_groups_hold_for_checklists_without_a_sighting_too():
    data = sightings(("S1", "a"), ("S2", "a"), **{GROUP: ["G1", ""]})
    events = pd.DataFrame(
        [
            {**EMPTY, CHECKLIST: "S0", GROUP: "G1"},  # comes first in its group, and nothing was seen on it
            {**EMPTY, CHECKLIST: "S1", GROUP: "G1"},
            {**EMPTY, CHECKLIST: "S2"},
            {**EMPTY, CHECKLIST: "S3", "ALL SPECIES REPORTED": "0"},
            {**EMPTY, CHECKLIST: "S4", "DURATION MINUTES": "600"},
            {**EMPTY, CHECKLIST: "S5"},
        ]
    )
    matrix, _ = create_species_matrix(data, sampling=events, **BEST_PRACTICES)
    assert as_dict(matrix) == {"S0": set(), "S2": {"a"}, "S5": set()}
    assert matrix.index.tolist() == ["G1", "S2", "S5"]


def test_the_sampling_events_must_hold_every_checklist_of_the_sightings():
    events = pd.DataFrame({CHECKLIST: ["S1"]})
    with pytest.raises(ValueError, match=r"sampling must hold every checklist.*1 of 2 are not in it, e\.g\. 'S2'"):
        create_species_matrix(sightings(("S1", "a"), ("S2", "a")), sampling=events)


def test_a_file_of_sampling_events_gives_the_same_as_the_sightings_where_both_say_it(tmp_path, example):
    path = tmp_path / "s.txt"
    path.write_text(sampling_text(example, EMPTY), encoding="utf-8")
    made, alone = read_species_matrix(example, sampling=path), read_species_matrix(example)
    assert made.matrix[CHECKLIST].tolist() == ["S100", *alone.matrix[CHECKLIST]]
    pd.testing.assert_frame_equal(made.matrix[1:], alone.matrix)
    columns = [name for name in made.checklists if name != "protocol"]
    pd.testing.assert_frame_equal(made.checklists[columns][1:], alone.checklists[columns])
    pd.testing.assert_frame_equal(read_checklists(path, made.matrix[CHECKLIST]), made.checklists)


@settings(max_examples=60, deadline=None)
@given(lists, st.dictionaries(st.sampled_from("ABCDEFG"), st.sampled_from(["g", "h"])))
def test_the_union_of_a_group_has_the_species_of_all_its_checklists(checklists, group_of):
    rows = [(key, name) for key, names in checklists.items() for name in names]
    if not rows:
        return
    data = sightings(*rows).assign(**{GROUP: [group_of.get(key) for key, _ in rows]})
    expected, first = {}, {}
    for key in sorted(key for key, names in checklists.items() if names):
        kept = first.setdefault(group_of.get(key, key), key)
        expected[kept] = expected.get(kept, set()) | checklists[key]
    assert as_dict(create_species_matrix(data, shared_checklists="union")[0]) == expected
    of_first = as_dict(create_species_matrix(data)[0])
    assert {key: of_first[key] for key in expected} == {key: checklists[key] for key in expected}
    everything = as_dict(create_species_matrix(data, shared_checklists="all")[0])
    assert everything == {key: names for key, names in checklists.items() if names}


TAXA = [
    ("species", "Barn Swallow", "Hirundo rustica", ""),
    ("issf", "Barn Swallow", "Hirundo rustica", "Barn Swallow (Eurasian)"),
    ("species", "Wire-tailed Swallow", "Hirundo smithii", ""),
    ("spuh", "Hirundo sp.", "Hirundo sp.", ""),
    ("slash", "Barn/Wire-tailed Swallow", "Hirundo rustica/smithii", ""),
    ("spuh", "swallow sp.", "Hirundinidae sp.", ""),
    ("hybrid", "Mallard x Gadwall (hybrid)", "Anas platyrhynchos x Mareca strepera", ""),
    ("domestic", "Rock Pigeon", "Columba livia", "Rock Pigeon (Feral Pigeon)"),
]
BY_RANK = {
    "species": {"Barn Swallow", "Wire-tailed Swallow", "Rock Pigeon"},
    "subspecies": {
        "Barn Swallow", "Barn Swallow (Eurasian)", "Wire-tailed Swallow", "Rock Pigeon (Feral Pigeon)",
    },
    "genus": {"Hirundo", "Columba"},
}  # fmt: skip
HIGHER = {"Hirundo sp.", "Barn/Wire-tailed Swallow", "swallow sp.", "Mallard x Gadwall (hybrid)"}


def as_taxa(*names):
    columns = ["CATEGORY", NAME, "SCIENTIFIC NAME", "SUBSPECIES COMMON NAME"]
    data = pd.DataFrame([("S1", *taxon) for taxon in TAXA], columns=[CHECKLIST, *columns])
    return data.assign(**{"OBSERVATION TYPE": "Traveling", "ALL SPECIES REPORTED": "1"}).drop(columns=list(names))


@pytest.mark.parametrize("drop_higher", [True, False])
@pytest.mark.parametrize("rank", BY_RANK)
def test_every_rank_has_its_taxa(rank, drop_higher):
    _, names = create_species_matrix(as_taxa(), taxon_rank=rank, drop_higher=drop_higher)
    assert set(names) == BY_RANK[rank] | (HIGHER if rank != "genus" and not drop_higher else set())


def test_a_genus_is_told_by_its_spuhs_slashes_and_species():
    data = as_taxa().assign(**{CHECKLIST: [f"S{n}" for n in range(len(TAXA))]})
    matrix, _ = create_species_matrix(data, taxon_rank="genus")
    assert matrix.loc[matrix["Hirundo"] == 1, CHECKLIST].tolist() == ["S0", "S1", "S2", "S3", "S4"]


def test_without_categories_the_names_tell_them():
    data = as_taxa("CATEGORY", "SUBSPECIES COMMON NAME")
    _, names = create_species_matrix(data)
    assert set(names) == BY_RANK["species"]
    own = data.assign(**{NAME: [below or name for _, name, _, below in TAXA]})
    assert set(create_species_matrix(own)[1]) == BY_RANK["species"]
    assert set(create_species_matrix(own, taxon_rank="subspecies")[1]) == BY_RANK["subspecies"]


def test_scientific_names_stand_in_for_common_ones():
    data = as_taxa("CATEGORY", "SUBSPECIES COMMON NAME", NAME)
    data["SCIENTIFIC NAME"] = data["SCIENTIFIC NAME"].replace("Columba livia", "Columba livia (Feral Pigeon)")
    assert create_species_matrix(data)[1] == ["Columba livia", "Hirundo rustica", "Hirundo smithii"]


@pytest.mark.parametrize(("rank", "column"), [("genus", "SCIENTIFIC NAME"), ("subspecies", "SUBSPECIES COMMON NAME")])
def test_a_rank_that_needs_a_column_says_so(rank, column):
    with pytest.raises(ValueError, match=f"taxon_rank='{rank}' needs the column {column}"):
        create_species_matrix(as_taxa(column), taxon_rank=rank)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"taxon_rank": "order"}, "taxon_rank must be one of 'species', 'subspecies', 'genus', or None; got 'order'"),
        ({"shared_checklists": "last"}, "shared_checklists must be one of 'first', 'union', 'all'"),
        ({"max_duration_minutes": 5}, "max_duration_minutes=5 needs the column DURATION MINUTES"),
        ({"region": "IN"}, "region=IN needs the column COUNTRY or"),
    ],
)
def test_a_choice_that_cannot_be_made_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        create_species_matrix(sightings(("S1", "a")), **arguments)


def test_an_unknown_filter_is_refused_with_the_nearest_name():
    with pytest.raises(TypeError, match=r"'max_duration' is not a filter.*did you mean 'max_duration_minutes'"):
        create_species_matrix(sightings(("S1", "a")), max_duration=5)


def test_filters_can_do_what_the_quality_filters_do_one_by_one(example):
    data = load_ebird_data(example, details=True)
    one_by_one, _ = create_species_matrix(
        data, apply_quality_filters=False, taxon_rank="species", protocols="Traveling,Stationary", complete_only=True,
        shared_checklists="first",
    )  # fmt: skip
    pd.testing.assert_frame_equal(one_by_one, create_species_matrix(data)[0])


def test_the_table_in_the_log_counts_what_each_step_left(caplog, example):
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        made = read_species_matrix(example, 5, 2, max_observers=2)
    (table,) = [record.message for record in caplog.records if "left after each step" in record.message]
    lines = table.splitlines()[2:]
    assert [line.split()[-3:] for line in lines] == made.steps.astype(str).to_numpy().tolist()
    rows = rows_of(example)
    assert made.steps.index.tolist() == [
        "all that was read", "taxon_rank=species", "protocols=Traveling, Stationary", "complete_only=True",
        "max_observers=2", "shared checklists once", "min_species_observations=5", "min_checklist_species=2",
    ]  # fmt: skip
    for step, passes in {
        "all that was read": lambda row: True,
        "taxon_rank=species": lambda row: row["CATEGORY"] in ("species", "issf", "domestic"),
        "protocols=Traveling, Stationary": lambda row: row["OBSERVATION TYPE"] in ("Traveling", "Stationary"),
        "complete_only=True": lambda row: row["ALL SPECIES REPORTED"] == "1",
        "max_observers=2": lambda row: int(row["NUMBER OBSERVERS"]) <= 2,
    }.items():
        rows = [row for row in rows if passes(row)]
        expected = [len(rows), len({r[CHECKLIST] for r in rows}), len({r[NAME] for r in rows})]
        assert made.steps.loc[step].tolist() == expected
    last = made.steps.iloc[-1]
    assert last["checklists"] == len(made.matrix)
    assert last["sightings"] == made.matrix[made.species].to_numpy().sum()
    assert made.checklists.index.tolist() == made.matrix[CHECKLIST].tolist()


MINE = {
    CHECKLIST: "Submission ID", NAME: "Common Name", "SCIENTIFIC NAME": "Scientific Name",
    "OBSERVATION COUNT": "Count", "STATE CODE": "State/Province", "LATITUDE": "Latitude", "LONGITUDE": "Longitude",
    "OBSERVATION DATE": "Date", "TIME OBSERVATIONS STARTED": "Time", "OBSERVATION TYPE": "Protocol",
    "DURATION MINUTES": "Duration (Min)", "ALL SPECIES REPORTED": "All Obs Reported",
    "EFFORT DISTANCE KM": "Distance Traveled (km)", "NUMBER OBSERVERS": "Number of Observers",
    "SPECIES COMMENTS": "Observation Details",
}  # fmt: skip


def below_its_name(row):
    """As MyEBirdData.csv has it, which has no column for subspecies."""
    return row | {NAME: row["SUBSPECIES COMMON NAME"] or row[NAME]}


def test_one_s_own_data_are_read_like_the_ebd(tmp_path, example):
    rows = [below_its_name(row) for row in rows_of(example)]
    rows[0]["SPECIES COMMENTS"] = 'first line,\n"second"'
    path = tmp_path / "MyEBirdData.csv"
    path.write_text(csv_text(rows, MINE), encoding="utf-8")
    with mock.patch("ignite_recipes.data.ebird_file.BLOCK_BYTES", 60):  # blocks end inside quotes, too
        made = read_species_matrix(path, region="IN-KL")
    expected = read_species_matrix(example, shared_checklists="all")
    assert as_dict(made.matrix) == as_dict(expected.matrix)
    pd.testing.assert_frame_equal(made.checklists, expected.checklists)


@pytest.mark.parametrize(("separator", "suffix"), [(",", ".csv"), ("\t", ".tsv"), (";", ".csv")])
def test_what_auk_wrote_is_read_like_the_ebd(tmp_path, example, separator, suffix):
    rows = rows_of(example)
    names = {name: name.lower().replace(" ", "_").replace("/", "_") for name in rows[0] if name}
    if separator == ";":  # as write.csv2 has it
        for row in rows:
            row.update({name: row[name].replace(".", ",") for name in ("LATITUDE", "LONGITUDE", "EFFORT DISTANCE KM")})
    path = tmp_path / f"auk{suffix}"
    path.write_text(csv_text(rows, names, separator, missing="NA"), encoding="utf-8")
    made, expected = read_species_matrix(path, **BEST_PRACTICES), read_species_matrix(example, **BEST_PRACTICES)
    pd.testing.assert_frame_equal(made.matrix, expected.matrix)
    pd.testing.assert_frame_equal(made.checklists, expected.checklists)
    frame = load_ebird_data(path, details=True).rename(columns=names)  # as a frame that came from R
    pd.testing.assert_frame_equal(create_species_matrix(frame, **BEST_PRACTICES)[0], expected.matrix)


def test_zeros_that_auk_filled_in_are_zeros(tmp_path):
    text = (
        "checklist_id,all_species_reported,protocol_type,scientific_name,observation_count,species_observed\n"
        "S1,TRUE,Traveling,Corvus splendens,2,TRUE\nS2,TRUE,Stationary,Corvus splendens,0,FALSE\n"
        "S3,FALSE,Stationary,Corvus splendens,0,FALSE\n"
    )
    (tmp_path / "zf.csv").write_text(text, encoding="utf-8")
    made = read_species_matrix(tmp_path / "zf.csv")
    assert as_dict(made.matrix) == {"S1": {"Corvus splendens"}, "S2": set()}
    data = load_ebird_data(tmp_path / "zf.csv")
    assert as_dict(create_species_matrix(data)[0]) == as_dict(made.matrix)


def test_a_file_that_no_program_wrote_is_a_value_error_in_one_line(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text('checklist_id,common_name\nS1,"House Crow\nS2,Black Kite\n', encoding="utf-8")
    with pytest.raises(ValueError, match="cannot be read to its end") as caught:
        load_ebird_data(path)
    assert "\n" not in str(caught.value)


def test_row_names_of_r_are_refused_where_they_shift_the_columns(tmp_path):
    path = tmp_path / "r.csv"
    path.write_text("checklist_id,common_name\nS1,House Crow,\n", encoding="utf-8")
    assert load_ebird_data(path).to_numpy().tolist() == [["S1", "House Crow"]]  # a comma too many does not
    path.write_text('"checklist_id","common_name"\n"1","S1","House Crow"\n', encoding="utf-8")
    with pytest.raises(ValueError, match=r"row\.names = FALSE"):
        load_ebird_data(path)


def test_a_number_of_rows_does_without_sampling_events(tmp_path, example):
    with pytest.raises(ValueError, match=r"sampling needs all sightings.*nrows=5"):
        read_species_matrix(example, nrows=5, sampling=tmp_path / "s.txt")
    assert read_species_matrix(example, nrows=50, apply_quality_filters=False).steps["sightings"].iloc[0] == 50


def test_facts_that_only_the_sampling_events_have_serve_the_filters():
    data = pd.DataFrame([("S1", "a"), ("S2", "a")], columns=[CHECKLIST, NAME])
    events = pd.DataFrame([{**EMPTY, CHECKLIST: "S1"}, {**EMPTY, CHECKLIST: "S2", "NUMBER OBSERVERS": "11"}])
    matrix, _ = create_species_matrix(data, sampling=events, max_observers=10)
    assert as_dict(matrix) == {"S1": {"a"}}
    assert np.asarray(matrix["a"]).dtype == np.uint8

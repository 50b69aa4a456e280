"""The eBird reader keeps every sighting of a real-format file, and the matrix is the checklists by species."""

import gzip
import logging
import random
import re
import subprocess
import sys
from functools import partial
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ignite_recipes.data import create_species_matrix, load_ebird_data, write_example_ebd

CHECKLIST, GROUP, NAME = "SAMPLING EVENT IDENTIFIER", "GROUP IDENTIFIER", "COMMON NAME"
SCIENTIFIC = "SCIENTIFIC NAME"
DEFAULT = [CHECKLIST, GROUP, NAME, SCIENTIFIC, "CATEGORY", "OBSERVATION TYPE", "ALL SPECIES REPORTED"]

CATEGORIES = st.sampled_from(["species", "species", "species", "issf", "spuh", "hybrid"])
PROTOCOLS = st.sampled_from(["Traveling", "Stationary", "Incidental"])
FACTS = st.tuples(PROTOCOLS, st.sampled_from(["1", "1", "0"]))  # the same in all rows of a checklist
SIGHTING = st.tuples(
    st.integers(0, 3),
    st.sampled_from(["Shikra", "Black Kite", "Black Kite (Black-eared)", "Loten's Sunbird"]),
    CATEGORIES,
)


@st.composite
def sightings_of_some_checklists(draw):
    facts = draw(st.lists(FACTS, min_size=4, max_size=4))
    seen = draw(st.lists(SIGHTING, min_size=1, max_size=25))
    return [(("S9", "S10", "S2", "S33")[n], name, category, *facts[n]) for n, name, category in seen]


sightings = sightings_of_some_checklists()
thresholds = st.none() | st.integers(0, 3)


def as_frame(rows):
    columns = [CHECKLIST, NAME, "CATEGORY", "OBSERVATION TYPE", "ALL SPECIES REPORTED"]
    return pd.DataFrame(rows, columns=columns)


def brute_force(rows, min_observations, min_species, quality):
    """The rows and columns of the matrix, by dictionaries and sets only."""
    lists = {}
    for checklist, name, category, protocol, complete in rows:
        if not quality or (category in ("species", "issf") and protocol != "Incidental" and complete == "1"):
            is_rolled = quality and category == "issf"
            lists.setdefault(checklist, set()).add(name.partition(" (")[0] if is_rolled else name)
    names = sorted(set().union(*lists.values()))
    names = [n for n in names if sum(n in seen for seen in lists.values()) >= (min_observations or 0)]
    lists = {c: seen & set(names) for c, seen in lists.items() if len(seen & set(names)) >= (min_species or 0)}
    return names, {c: [int(n in lists[c]) for n in names] for c in sorted(lists)}


def write_ebd(path, *lines, header="SAMPLING EVENT IDENTIFIER\tCOMMON NAME\tLATITUDE\tSPECIES COMMENTS\t"):
    path.write_bytes("\n".join([header, *lines, ""]).encode())
    return path


@settings(max_examples=60, deadline=None)
@given(sightings, thresholds, thresholds, st.booleans(), st.booleans())
def test_matrix_equals_a_construction_by_dictionaries(rows, min_observations, min_species, quality, categorical):
    data = as_frame(rows).astype("category") if categorical else as_frame(rows)
    names, expected = brute_force(rows, min_observations, min_species, quality)
    if not names or not expected:
        with pytest.raises(ValueError, match="left after each"):
            create_species_matrix(data, min_observations, min_species, quality)
        return
    matrix, species = create_species_matrix(data, min_observations, min_species, quality)
    assert species == names
    assert matrix.columns.tolist() == [CHECKLIST, *names]
    assert dict(zip(matrix[CHECKLIST], matrix[names].to_numpy().tolist(), strict=True)) == expected
    assert matrix[CHECKLIST].tolist() == list(expected)


@settings(max_examples=20, deadline=None)
@given(sightings, st.randoms(use_true_random=False))
def test_matrix_does_not_depend_on_the_order_of_rows(rows, shuffler):
    shuffled = shuffler.sample(rows, len(rows))
    one, _ = create_species_matrix(as_frame(rows), apply_quality_filters=False)
    other, _ = create_species_matrix(as_frame(shuffled), apply_quality_filters=False)
    pd.testing.assert_frame_equal(one, other)


def test_matrix_is_sparse_and_leaves_the_data_alone(tmp_path):
    data = load_ebird_data(write_example_ebd(tmp_path / "e.txt", 50))
    before = data.copy()
    matrix, species = create_species_matrix(data)
    assert set(matrix[species].dtypes) == {pd.SparseDtype(np.uint8, 0)}
    pd.testing.assert_frame_equal(data, before)


def test_a_species_reported_many_times_on_one_checklist_is_a_one():
    """256 reports would be a 0 if they were added up as bytes."""
    matrix, species = create_species_matrix(as_frame([("S1", "Shikra", "", "", "")] * 256), apply_quality_filters=False)
    assert matrix[species].to_numpy().tolist() == [[1]]


def test_a_checklist_that_loses_all_its_species_is_kept_as_zeros_unless_asked_otherwise():
    rows = [("S1", "Shikra"), ("S2", "Shikra"), ("S3", "Black Kite")]
    data = pd.DataFrame(rows, columns=[CHECKLIST, NAME])
    kept, species = create_species_matrix(data, 2, apply_quality_filters=False)
    assert (species, kept["Shikra"].tolist()) == (["Shikra"], [1, 1, 0])
    dropped, _ = create_species_matrix(data, 2, 1, apply_quality_filters=False)
    assert dropped[CHECKLIST].tolist() == ["S1", "S2"]


@pytest.mark.parametrize(
    "groups",
    [
        pytest.param(["G1", "", "G1", "", ""], id="empty text"),
        pytest.param(["G1", None, "G1", None, None], id="missing"),
        pytest.param(pd.Categorical(["G1", None, "G1", None, None]), id="categorical"),
        pytest.param([None, None, "G1", None, "G1"], id="known from some rows only"),
    ],
)
def test_index_holds_the_group_of_a_checklist_or_its_own_identifier(groups):
    checklists = ["S3", "S2", "S1", "S2", "S3"]
    data = pd.DataFrame({CHECKLIST: checklists, NAME: list("abcde"), GROUP: groups})
    matrix, _ = create_species_matrix(data, apply_quality_filters=False)
    assert matrix.index.name == GROUP
    assert matrix.index.tolist() == ["G1", "S2", "G1"]
    assert matrix[matrix["a"] == 1].index.tolist() == ["G1"]  # slicing keeps it


def test_index_counts_where_groups_are_unknown():
    matrix, _ = create_species_matrix(as_frame([("S2", "a", "", "", ""), ("S1", "a", "", "", "")]), None, None, False)
    assert matrix.index.equals(pd.RangeIndex(2))


# How eBird files write them: category, common and scientific name, and the species that auk makes of it.
TAXA = {
    "species": ("species", "Barn Swallow", "Hirundo rustica", "Barn Swallow"),
    "issf as files have it": ("issf", "Barn Swallow", "Hirundo rustica", "Barn Swallow"),
    "issf, a trinomial": ("issf", "Barn Swallow (Eurasian)", "Hirundo rustica rustica", "Barn Swallow"),
    "issf, a group in brackets": ("issf", "Purple Heron (Purple)", "Ardea purpurea [purpurea Group]", "Purple Heron"),
    "issf, several subspecies": ("issf", "Barn Swallow (A/B)", "Hirundo rustica rustica/gutturalis", "Barn Swallow"),
    "issf under another common name": ("issf", "House Swallow (Tytler's)", "Hirundo rustica tytleri", "Barn Swallow"),
    "intergrade": ("intergrade", "Barn Swallow (A x B)", "Hirundo rustica rustica x gutturalis", "Barn Swallow"),
    "form": ("form", "Red Crossbill (Type 1)", "Loxia curvirostra (type 1)", "Red Crossbill"),
    "form not described yet": ("form", "Rote Owl (undescribed form)", "Ninox sp. nov.", "Rote Owl (undescribed form)"),
    "form of two species": ("form", "Odd Gull", "Larus fuscus x argentatus", None),
    "feral pigeon": ("domestic", "Rock Pigeon", "Columba livia", "Rock Pigeon"),
    "feral pigeon by its own name": ("domestic", "Rock Pigeon (Feral)", "Columba livia (Feral Pigeon)", "Rock Pigeon"),
    "domestic goose of no species": ("domestic", "goose sp. (Domestic type)", "Anser sp. (Domestic type)", None),
    "spuh": ("spuh", "swift sp.", "Apodidae sp.", None),
    "slash": ("slash", "Pin-tailed/Swinhoe's Snipe", "Gallinago stenura/megala", None),
    "hybrid": ("hybrid", "Mallard x Gadwall (hybrid)", "Anas platyrhynchos x Mareca strepera", None),
    "a category of later years": ("fossil", "Dodo", "Raphus cucullatus", None),
}


def as_taxa(rows, *, scientific=True):
    data = pd.DataFrame(rows, columns=[CHECKLIST, "CATEGORY", NAME, SCIENTIFIC])
    data = data.assign(**{"OBSERVATION TYPE": "Traveling", "ALL SPECIES REPORTED": "1"})
    return data if scientific else data.drop(columns=SCIENTIFIC)


@pytest.mark.parametrize("scientific", [True, False], ids=["with scientific names", "without"])
@pytest.mark.parametrize(
    ("category", "name", "scientific_name", "expected"), [pytest.param(*taxon, id=name) for name, taxon in TAXA.items()]
)
def test_a_taxon_counts_as_its_species_if_it_is_of_one(category, name, scientific_name, expected, scientific):
    known = [("S0", "species", "Barn Swallow", "Hirundo rustica"), ("S0", "species", "House Crow", "Corvus splendens")]
    rows = [*known, ("S1", category, name, scientific_name), ("S1", "species", "House Crow", "Corvus splendens")]
    matrix, _ = create_species_matrix(as_taxa(rows, scientific=scientific))
    (found,) = matrix[matrix[CHECKLIST] == "S1"].drop(columns=[CHECKLIST, "House Crow"]).to_dict("records")
    if not scientific and name == "House Swallow (Tytler's)":
        expected = "House Swallow"  # nothing says of which species it is
    if not scientific and category == "form" and expected != "Red Crossbill":
        expected = name.partition(" (")[0]
    assert [species for species, count in found.items() if count] == ([] if expected is None else [expected])


def test_a_species_reported_as_several_taxa_counts_once_and_the_log_says_how_many_were_rolled_up(caplog):
    rows = [
        ("S1", "species", "Barn Swallow", "Hirundo rustica"),
        ("S1", "issf", "Barn Swallow", "Hirundo rustica"),
        ("S2", "issf", "Barn Swallow", "Hirundo rustica"),
        ("S2", "domestic", "Rock Pigeon", "Columba livia"),
        ("S2", "spuh", "swift sp.", "Apodidae sp."),
    ]
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        matrix, species = create_species_matrix(as_taxa(rows))
    assert species == ["Barn Swallow", "Rock Pigeon"]
    assert matrix[species].to_numpy().tolist() == [[1, 0], [1, 1]]
    assert "of 5 sightings, 3 of subspecies groups, forms" in caplog.text
    assert "; 1 of no single species (spuh, slash, hybrid) are left out" in caplog.text


@settings(max_examples=25, deadline=None)
@given(
    st.permutations([(f"S{number % 3}", *taxon[:3]) for number, taxon in enumerate(TAXA.values())]), st.integers(1, 9)
)
def test_neither_the_order_of_the_rows_nor_how_many_are_read_at_a_time_changes_the_roll_up(rows, block_rows):
    expected, _ = create_species_matrix(as_taxa(sorted(rows)))
    with mock.patch("ignite_recipes.data.ebird_species.BLOCK_ROWS", block_rows):
        found, _ = create_species_matrix(as_taxa(rows).astype("category"))
    pd.testing.assert_frame_equal(found, expected)


def test_without_quality_filters_every_taxon_counts_by_its_own_name():
    rows = [("S1", category, name, scientific) for category, name, scientific, _ in TAXA.values()]
    _, species = create_species_matrix(as_taxa(rows), apply_quality_filters=False)
    assert species == sorted({name for _, name, _, _ in TAXA.values()})


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(1, 12), st.sampled_from("abcd")),
        min_size=1,
        max_size=40,
    ),
    st.sets(st.integers(1, 12), max_size=5),
    st.integers(0, 2),
)
def test_shared_checklists_count_once_by_the_first_complete_one_of_each_group(seen, incomplete, min_observations):
    rows = [(n, name, "0" if n in incomplete else "1") for n, name in seen]
    group_of = {f"S{n}": f"G{n % 3}" if n % 4 else "" for n in range(1, 13)}
    data = as_frame([(f"S{n}", name, "species", "Traveling", complete) for n, name, complete in rows])
    data[GROUP] = data[CHECKLIST].map(group_of)
    lists = {}
    for n, name, complete in rows:
        if complete == "1":
            lists.setdefault(f"S{n}", set()).add(name)
    first = {}
    for checklist in sorted(lists):
        first.setdefault(group_of[checklist] or checklist, checklist)
    kept = sorted(first.values())
    names = [x for x in "abcd" if sum(x in lists[c] for c in kept) >= max(min_observations, 1)]
    if not names:
        return
    matrix, species = create_species_matrix(data, min_observations)
    assert species == names
    assert matrix[CHECKLIST].tolist() == kept
    assert matrix.index.tolist() == [group_of[checklist] or checklist for checklist in kept]
    assert matrix[names].to_numpy().tolist() == [[int(x in lists[c]) for x in names] for c in kept]


def test_the_log_says_how_many_shared_checklists_were_left_out_or_that_none_could_be_told(caplog):
    data = as_frame([(f"S{n}", "a", "species", "Traveling", "1") for n in range(5)])
    with caplog.at_level(logging.INFO, "ignite_recipes"):
        create_species_matrix(data.assign(**{GROUP: ["G1", "G1", "G1", None, ""]}))
    assert "of 5 checklists, 2 are left out" in caplog.text
    assert GROUP not in "".join(record.message for record in caplog.records if record.levelno >= logging.WARNING)
    caplog.clear()
    create_species_matrix(data)
    assert f"data has no {GROUP}" in caplog.text


def test_a_matrix_without_absences_is_warned_of_and_so_is_a_species_without_presences(caplog):
    create_species_matrix(as_frame([("S1", "a", "", "", ""), ("S2", "a", "", "", "")]), apply_quality_filters=False)
    assert "should hold absences too; each of its 1 species is on each of its 2 checklists" in caplog.text
    caplog.clear()
    rows = [("S1", "a"), ("S1", "b"), ("S2", "b"), ("S2", "a"), ("S3", "a"), ("S3", "b"), ("S3", "c"), ("S4", "d")]
    data = pd.DataFrame(rows, columns=[CHECKLIST, NAME])
    create_species_matrix(data, min_checklist_species=2, apply_quality_filters=False)
    assert "1 of 4 species are on none of the checklists that min_checklist_species left" in caplog.text
    assert ": d; raise" in caplog.text
    caplog.clear()
    create_species_matrix(data, apply_quality_filters=False)
    assert not caplog.text


@pytest.mark.parametrize("protocol", ["OBSERVATION TYPE", "PROTOCOL TYPE", "PROTOCOL NAME"])
@pytest.mark.parametrize("complete", [["1", "0"], [1, 0], [1.0, 0.0], ["true", "false"], [True, False]], ids=str)
def test_quality_filters_read_every_spelling(protocol, complete):
    columns = [CHECKLIST, NAME, "CATEGORY", protocol, "ALL SPECIES REPORTED"]
    rows = [("S1", "a", "species", "Traveling", complete[0]), ("S2", "a", "species", "Traveling", complete[1])]
    matrix, _ = create_species_matrix(pd.DataFrame(rows, columns=columns))
    assert matrix[CHECKLIST].tolist() == ["S1"]


@pytest.mark.parametrize(
    ("protocol", "traveling", "stationary", "incidental"),
    [
        ("PROTOCOL TYPE", "eBird - Traveling Count", "eBird - Stationary Count", "eBird - Casual Observation"),
        ("PROTOCOL TYPE", "Traveling", "Stationary", "Incidental"),
        ("PROTOCOL NAME", "Traveling", "Stationary", "Incidental"),
        ("PROTOCOL CODE", "P22", "P21", "P20"),
    ],
)
def test_every_release_is_read_by_the_protocol_that_it_has(tmp_path, protocol, traveling, stationary, incidental):
    lines = [
        f"S{n}		{name}	species	{kind}	1"
        for n, (name, kind) in enumerate([("a", traveling), ("b", stationary), ("c", incidental)])
    ]
    header = "\t".join([CHECKLIST, GROUP, NAME, "CATEGORY", protocol, "ALL SPECIES REPORTED"])
    _, species = create_species_matrix(load_ebird_data(write_ebd(tmp_path / "e.txt", *lines, header=header)))
    assert species == ["a", "b"]


def test_the_observation_type_decides_where_a_protocol_name_is_there_too():
    data = as_frame([("S1", "a", "species", "Traveling", "1"), ("S2", "a", "species", "Incidental", "1")])
    matrix, _ = create_species_matrix(data.assign(**{"PROTOCOL NAME": ["Waterbird Count", "Traveling"]}))
    assert matrix[CHECKLIST].tolist() == ["S1"]


def test_rows_without_a_checklist_or_species_are_left_out_with_a_warning(caplog):
    data = pd.DataFrame({CHECKLIST: ["S1", None, "S3", ""], NAME: ["a", "b", None, "d"]})
    with caplog.at_level(logging.WARNING):
        matrix, species = create_species_matrix(data, apply_quality_filters=False)
    assert (matrix[CHECKLIST].tolist(), species) == (["S1"], ["a"])
    assert "left out 3 rows" in caplog.text


@pytest.mark.parametrize(
    ("rows", "settings_", "message"),
    [
        pytest.param([("S1", "a", "spuh", "Traveling", "1")], {}, "species: 0 checklists.*loosen 'taxon", id="taxa"),
        pytest.param([("S1", "a", "species", "Historical", "1")], {}, "loosen 'protocols=Traveling", id="protocol"),
        pytest.param([("S1", "a", "species", "Traveling", "0")], {}, "loosen 'complete_only=True'", id="complete"),
        pytest.param(
            [("S1", "a", "species", "Traveling", "1")],
            {"min_species_observations": 2},
            "complete_only=True: 1 checklists, 1 species.* loosen 'min_species_observations=2'",
            id="rare",
        ),
        pytest.param(
            [("S1", "a", "species", "Traveling", "1")],
            {"min_checklist_species": 2},
            "loosen 'min_checklist_species=2'",
            id="short",
        ),
        pytest.param([], {}, "loosen 'all that was read'", id="no rows at all"),
    ],
)
def test_filters_that_leave_nothing_say_how_many_each_left(rows, settings_, message):
    with pytest.raises(ValueError, match=message):
        create_species_matrix(as_frame(rows), **settings_)


@pytest.mark.parametrize("name", ["min_species_observations", "min_checklist_species"])
@pytest.mark.parametrize("value", [-1, float("nan")])
def test_a_bad_threshold_is_named(name, value):
    with pytest.raises(ValueError, match=f"{name}.*got {value}"):
        create_species_matrix(as_frame([("S1", "a", "", "", "")]), **{name: value})


def test_missing_columns_of_the_data_are_named():
    data = pd.DataFrame({CHECKLIST: ["S1"], NAME: ["a"]})
    with pytest.raises(ValueError, match="protocols=Traveling, Stationary needs the column OBSERVATION TYPE or"):
        create_species_matrix(data)
    with pytest.raises(ValueError, match="complete_only=True needs the column ALL SPECIES REPORTED"):
        create_species_matrix(data.assign(**{"PROTOCOL TYPE": "Traveling"}))
    with pytest.raises(ValueError, match=rf"lacks \['{NAME}'\]"):
        create_species_matrix(data[[CHECKLIST]], apply_quality_filters=False)


def expected_column(path, name):
    """What splitting every line at its tabs gives."""
    header, *lines = [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]
    return [line[header.index(name)] or None for line in lines]


@pytest.mark.parametrize("release", ["current", "older"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_every_field_of_a_real_format_file_arrives(tmp_path, release, packed):
    plain = path = write_example_ebd(tmp_path / "kerala.txt", 80, release=release)
    if packed:
        path = tmp_path / "kerala.txt.gz"
        path.write_bytes(gzip.compress(plain.read_bytes()))
    data = load_ebird_data(path)
    protocol = "OBSERVATION TYPE" if release == "current" else "PROTOCOL TYPE"
    assert data.columns.tolist() == [protocol if name == "OBSERVATION TYPE" else name for name in DEFAULT]
    for name in data:
        assert data[name].astype(object).where(data[name].notna(), None).tolist() == expected_column(plain, name)
        assert data[name].cat.categories.is_monotonic_increasing
    create_species_matrix(data)


ODD_LINES = {
    "quote never closed": ('S1\tShikra\t9.5\t"Pair at\t', "S2\tShikra\t9.5\tend\t"),
    "quoted field": ('S1\tShikra\t9.5\t"Pair"\t', 'S2\tShikra\t9.5\t"\t'),
    "stray tabs in the first row": ("S1\tShikra\t9.5\ta\tb\tc\t", "S2\tShikra\t9.5\td\t"),
    "stray tabs in a later row": ("S1\tShikra\t9.5\ta\t", "S2\tShikra\t9.5\td\te\tf\tg\t"),
    "cut short after the needed fields": ("S1\tShikra\t9.5\ta\t", "S2\tShikra\t9.5"),
    "windows line ends": ("S1\tShikra\t9.5\ta\t\r", "S2\tShikra\t9.5\ta\t\r"),
    "a lone carriage return": ("S1\tShikra\t9.5\ta\rb\t", "S2\tShikra\t9.5\ta\t"),
    "a comment sign": ("S1\tShikra\t9.5\t#a\t", "S2\tShikra\t9.5\t# b\t"),
}


@pytest.mark.parametrize("lines", [pytest.param(lines, id=name) for name, lines in ODD_LINES.items()])
def test_odd_lines_lose_and_shift_nothing(tmp_path, lines):
    data = load_ebird_data(write_ebd(tmp_path / "e.txt", *lines), columns=["LATITUDE", CHECKLIST, NAME])
    assert data.to_numpy().tolist() == [[9.5, "S1", "Shikra"], [9.5, "S2", "Shikra"]]


def test_lines_that_are_no_utf8_are_read_as_latin_1_which_is_said_once(tmp_path, caplog):
    path = tmp_path / "e.txt"
    lines = [
        b"COMMON NAME\tSPECIES COMMENTS\t",
        b"a\tcaf\xe9\t",
        "b\tകൊക്ക്\t".encode(),
        b"c\tCa\xf1on\t",
        b"d\t\x81\t",
        b"",
    ]
    path.write_bytes(b"\n".join(lines))
    found = load_ebird_data(path, columns=["SPECIES COMMENTS"])["SPECIES COMMENTS"].tolist()
    assert found == ["café", "കൊക്ക്", "Cañon", "\x81"]
    (record,) = caplog.records
    assert "3 lines were read as Latin-1 (Windows-1252), the first as 'a\\tcafé\\t'" in record.message


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path):
    path = write_ebd(tmp_path / "e.txt", "S1\tShikra\t9.5\t\t", header="\ufeffA\tCOMMON NAME\tLATITUDE\tB\t")
    assert load_ebird_data(path, columns=["A"])["A"].tolist() == ["S1"]


@pytest.mark.parametrize("name", ["ebd [1].txt", "ebd*.txt", "ebd (1), കേരളം.txt", "ebd"])
def test_the_name_of_the_file_is_no_pattern(tmp_path, name):
    write_ebd(tmp_path / "ebd1.txt", "S1\tother\t\t\t")
    data = load_ebird_data(write_ebd(tmp_path / name, "S1\tShikra\t\t\t"), columns=[NAME])
    assert data[NAME].tolist() == ["Shikra"]


def test_names_in_any_script_arrive(tmp_path):
    path = write_ebd(tmp_path / "e.txt", "S1\tകൊക്ക്\t9.5\t\t", "S2\tNA\t9.5\t\t")
    assert load_ebird_data(path, columns=[NAME])[NAME].tolist() == ["കൊക്ക്", "NA"]


def test_columns_are_exactly_those_asked_for_and_numbers_are_numbers(tmp_path):
    path = write_example_ebd(tmp_path / "e.txt", 20)
    data = load_ebird_data(path, columns=["LATITUDE", "LOCALITY", "EFFORT DISTANCE KM", "OBSERVATION COUNT"])
    assert data.columns.tolist() == ["LATITUDE", "LOCALITY", "EFFORT DISTANCE KM", "OBSERVATION COUNT"]
    kinds = [str(dtype) for dtype in data.dtypes]
    assert kinds == ["float64", "category", "float64", "category"]
    distances = [float(text or "nan") for text in expected_column(path, "EFFORT DISTANCE KM")]
    np.testing.assert_array_equal(data["EFFORT DISTANCE KM"], distances)


@pytest.mark.parametrize("nrows", [1, 7, 10**9])
@pytest.mark.parametrize("columns", [None, [NAME, CHECKLIST]])
def test_nrows_reads_the_first_rows(tmp_path, nrows, columns):
    path = write_example_ebd(tmp_path / "e.txt", 20)
    whole = load_ebird_data(path, columns=columns)
    part = load_ebird_data(path, nrows=nrows, columns=columns)
    assert part.astype(object).equals(whole[:nrows].astype(object))


ODD_PIECES = [
    b"S1",
    b"\xe0\xb4\x95",
    b"\xe9",
    b'"',
    b"'",
    b"#",
    b"\t",
    b"\t\t\t",
    b"\r",
    b"\r\n",
    b"\n",
    b"\n\n",
    b"9.5",
]


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from(ODD_PIECES), max_size=60).map(b"".join),
    st.integers(1, 40),
    st.none() | st.integers(1, 12),
    st.booleans(),
)
def test_the_size_of_the_blocks_changes_nothing(tmp_path_factory, text, block_bytes, nrows, packed):
    content = b"A\tLATITUDE\tC\t\nS1\t9.5\t\t\n" + text
    path = tmp_path_factory.mktemp("ebd") / "e.txt"
    path.write_bytes(gzip.compress(content) if packed else content)
    whole = load_ebird_data(path, nrows, ["C", "A", "LATITUDE"])
    with mock.patch("ignite_recipes.data.ebird_file.BLOCK_BYTES", block_bytes):
        pd.testing.assert_frame_equal(load_ebird_data(path, nrows, ["C", "A", "LATITUDE"]), whole)


def test_rows_after_those_asked_for_may_be_broken(tmp_path):
    path = tmp_path / "e.txt.gz"
    packed = gzip.compress(b"A\tB\t\n" + b"S1\tx\t\n" * 9)
    path.write_bytes(packed + gzip.compress(random.Random(0).randbytes(99_000))[:-9000])
    with mock.patch("ignite_recipes.data.ebird_file.BLOCK_BYTES", 20):
        assert load_ebird_data(path, nrows=5, columns=["A"])["A"].tolist() == ["S1"] * 5
        with pytest.raises(ValueError, match="to its end"):
            load_ebird_data(path, columns=["A"])


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of the memory from /proc")
def test_the_file_is_never_in_memory_as_a_whole(tmp_path):
    line = b"S1\tShikra\t" + b"x" * 99_980 + b"\t\n"
    plain, packed = tmp_path / "e.txt", tmp_path / "e.txt.gz"
    for path, write in ((plain, open), (packed, partial(gzip.open, compresslevel=1))):
        with write(path, "wb") as file:
            file.write(b"A\tCOMMON NAME\tC\t\n")
            for _ in range(150):  # MB
                file.write(line * 10)
    code = """
import re, sys, pandas, polars
from ignite_recipes.data import load_ebird_data
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024  # MiB
before = peak()
for path in sys.argv[1:]:
    assert len(load_ebird_data(path, columns=["COMMON NAME"])) == 1500
print(peak() - before)
"""
    command = [sys.executable, "-c", code, str(plain), str(packed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MiB


def test_two_reads_beside_each_other_do_not_mix_their_categories(tmp_path):
    one = load_ebird_data(write_ebd(tmp_path / "1", "S1\tb\t\t\t"), columns=[NAME])
    other = load_ebird_data(write_ebd(tmp_path / "2", "S1\tc\t\t\t", "S1\ta\t\t\t"), columns=[NAME])
    assert one[NAME].cat.categories.tolist() == ["b"]
    assert other[NAME].cat.categories.tolist() == ["a", "c"]
    assert other[NAME].tolist() == ["c", "a"]


def test_a_column_without_any_value_is_missing_throughout(tmp_path):
    data = load_ebird_data(write_ebd(tmp_path / "e.txt", "S1\tb\t\t\t"), columns=["SPECIES COMMENTS", "LATITUDE"])
    assert data.isna().to_numpy().tolist() == [[True, True]]


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=re.escape(str(tmp_path / "no.txt"))):
        load_ebird_data(tmp_path / "no.txt")


HEADER = "\t".join(DEFAULT).encode()
BAD_FILES = {
    "empty": (b"", "is empty"),
    "blank line": (b"\n\n", "is empty"),
    "header only": (HEADER + b"\t\n", "at least one row"),
    "separated by bars": (HEADER.replace(b"\t", b"|") + b"\nS1", f"must be an eBird file of sightings.*{CHECKLIST}"),
    "no identifiers": (b"COMMON NAME\tCATEGORY\t\nShikra\tspecies\t\n", "got the columns 'COMMON NAME', 'CATEGORY'"),
    "a zip that was cut": (b"PK\x03\x04" + bytes(range(256)) * 3, "must be a whole .zip; it was cut"),
    "a 7z archive": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "7z archive: unpack it"),
    "a RAR archive": (b"Rar!\x1a\x07" + bytes(99), "RAR archive: unpack it"),
    "UTF-16": ("\t".join(DEFAULT).encode("utf-16"), "save it as UTF-8"),
    "a broken gzip": (b"\x1f\x8b\x08\x00garbage", "readable"),
    "a gzip cut in its header": (gzip.compress(HEADER * 9)[:30], "readable"),
    "a gzip cut later": (gzip.compress(HEADER + b"\n" + random.Random(0).randbytes(99_000))[:-9000], "to its end"),
}


@pytest.mark.parametrize(("content", "message"), [pytest.param(*case, id=name) for name, case in BAD_FILES.items()])
def test_a_file_of_another_kind_is_a_value_error_that_names_it(tmp_path, content, message):
    path = tmp_path / "odd.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as caught:
        load_ebird_data(path)
    assert str(path) in str(caught.value)


def test_a_folder_without_text_files_is_a_value_error(tmp_path):
    with pytest.raises(ValueError, match="got no text files"):
        load_ebird_data(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"nrows": 0}, "nrows must be at least 1.*got 0"),
        ({"nrows": -5}, "got -5"),
        ({"columns": []}, "one or more column names"),
        ({"columns": NAME}, "list of one or more"),
        ({"columns": [NAME, "WINGSPAN"]}, r"lacks \['WINGSPAN'\]"),
    ],
    ids=str,
)
def test_bad_arguments_of_the_reader_say_what_must_hold(tmp_path, arguments, message):
    path = write_ebd(tmp_path / "e.txt", "S1\tShikra\t9.5\t\t")
    with pytest.raises(ValueError, match=message):
        load_ebird_data(path, **arguments)


def test_global_random_generators_are_untouched(tmp_path):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    create_species_matrix(load_ebird_data(write_example_ebd(tmp_path / "e.txt", 20)))
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


def test_importing_the_data_package_loads_neither_pandas_nor_polars_nor_sklearn():
    code = "import sys, ignite_recipes.data; print({'pandas', 'polars', 'sklearn', 'scipy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"

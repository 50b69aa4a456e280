"""The first line of a file says what kind it is, and how it is to be read."""

import pytest

from ignite_recipes.data.ebird_example import EBD_COLUMNS
from ignite_recipes.data.ebird_header import parse_header

EBD = "\t".join(EBD_COLUMNS) + "\t\n"
AUK = "checklist_id,common_name,observation_count"
MINE = "Submission ID,Common Name,Scientific Name,Count,State/Province,Date,Duration (Min)"


@pytest.mark.parametrize(
    ("line", "kind", "separator", "is_quoted", "missing"),
    [
        pytest.param(EBD, "sightings", "\t", False, None, id="EBD"),
        pytest.param("SAMPLING EVENT IDENTIFIER\tLATITUDE\t\r\n", "checklists", "\t", False, None, id="sampling"),
        pytest.param(AUK, "sightings", ",", True, "NA", id="auk, comma"),
        pytest.param(AUK.replace(",", "\t"), "sightings", "\t", True, "NA", id="auk, tab"),
        pytest.param(AUK.replace(",", ";"), "sightings", ";", True, "NA", id="auk, semicolon"),
        pytest.param('"","SAMPLING.EVENT.IDENTIFIER","COMMON.NAME"', "sightings", ",", True, "NA", id="R, row names"),
        pytest.param("checklist_id,scientific_name,species_observed", "sightings", ",", True, "NA", id="zerofill"),
        pytest.param("\ufeff" + MINE, "sightings", ",", True, None, id="MyEBirdData.csv"),
        pytest.param("gbifID\toccurrenceID\tscientificName", "gbif", "\t", False, None, id="GBIF"),
        pytest.param("a,b,c", "other", ",", True, None, id="another table"),
        pytest.param("COMMON NAME", "other", ",", True, None, id="one column"),
    ],
)
def test_kinds_of_files(line, kind, separator, is_quoted, missing):
    header = parse_header(line.encode())
    assert (header.kind, header.separator, header.is_quoted, header.missing) == (kind, separator, is_quoted, missing)
    assert len(header.names) == len(header.written)


@pytest.mark.parametrize("line", [b"", b"\n", b" \t \r\n", "a\tb".encode("utf-16"), b"a\0b"])
def test_what_is_no_line_of_names_is_refused(line):
    with pytest.raises(ValueError, match=r"it is empty|zero bytes"):
        parse_header(line)

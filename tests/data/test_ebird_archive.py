"""A download is read as it came: a file, an archive of eBird's or the folder that was in it, never unpacked to disk."""

import re
import zipfile
from unittest import mock

import pandas as pd
import pytest
from support.ebird_downloads import ARCHIVES, CHECKLIST, OTHERS, PACKINGS, download, sampling_text, write_tar, write_zip

from ignite_recipes.data import load_ebird_data, read_checklists, read_species_matrix, write_example_ebd
from ignite_recipes.data.ebird_archive import looks_like_ebird


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return write_example_ebd(tmp_path_factory.mktemp("plain") / "e.txt", 40)


@pytest.mark.parametrize("packing", PACKINGS)
def test_every_packing_holds_the_same_sightings(tmp_path, plain, packing):
    path = download(tmp_path, packing, plain.read_text(encoding="utf-8"))
    before = sorted(tmp_path.rglob("*"))
    with mock.patch("ignite_recipes.data.ebird_file.BLOCK_BYTES", 1000):
        found = load_ebird_data(path)
    pd.testing.assert_frame_equal(found, load_ebird_data(plain))
    assert sorted(tmp_path.rglob("*")) == before
    assert looks_like_ebird(path)


@pytest.mark.parametrize("packing", ARCHIVES)
def test_sampling_events_in_the_same_archive_are_found(tmp_path, plain, packing):
    text = plain.read_text(encoding="utf-8")
    empty = {CHECKLIST: "S999999999", "OBSERVATION TYPE": "Stationary", "ALL SPECIES REPORTED": "1"}
    path = download(tmp_path, packing, text, sampling_text(plain, empty))
    made = read_species_matrix(path)
    alone = read_species_matrix(plain)
    assert made.matrix[CHECKLIST].tolist() == [*alone.matrix[CHECKLIST], "S999999999"]
    assert made.matrix.iloc[-1, 1:].sum() == 0
    assert made.checklists.index[-1] == "S999999999"
    pd.testing.assert_frame_equal(read_checklists(path, alone.matrix[CHECKLIST]), alone.checklists)


HEADER = "SAMPLING EVENT IDENTIFIER\tCOMMON NAME\n"
EVENTS = "SAMPLING EVENT IDENTIFIER\tLATITUDE\n"
GBIF = "gbifID\tdatasetKey\toccurrenceID\tbasisOfRecord\tscientificName\n1\tx\tURN:1\tHUMAN_OBSERVATION\tCorvus\n"
BAD = {
    "two files of sightings": ({"a.txt": HEADER, "b.txt": HEADER}, "must hold one file.*got 'a.txt', 'b.txt': unpack"),
    "sampling events only": ({"a_sampling.txt": EVENTS}, "without their sightings: .* pass this file as sampling="),
    "nothing of eBird": (OTHERS, "must hold an eBird file of sightings.*got 'BCRCodes.txt'"),
    "no text": ({"a.pdf": "%PDF"}, "got no text files"),
    "GBIF": ({"occurrence.txt": GBIF, "meta.xml": "<a/>"}, "download of GBIF.*https://ebird.org/data/download"),
    "a header only": ({"a.txt": HEADER}, r"\(a.txt\) must hold at least one row"),
    "empty files": ({"a.txt": "", "b.csv": "\n"}, "got no text files"),
}


@pytest.mark.parametrize("write", [write_zip, write_tar])
@pytest.mark.parametrize(("files", "message"), [pytest.param(*case, id=name) for name, case in BAD.items()])
def test_an_archive_of_another_kind_is_a_value_error_that_says_what_to_do(tmp_path, files, message, write):
    path = write(tmp_path / "d.tar", files)
    with pytest.raises(ValueError, match=message) as caught:
        load_ebird_data(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [(GBIF, "download of GBIF"), (GBIF.replace("\t", ","), "download of GBIF"), (EVENTS + "S1\t1\n", "pass this file")],
    ids=["tabs", "commas", "events"],
)
def test_a_file_without_sightings_gets_an_answer(tmp_path, text, message):
    path = tmp_path / "d.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_ebird_data(path)
    with pytest.raises(ValueError, match=message):
        read_species_matrix(path)


def test_a_damaged_member_is_a_value_error_that_names_it(tmp_path, plain):
    path = download(tmp_path, "zip", plain.read_text(encoding="utf-8"))
    with zipfile.ZipFile(path) as archive:
        start = archive.infolist()[0].header_offset
    content = bytearray(path.read_bytes())
    content[start + 3000 : start + 3100] = bytes(100)
    path.write_bytes(bytes(content))
    with pytest.raises(
        ValueError, match=re.escape(f"{path} (ebd_IN-KL_smp_relOct-2025.txt) cannot be read to its end")
    ):
        load_ebird_data(path)


@pytest.mark.parametrize("packing", ["zip", "tar", "tar.gz", "gz", "bz2", "xz"])
@pytest.mark.parametrize("part", [0.05, 0.5, 0.8])
def test_a_download_that_was_cut_is_a_value_error_in_one_line(tmp_path, plain, packing, part):
    path = download(tmp_path, packing, plain.read_text(encoding="utf-8"))
    content = path.read_bytes()
    path.write_bytes(content[: int(part * len(content))])
    with pytest.raises(ValueError, match="download") as caught:
        load_ebird_data(path)
    assert "\n" not in str(caught.value)


def test_other_files_are_not_taken_for_ebird(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert not looks_like_ebird(tmp_path / "t.csv")
    assert not looks_like_ebird(tmp_path / "missing.zip")
    assert not looks_like_ebird(write_zip(tmp_path / "d.zip", {"a.txt": "x\n"}))

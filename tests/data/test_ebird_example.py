"""The example file has the format of a real release, and checklists with a structure to learn."""

import random
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from ignite_recipes.data import create_species_matrix, load_ebird_data, write_example_ebd
from ignite_recipes.data.ebird_example import EBD_COLUMNS
from ignite_recipes.data.kerala_birds import BIRDS, HABITATS, PLACES

CHECKLIST, GROUP = "SAMPLING EVENT IDENTIFIER", "GROUP IDENTIFIER"


@pytest.fixture(scope="module")
def example(tmp_path_factory):
    return write_example_ebd(tmp_path_factory.mktemp("ebd") / "kerala.txt", 1000)


@pytest.fixture(scope="module")
def sightings(example):
    columns = [name for name in EBD_COLUMNS if not name.endswith("COMMENTS")]
    return load_ebird_data(example, columns=columns)


def test_header_is_that_of_a_current_release(example):
    lines = example.read_text(encoding="utf-8").split("\n")
    assert lines[0].split("\t") == [*EBD_COLUMNS, ""]
    assert len(EBD_COLUMNS) == len(set(EBD_COLUMNS)) == 52
    assert lines[-1] == ""


def test_lines_end_in_a_tab_and_some_have_stray_ones(example):
    _, *lines, _ = example.read_text(encoding="utf-8").split("\n")
    widths = Counter(line.count("\t") for line in lines)
    assert all(line.endswith("\t") for line in lines)
    assert min(widths) == 52
    assert widths[52] > 0.8 * len(lines)
    assert sum(widths[width] for width in widths if width > 52) > 10
    assert any('"' in line for line in lines)
    assert any("'s" in line for line in lines)


def test_older_release_has_the_protocol_type(tmp_path):
    header = write_example_ebd(tmp_path / "e.txt", 3, release="older").read_text(encoding="utf-8").split("\n")[0]
    assert "PROTOCOL TYPE" in header
    assert "OBSERVATION TYPE" not in header


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 60), st.integers(0, 2**32))
def test_file_is_a_function_of_size_and_seed(tmp_path_factory, num_checklists, seed):
    folder = tmp_path_factory.mktemp("ebd")
    one, two = (write_example_ebd(folder / name, num_checklists, seed=seed) for name in "12")
    assert one.read_bytes() == two.read_bytes()
    assert load_ebird_data(one)[CHECKLIST].nunique() == num_checklists


def test_another_seed_gives_another_file(tmp_path):
    one, two = (write_example_ebd(tmp_path / str(seed), 5, seed=seed) for seed in (0, 1))
    assert one.read_bytes() != two.read_bytes()


def test_everything_that_real_files_mix_in_is_there(sightings):
    assert set(sightings["CATEGORY"]) == {"species", "issf", "spuh", "slash", "hybrid", "domestic"}
    assert set(sightings["OBSERVATION TYPE"]) == {"Traveling", "Stationary", "Incidental", "Historical"}
    assert set(sightings["ALL SPECIES REPORTED"]) == {"0", "1"}
    assert "X" in set(sightings["OBSERVATION COUNT"])
    assert sightings["GLOBAL UNIQUE IDENTIFIER"].is_unique


def test_facts_of_a_checklist_are_the_same_on_all_its_rows(sightings):
    facts = ["LOCALITY", "OBSERVATION DATE", "OBSERVATION TYPE", "DURATION MINUTES", GROUP, "OBSERVER ID"]
    per_checklist = sightings[facts].astype(object).groupby(sightings[CHECKLIST].astype(str))
    assert (per_checklist.nunique() <= 1).all(axis=None)


def test_shared_checklists_are_two_or_three_and_nearly_the_same(sightings):
    species = sightings[sightings["CATEGORY"] == "species"]
    lists = species.groupby([species[GROUP].astype(object), species[CHECKLIST].astype(object)])["COMMON NAME"].agg(set)
    groups = [lists[group] for group in lists.index.levels[0]]
    assert {len(group) for group in groups} == {2, 3}
    overlap = [len(a & b) / len(a | b) for a, b, *_ in groups]
    assert np.mean(overlap) > 0.7
    assert min(overlap) < 1


def habitat_of(sightings, checklists):
    locality = sightings.drop_duplicates(CHECKLIST).set_index(CHECKLIST)["LOCALITY"].astype(object)
    return locality.loc[checklists].str.rsplit("--", n=1).str[-1].to_numpy()


def test_habitat_is_in_the_locality_and_can_be_learnt_from_the_species(sightings):
    matrix, species = create_species_matrix(sightings, min_species_observations=10)
    habitat = habitat_of(sightings, matrix[CHECKLIST])
    assert set(habitat) == set(HABITATS)
    accuracy = cross_val_score(LogisticRegression(max_iter=300), matrix[species].to_numpy(), habitat, cv=3)
    assert accuracy.mean() > 0.9


def test_longer_checklists_hold_more_species(sightings):
    matrix, species = create_species_matrix(sightings)
    minutes = sightings.drop_duplicates(CHECKLIST).set_index(CHECKLIST)["DURATION MINUTES"]
    minutes = minutes.loc[matrix[CHECKLIST]].to_numpy()
    assert np.corrcoef(np.log(minutes), matrix[species].to_numpy().sum(axis=1))[0, 1] > 0.4


def test_winter_visitors_are_away_in_summer(sightings):
    months = sightings["OBSERVATION DATE"].astype(str).str[5:7].astype(int)
    visitors = sightings["COMMON NAME"].isin([bird.common_name for bird in BIRDS if bird.winter])
    is_winter = months.isin([10, 11, 12, 1, 2, 3])
    assert visitors[is_winter].mean() > 5 * visitors[~is_winter].mean()


def test_birds_and_places_are_named_once_and_live_in_known_habitats():
    assert len({bird.common_name for bird in BIRDS}) == len({bird.scientific_name for bird in BIRDS}) == len(BIRDS)
    assert {habitat for bird in BIRDS for habitat in bird.habitats.split()} == set(HABITATS)
    assert {place.habitat for place in PLACES} == set(HABITATS)
    assert all(0 < bird.found_per_hour < 1 for bird in BIRDS)


def test_missing_folders_are_made_and_only_the_file_is_left(tmp_path):
    path = write_example_ebd(tmp_path / "a" / "b" / "e.txt", 2)
    assert [file.name for file in path.parent.iterdir()] == ["e.txt"]


def test_a_failed_writing_keeps_the_earlier_file(tmp_path, monkeypatch):
    path = write_example_ebd(tmp_path / "e.txt", 2)
    before = path.read_bytes()
    monkeypatch.setattr("ignite_recipes.data.ebird_example.OTHER_TAXA", None)
    with pytest.raises(TypeError):
        write_example_ebd(path, 3)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["e.txt"]


def test_global_random_generators_are_untouched(tmp_path):
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    write_example_ebd(tmp_path / "e.txt", 5)
    assert random.getstate() == states[0]
    assert np.random.get_state()[1].tolist() == states[1]
    assert torch.equal(torch.get_rng_state(), states[2])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"num_checklists": 0}, "at least 1; got 0"), ({"release": "newest"}, "'current' or 'older'; got 'newest'")],
    ids=["no checklists", "unknown release"],
)
def test_bad_arguments_write_nothing(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        write_example_ebd(tmp_path / "e.txt", **arguments)
    assert not list(tmp_path.iterdir())

"""The page on reading eBird: its example runs, and it names every filter."""

import re
from pathlib import Path

import pytest

from ignite_recipes.data import BEST_PRACTICES, ChecklistFilters

PAGE = (Path(__file__).parents[2] / "docs" / "birds.rst").read_text(encoding="utf-8")


def test_the_example_makes_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"\.\. code-block:: python\n\n((?:   .*\n|\n)+)", PAGE)
    made = {}
    exec(re.sub("^   ", "", block, flags=re.MULTILINE), made)
    assert made["matrix"].shape == (len(made["checklists"]), len(made["species"]) + 1)
    assert set(made["checklists"]["date"].dt.month) == {12, 1, 2}
    for name in made["checklists"]:
        assert f"``{name}``" in PAGE
    assert made["steps"]["checklists"].iloc[-1] == len(made["matrix"])


@pytest.mark.parametrize("name", ChecklistFilters.__dataclass_fields__)
def test_every_filter_has_its_place(name):
    assert f"``{name}" in PAGE.partition("Filters\n-------")[2] or name == "complete_only"


def test_the_figures_of_the_best_practices_are_those_of_the_code():
    text = " ".join(PAGE.split())
    hours, most = BEST_PRACTICES["max_duration_minutes"] / 60, BEST_PRACTICES
    km, speed, people = most["max_distance_km"], most["max_speed_km_per_hour"], most["max_observers"]
    assert f"at most {hours:g} hours, {km:g} km, {speed:g} km/h and {people} observers" in text

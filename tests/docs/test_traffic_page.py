"""The examples of the page on traffic give what it says."""

import doctest
from pathlib import Path

import pytest
import torch

from ignite_recipes import getDefaultModelParams

PAGE = Path(__file__).parents[2] / "docs" / "traffic.rst"


def test_the_examples_give_what_the_page_says(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert failed == 0
    assert tried > 20
    assert not list(tmp_path.iterdir())


def test_every_documented_setting_is_in_the_table():
    text = PAGE.read_text().split("What each setting does")[1]
    parameters = getDefaultModelParams(10, 5, [torch.empty(1, 1, 1)])
    sizes = {"input_size", "output_size", "num_classes", "hidden_size", "num_layers", "len_source", "len_target"}
    ours = {"num_epochs", "fits_path", "calibrate_flags"}  # said above the table, or by its name
    for name in parameters.keys() - sizes - ours:
        assert f"``{name}``" in text or (name.startswith("lambda_") and "``lambda_...``" in text)


pytestmark = pytest.mark.filterwarnings("ignore:.*outside")

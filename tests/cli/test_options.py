"""What users type: a flag without a value, names of other programs, a typing error."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonargparse import ArgumentError

from ignite_recipes import DatasetRegistry
from ignite_recipes.cli import classify, main, predict, supervised, traffic, vae
from ignite_recipes.cli.answers_to_options import ANSWERS
from ignite_recipes.cli.options import parse_settings

COMMANDS = {"vae": vae, "supervised": supervised, "traffic": traffic, "classify": classify}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_is_true_or_false_needs_no_value(command):
    parser = COMMANDS[command].parser
    assert parse_settings(parser(), [])["deterministic"] is False
    assert parse_settings(parser(), ["--deterministic"])["deterministic"] is True
    settings = parse_settings(parser(), ["--compile", "--deterministic", "--epochs", "3"])
    assert (settings["compile"], settings["deterministic"], settings["epochs"]) == (True, True, 3)
    settings = parse_settings(parser(), ["--compile", "reduce-overhead", "--deterministic=false"])
    assert (settings["compile"], settings["deterministic"]) == ("reduce-overhead", False)


WORDS = [["exp1"], ["new.csv"], ["--device", "cpu"], ["--output=p.csv"], ["--json"]]


@given(st.permutations(WORDS[1:]), st.integers(0, 4))
def test_a_file_is_taken_wherever_it_stands(words, place):
    words.insert(place, WORDS[0])
    if words.index(["new.csv"]) < place:
        words = [["exp1"] if word == ["new.csv"] else ["new.csv"] if word == ["exp1"] else word for word in words]
    settings = parse_settings(predict.parser(), [*(word for part in words for word in part), "--id", "a", "b"])
    assert (settings["experiment"], Path(settings["file"]).name) == ("exp1", "new.csv")
    assert (settings["device"], settings["output"], settings["id"]) == ("cpu", "p.csv", ["a", "b"])


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ANSWERS)
def test_an_option_of_another_program_is_answered_with_what_this_command_has(option, command):
    parser = COMMANDS[command].parser()
    known = {word for action in parser._actions for word in action.option_strings}
    if option in known:
        parse_settings(parser, [option, "1"])
        return
    with pytest.raises(ArgumentError) as told:
        parse_settings(parser, [option, "x"])
    word, _, answer = told.value.message.partition(" is not an option here: ")
    assert word == option
    named = re.findall(r"--[a-z-]+", answer)
    assert set(named) <= known
    assert named or "in Python" in answer or "in Python" in answer or answer.endswith(" FILE")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("option", ["--wibble", "--wibble=3", "--xx_yy"])
def test_an_option_without_a_near_one_is_answered_with_where_they_are_listed(capsys, option, command):
    assert main([command, option]) == 2
    name = option.partition("=")[0].replace("_", "-")
    assert capsys.readouterr().err == (
        f"ignite-recipes: {name} is not an option here: ignite-recipes {command} --help lists all options\n"
    )


@pytest.mark.usefixtures("in_an_empty_folder", "registries")
def test_the_folder_of_the_data_is_for_data_sets_that_are_read_from_one(capsys):
    assert main(["classify", "--data-root", "here"]) == 2
    assert "'digits' takes no root" in capsys.readouterr().err
    asked = {}

    @DatasetRegistry.register("kept elsewhere")
    def kept_elsewhere(root="data", seed=0):
        asked["root"] = root
        raise TypeError("not yet")

    assert main(["classify", "--dataset", "kept elsewhere", "--data-root", "here"]) == 2
    assert asked == {"root": str(Path("here").resolve())}


def test_a_typing_error_is_answered_with_the_nearest_option(capsys):
    assert main(["vae", "--learning-rat", "0.1"]) == 2
    assert capsys.readouterr().err == (
        "ignite-recipes: --learning-rat is not an option here: did you mean --learning-rate?\n"
    )


def test_a_mistake_in_a_value_keeps_its_own_words(capsys):
    assert main(["vae", "--epochs", "three"]) == 2
    assert "three" in capsys.readouterr().err

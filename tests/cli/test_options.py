"""What users type: a flag without a value, names of other programs, a typing error."""

import pytest
from jsonargparse import ArgumentError

from ignite_recipes.cli import classify, main, supervised, traffic, vae
from ignite_recipes.cli.options import ANSWERS, parse_settings

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


@pytest.mark.parametrize("option", ANSWERS)
def test_an_option_of_another_program_is_answered(option):
    with pytest.raises(ArgumentError, match=f"{option} is not an option here: .{{10}}"):
        parse_settings(classify.parser(), [option, "x"])


def test_a_typing_error_is_answered_with_the_nearest_option(capsys):
    assert main(["vae", "--learning-rat", "0.1"]) == 2
    assert capsys.readouterr().err == (
        "ignite-recipes: --learning-rat is not an option here: did you mean --learning-rate?\n"
    )


def test_a_mistake_in_a_value_keeps_its_own_words(capsys):
    assert main(["vae", "--epochs", "three"]) == 2
    assert "three" in capsys.readouterr().err

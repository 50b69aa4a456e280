"""The error for an option that a command does not have, or for its value: it names the option to use here."""

import re
from collections.abc import Sequence
from difflib import get_close_matches

from jsonargparse import ArgumentError, ArgumentParser

__all__ = ["ANSWERS", "RENAMED", "with_answer"]

RENAMED = {"num_epochs": "epochs", "early_stop_patience": "patience"}
"""The same setting has one name in every command, whatever the documents call it."""

_FILE = "FILE"  # the argument that is not an option

ANSWERS: dict[str, Sequence[str]] = {
    **{f"--{name.replace('_', '-')}": [f"--{option}"] for name, option in RENAMED.items()},
    **dict.fromkeys(["--amp", "--fp16", "--mixed-precision"], ("--use-mixed-precision", "--precision float16")),
    **dict.fromkeys(["--cuda", "--gpu"], ("--device cuda",)),
    **dict.fromkeys(["--clip", "--grad-clip", "--gradient-clip"], ("--gradient-clip", "--max-grad-norm")),
    **dict.fromkeys(["--checkpoint-dir", "--log-dir", "--out", "--output-dir", "--save-dir"], ("--runs-dir",)),
    "--bf16": ["--precision bfloat16"],
    "--checkpoint": ["--resume"],
    "--cpu": ["--device cpu"],
    "--data-dir": ["--data-root", _FILE, "the data come with a dependency; use your own data in Python, see README"],
    "--data-root": [_FILE, "the data come with a dependency; use your own data in Python, see README"],
    "--lr": ["--learning-rate"],
    "--max-epochs": ["--epochs"],
    "--no-cuda": ["--device cpu"],
    "--optimizer": [
        "vae, supervised and traffic train with Adam, classify with AdamW; in Python create_trainer and Trainer take "
        "any optimizer, see README"
    ],
    "--save-frequency": ["--save-every"],
    "--scheduler": [
        "--scheduler-type",
        "--use-scheduler",
        "vae trains with one learning rate, classify with a one-cycle schedule; in Python LearningRateScheduler "
        "attaches any other, see README",
    ],
    "--wd": ["--weight-decay"],
}
"""The options of other programs, and those to use here: the first one that the command has, or a text."""


def with_answer(parser: ArgumentParser, words: Sequence[str], error: ArgumentError) -> ArgumentError:
    """The error of an unknown option, with the option to use here, or the nearest one."""
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    for word in (word.partition("=")[0] for word in words):
        if word.startswith("--") and word not in known:
            return ArgumentError(None, f"{word} is not an option here: {_answer(parser, known, word)}")
        if f"-{word}" in known:
            return ArgumentError(None, f"{word} is not an option here: did you mean -{word}?")
    if (match := _OF_A_FILE.fullmatch(error.message or "")) is not None:
        answer = _answer(parser, known, f"--{match[1].replace('_', '-')}")
        return ArgumentError(None, f"{match[1]} in --config is not a setting here: {answer}")
    message = " ".join((error.message or "").split())
    for pattern, also in ((_OF_A_VALUE, ""), (_OF_A_VALUE_OR_NONE, " or none")):
        if (match := pattern.fullmatch(message)) is not None:
            name, kind, got = match.groups()
            return ArgumentError(
                None, f"--{name.replace('_', '-')} must be {_KINDS.get(kind, kind)}{also}; got {got!r}"
            )
    return error


_OF_A_FILE = re.compile(r"Option '(\w+)' is not accepted")
_OF_A_VALUE = re.compile(r'Parser key "(\w+)": Expected a <class \'(int|float|bool)\'>. Got value: (.*)')
_OF_A_VALUE_OR_NONE = re.compile(
    r'Parser key "(\w+)": Does not validate against any of the Union subtypes Subtypes: \[[^\]]*\] Errors: '
    r"- Expected a <class '(int|float|bool)'> - Expected a <class 'NoneType'> Given value type: .* Given value: (.*)"
)
_KINDS = {"int": "a whole number", "float": "a finite number", "bool": "true or false"}


def _answer(parser: ArgumentParser, known: Sequence[str], word: str) -> str:
    takes_file = any(action.dest == "file" and not action.option_strings for action in parser._actions)
    for answer in ANSWERS.get(word, ()):
        if answer == _FILE and takes_file:
            return f"name the file itself, {parser.prog} FILE"
        if answer.split()[0] in known:
            return f"use {answer}"
        if not answer.startswith("--") and answer != _FILE:
            return answer
    for action in parser._actions:
        if word in action.option_strings[1:]:  # what another command calls it: that is for the command line
            return f"use {action.dest}"
    near = get_close_matches(word, [option for option in known if option not in ("--help", "--config")], n=1)
    return f"did you mean {near[0]}?" if near else f"{parser.prog} --help lists all options"

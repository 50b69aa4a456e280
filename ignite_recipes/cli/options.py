"""Command-line options made from signatures and docstrings, so that they cannot go stale."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle, parse
from jsonargparse import (  # type: ignore[attr-defined]
    ActionConfigFile,
    ArgumentError,
    ArgumentParser,
    get_loader,
    set_loader,
)

from ignite_recipes.arguments import as_text

__all__ = [
    "add_options",
    "add_print_options",
    "new_parser",
    "option_names",
    "parameter_texts",
    "parse_settings",
    "speak_of_options",
]

RENAMED = {"num_epochs": "epochs", "early_stop_patience": "patience"}
"""The same setting has one name in every command, whatever the documents call it."""

ALSO = {
    "gradient_clip": "--max-grad-norm",
    "max_grad_norm": "--gradient-clip",
    "hidden_size": "--hidden-dimension",
    "hidden_dimension": "--hidden-size",
    "time_column": "--time",
    "time": "--time-column",
}
"""What the same setting is called in other commands, whose names are documented: every command knows both."""

_PATHS = ("file", "module", "data_root", "output", "picture", "runs_dir", "resume", "fork", "experiment", "dataset")
_RESOLVED = ("file", "module", "data_root")  # which a resume from another folder must find
_FILE = "FILE"  # the argument that is no option

ANSWERS: dict[str, Sequence[str]] = {
    **{f"--{name.replace('_', '-')}": [f"--{option}"] for name, option in RENAMED.items()},
    **dict.fromkeys(["--amp", "--fp16", "--mixed-precision"], ("--use-mixed-precision", "--precision float16")),
    **dict.fromkeys(["--cuda", "--gpu"], ("--device cuda",)),
    **dict.fromkeys(["--clip", "--grad-clip", "--gradient-clip"], ("--gradient-clip", "--max-grad-norm")),
    **dict.fromkeys(["--checkpoint-dir", "--log-dir", "--out", "--output-dir", "--save-dir"], ("--runs-dir",)),
    "--bf16": ["--precision bfloat16"],
    "--checkpoint": ["--resume"],
    "--cpu": ["--device cpu"],
    "--data-dir": ["--data-root", _FILE, "the data come with a dependency; your own are for Python, see README"],
    "--data-root": [_FILE, "the data come with a dependency; your own are for Python, see README"],
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
"""What users of other programs type, and what stands for it here: the first option that the command has, or a text."""


def new_parser(command: str, description: str) -> ArgumentParser:
    """A parser that raises instead of leaving, with ``--config``."""
    from yaml import YAMLError

    set_loader(_SETTINGS, _load_settings, exceptions=(YAMLError,))
    parser = ArgumentParser(
        prog=f"ignite-recipes {command}",
        description=description,
        exit_on_error=False,
        allow_abbrev=False,
        print_config=None,
        parser_mode=_SETTINGS,
    )
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file of settings, named as the options")
    add_print_options(parser)
    return parser


def add_print_options(parser: ArgumentParser) -> None:
    """For the help of a command: both are read before its parser, wherever they stand."""
    parser.add_argument("--json", action="store_true", help="print one JSON document, and all else on standard error")
    parser.add_argument("--quiet", action="store_true", help="print no progress: the result, warnings and errors only")


_SETTINGS = "settings"  # YAML in which none is a word for null


def _load_settings(text: str) -> Any:
    loaded = get_loader("yaml")(text)
    if isinstance(loaded, dict):
        return {name: None if value in _NONE else value for name, value in loaded.items()}
    return None if loaded in _NONE else loaded


_NONE = ("none", "None")


def add_options(parser: ArgumentParser, function: Callable[..., Any], names: Sequence[str]) -> None:
    """Add options for parameters of ``function``: type and default of its signature, help of its docstring.

    Args:
        parser: gets them, as ``--learning-rate`` for ``learning_rate``; some have a name of the command's own.
        function: a public function or class.
        names: of the parameters.
    """
    signature = inspect.signature(function)
    known = vars(sys.modules[function.__module__])
    texts = parameter_texts(function)
    for name in names:
        parameter = signature.parameters[name]
        kind = parameter.annotation
        if isinstance(kind, str):  # evaluated one by one: others name what is imported for type checkers only
            kind = eval(kind, known)
        parser.add_argument(*option_names(name), type=kind, default=parameter.default, help=texts[name])


def parameter_texts(documented: Any) -> dict[str, str]:
    """What the docstring of a function or a class says of each of its parameters or attributes."""
    texts: dict[str, str] = {}
    for item in parse(inspect.getdoc(documented) or "", DocstringStyle.GOOGLE).params:
        text = " ".join((item.description or "").split()).replace("``", "").replace("%", "%%")
        texts.update(dict.fromkeys(item.arg_name.split(", "), text))
    return texts


def option_names(name: str) -> list[str]:
    """What the option for a parameter is called: its own name first.

    >>> option_names("gradient_clip")
    ['--gradient-clip', '--max-grad-norm']
    """
    name = RENAMED.get(name, name)
    return ["--" + name.replace("_", "-"), *([ALSO[name]] if name in ALSO else [])]


def speak_of_options(message: str) -> str:
    """An error of the library, with a setting called as the command calls it."""
    for name, option in RENAMED.items():
        message = message.replace(name, option)
    return message


def parse_settings(
    parser: ArgumentParser, argv: Sequence[str], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that the arguments and their ``--config`` file make, over ``defaults``."""
    parser.set_defaults(dict(defaults or {}))
    words = _with_values(parser, [_with_hyphens(word) for word in _with_home(argv)])
    try:
        settings = parser.parse_args(words).as_dict()
    except ArgumentError as error:
        raise _with_answer(parser, words, error) from error
    for name in ("config", "json", "quiet"):
        settings.pop(name)
    for name in _PATHS:
        if settings.get(name):
            settings[name] = os.path.expanduser(settings[name])
    for name in settings.keys() - set(_PATHS):
        settings[name] = _text(settings[name])
    for name in _RESOLVED:
        if settings.get(name) is not None:
            settings[name] = str(Path(settings[name]).resolve())
    return settings


def _text(value: Any) -> Any:
    if isinstance(value, list):
        return [_text(item) for item in value]
    return as_text(value) if isinstance(value, str) else value


def _with_home(words: Sequence[str]) -> list[str]:
    """``--config ~/settings.yaml`` with the home folder, since the file is read while the others are parsed."""
    expanded = []
    for last, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        if name == "--config" and equals:
            expanded.append(f"--config={os.path.expanduser(value)}")
        else:
            expanded.append(os.path.expanduser(word) if last == "--config" else word)
    return expanded


def _with_values(parser: ArgumentParser, words: list[str]) -> list[str]:
    """``--deterministic`` as ``--deterministic=true``: an option that may be true or false needs no value."""
    flags = {
        option
        for action in parser._actions
        for option in action.option_strings
        if "bool" in str(getattr(action, "_typehint", "")) and action.nargs != 0
    }
    following = [*words[1:], "--"]
    return [
        f"{word}=true" if word in flags and after.startswith("-") else word
        for word, after in zip(words, following, strict=False)
    ]


def _with_answer(parser: ArgumentParser, words: Sequence[str], error: ArgumentError) -> ArgumentError:
    """The error of an unknown option, with what stands for it here, or the nearest option."""
    known = [option for action in parser._actions for option in action.option_strings if option.startswith("--")]
    for word in (word.partition("=")[0] for word in words):
        if word.startswith("--") and word not in known:
            return ArgumentError(None, f"{word} is not an option here: {_answer(parser, known, word)}")
        if f"-{word}" in known:
            return ArgumentError(None, f"{word} is not an option here: did you mean -{word}?")
    if (match := _OF_A_FILE.fullmatch(error.message or "")) is not None:
        answer = _answer(parser, known, f"--{match[1].replace('_', '-')}")
        return ArgumentError(None, f"{match[1]} in --config is not a setting here: {answer}")
    if (match := _OF_A_VALUE.fullmatch(" ".join((error.message or "").split()))) is not None:
        name, kind, got = match.groups()
        return ArgumentError(None, f"--{name.replace('_', '-')} must be {_KINDS.get(kind, kind)}; got {got!r}")
    return error


_OF_A_FILE = re.compile(r"Option '(\w+)' is not accepted")
_OF_A_VALUE = re.compile(r'Parser key "(\w+)": Expected a <class \'(int|float|bool)\'>. Got value: (.*)')
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
    return f"did you mean {near[0]}?" if near else f"{parser.prog} --help lists those there are"


def _with_hyphens(word: str) -> str:
    """``--learning_rate`` as ``--learning-rate``: settings are named both ways, in files and on the command line."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word

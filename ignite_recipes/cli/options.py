"""Command-line options made from signatures and docstrings, so that they cannot go stale."""

import inspect
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from docstring_parser import DocstringStyle, parse
from jsonargparse import ActionConfigFile, ArgumentError, ArgumentParser  # type: ignore[attr-defined]

__all__ = ["add_options", "new_parser", "parameter_texts", "parse_settings", "speak_of_options"]

ANSWERS = {
    "--data-root": "--root of classify is the folder of the data sets, by default data",
    "--mixed-precision": "--precision bfloat16 or --precision float16",
    "--optimizer": "the commands train with Adam or AdamW; another one is a few lines of Python, see README",
    "--save-frequency": "--save-every",
    "--scheduler": "supervised has --scheduler-type; classify trains with a one-cycle schedule",
}
"""What users of other programs type, and what stands for it here."""

RENAMED = {"num_epochs": "epochs", "early_stop_patience": "patience"}
"""The same setting has one name in every command, whatever the documents call it."""


def new_parser(command: str, description: str) -> ArgumentParser:
    """A parser that raises instead of leaving, with ``--config``."""
    program = f"ignite-recipes {command}"
    parser = ArgumentParser(prog=program, description=description, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile, help="a YAML file of settings, named as the options")
    return parser


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
        parser.add_argument(_option(name), type=kind, default=parameter.default, help=texts[name])


def parameter_texts(documented: Any) -> dict[str, str]:
    """What the docstring of a function or a class says of each of its parameters or attributes."""
    texts: dict[str, str] = {}
    for item in parse(inspect.getdoc(documented) or "", DocstringStyle.GOOGLE).params:
        text = " ".join((item.description or "").split()).replace("``", "").replace("%", "%%")
        texts.update(dict.fromkeys(item.arg_name.split(", "), text))
    return texts


def _option(name: str) -> str:
    return "--" + RENAMED.get(name, name).replace("_", "-")


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
    words = _with_values(parser, [_with_hyphens(word) for word in argv])
    try:
        settings = parser.parse_args(words).as_dict()
    except ArgumentError as error:
        raise _with_answer(parser, words, error) from error
    settings.pop("config")
    for name in ("resume", "fork"):  # as the last line of a run names them: runs/exp5
        if os.sep in (settings.get(name) or "") and Path(settings[name]).is_dir():
            settings["runs_dir"], settings[name] = os.path.split(settings[name].rstrip(os.sep))
    for name in ("file", "module", "root"):
        if settings.get(name) is not None:
            settings[name] = str(Path(settings[name]).resolve())
    return settings


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
            near = get_close_matches(word, known, n=1)
            answer = ANSWERS.get(word) or (f"did you mean {near[0]}?" if near else "")
            if answer:
                return ArgumentError(None, f"{word} is not an option here: {answer}")
    return error


def _with_hyphens(word: str) -> str:
    """``--learning_rate`` as ``--learning-rate``: settings are named both ways, in files and on the command line."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word

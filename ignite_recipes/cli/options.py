"""Command-line options made from signatures and docstrings, so that they cannot go stale."""

import inspect
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
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
from ignite_recipes.cli.answers_to_options import RENAMED, with_answer
from ignite_recipes.cli.config_files import in_config_files, without_config_files

__all__ = [
    "add_module",
    "add_options",
    "add_runs_dir",
    "new_parser",
    "option_names",
    "parameter_texts",
    "parse_settings",
    "speak_of_options",
]

ALSO = {
    "gradient_clip": "--max-grad-norm",
    "max_grad_norm": "--gradient-clip",
    "hidden_size": "--hidden-dimension",
    "hidden_dimension": "--hidden-size",
    "time_column": "--time",
    "time": "--time-column",
}
"""What the same setting is called in other commands, whose names are documented: every command knows both."""

_RESOLVED = ("file", "module", "data_root", "sampling")  # which a resume from another folder must find
_PATHS = (*_RESOLVED, "output", "picture", "runs_dir", "resume", "fork", "experiment", "dataset")


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
    parser.add_argument(
        "--config", action=ActionConfigFile, help="a YAML file of settings, with the names of the options"
    )
    # For the help: both are read before the parser, wherever they stand.
    parser.add_argument(
        "--json", action="store_true", help="print one JSON document, and everything else on standard error"
    )
    parser.add_argument("--quiet", action="store_true", help="print no progress: the result, warnings and errors only")
    return parser


def add_runs_dir(parser: ArgumentParser) -> None:
    """Where a command looks for experiments, or makes them."""
    parser.add_argument("--runs-dir", type=str, default="runs", help="the folder of the experiments")


def add_module(parser: ArgumentParser) -> None:
    """What a command imports first."""
    parser.add_argument(
        "--module", type=str | None, help="a Python file that registers your own data set or model; it is run first"
    )


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
        names: the names of the parameters.
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
    return re.sub(r"pass (\w+)='(\w+)'", lambda found: f"pass --{found[1].replace('_', '-')} {found[2]}", message)


_REPEATABLE = ("--sweep+", "--search+")
"""As the parser calls options that add to a list."""


def parse_settings(
    parser: ArgumentParser, argv: Sequence[str], defaults: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The settings that the arguments and their ``--config`` file make, over ``defaults``."""
    parser.set_defaults(dict(defaults or {}))
    words = _with_values(parser, [_with_hyphens(word) for word in _with_home(argv)])
    words = [_repeatable(word) for word in words]
    words = _files_first(parser, words)
    try:
        settings = parser.parse_args(words).as_dict()
    except ArgumentError as error:
        given = [word.replace("+", "", 1) if word.startswith(_REPEATABLE) else word for word in words]
        raise with_answer(parser, given, error) from error
    if "file" in settings and (named := in_config_files(argv, "file")) is not None:
        # The parser takes it from the --config file if that comes later, and else from its place only.
        settings["file"] = parser.parse_args(without_config_files(words)).file or named
    _check_lists(parser, settings)
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


def _check_lists(parser: ArgumentParser, settings: Mapping[str, Any]) -> None:
    """Refuse a file that an option with several words has taken for one of them: ``predict exp1 --id name new.csv``.

    Raises:
        ValueError: that says where the file must stand.
    """
    if settings.get("file", "") is not None:
        return
    for action in parser._actions:
        words = settings.get(action.dest) if action.nargs == "*" else None
        if words and Path(words[-1]).expanduser().is_file():
            option, file = action.option_strings[0], words[-1]
            raise ValueError(f"{option} takes all words after it, also the file {file}: name the file before {option}")


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


def _files_first(parser: ArgumentParser, words: Sequence[str]) -> list[str]:
    """``exp1 --device cpu new.csv`` as ``exp1 new.csv --device cpu``, which argparse does not take as it stands."""
    counts = {option: action.nargs for action in parser._actions for option in action.option_strings}
    first, others, taken = list[str](), list[str](), 0
    for k, word in enumerate(words):
        if word == "--":
            return [*first, *others, *words[k:]]
        if word.startswith("-") and len(word) > 1:
            count = counts.get(word, 0 if "=" in word else None)
            taken = len(words) if count == "*" else 1 if count is None else int(count)
        elif not taken:
            first.append(word)
            continue
        else:
            taken -= 1
        others.append(word)
    return first + others


def _repeatable(word: str) -> str:
    """``--sweep a=1 --sweep b=2`` adds to a list, which the parser calls ``--sweep+``; so does ``--search``."""
    name, equals, value = word.partition("=")
    return f"{name}+{equals}{value}" if f"{name}+" in _REPEATABLE else word


def _with_hyphens(word: str) -> str:
    """``--learning_rate`` as ``--learning-rate``: settings are named both ways, in files and on the command line."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if name.startswith("--") else word

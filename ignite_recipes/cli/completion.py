"""``ignite-recipes completion bash|zsh``: a script that lets the shell complete commands, options and experiments."""

from argparse import SUPPRESS
from collections.abc import Mapping, Sequence

from jsonargparse import ArgumentParser

from ignite_recipes.cli.options import new_parser, parse_settings
from ignite_recipes.cli.result import Result

__all__ = ["HELP", "main", "parser"]

HELP = 'let the shell complete commands and options: eval "$(ignite-recipes completion bash)"'

_BASH = """\
_ignite_recipes() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words=
    if [ "$COMP_CWORD" -eq 1 ]; then
        words="{commands}"
    elif [[ $word == -* ]]; then
        case ${{COMP_WORDS[1]}} in
{cases}
        esac
    elif [ "$COMP_CWORD" -eq 2 ] || [[ ${{COMP_WORDS[COMP_CWORD-1]}} == --resume || \
${{COMP_WORDS[COMP_CWORD-1]}} == --fork || ${{COMP_WORDS[1]}} == compare ]]; then
        words=$(ls runs 2>/dev/null)
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -o default -F _ignite_recipes ignite-recipes"""

_ZSH = """\
#compdef ignite-recipes
_ignite_recipes() {{
    if (( CURRENT == 2 )); then
        compadd -- {commands}
    elif [[ $words[CURRENT] == -* ]]; then
        case $words[2] in
{cases}
        esac
    else
        compadd -- runs/*(/N:t)
        _files
    fi
}}
compdef _ignite_recipes ignite-recipes"""

_SHELLS = {"bash": (_BASH, '            {}) words="{}" ;;'), "zsh": (_ZSH, "            {}) compadd -- {} ;;")}


def parser() -> ArgumentParser:
    """The command's options."""
    options = new_parser(
        "completion",
        "Print a script that lets the shell complete commands, options and the names of experiments. For bash add the "
        'line eval "$(ignite-recipes completion bash)" to ~/.bashrc; for zsh the same with zsh to ~/.zshrc, after '
        "compinit.",
    )
    options.add_argument("shell", type=str, help=" or ".join(_SHELLS))
    return options


def main(argv: Sequence[str]) -> Result:
    """The script.

    Raises:
        ValueError: for another shell.
    """
    from ignite_recipes.cli import _COMMANDS  # this command is one of them

    shell = parse_settings(parser(), argv)["shell"]
    if shell not in _SHELLS:
        raise ValueError(f"completion must be of {' or '.join(_SHELLS)}; got {shell!r}")
    script = _script(shell, {name: _options(command.parser()) for name, command in _COMMANDS.items()})
    return Result(script, {"shell": shell, "script": script})


def _script(shell: str, options: Mapping[str, Sequence[str]]) -> str:
    text, case = _SHELLS[shell]
    cases = "\n".join(case.format(name, " ".join(words)) for name, words in options.items())
    return text.format(commands=" ".join(options), cases=cases)


def _options(parser: ArgumentParser) -> list[str]:
    """The options of a command that its help shows."""
    shown = [action for action in parser._actions if action.help != SUPPRESS or "--help" in action.option_strings]
    options = [option for action in shown for option in action.option_strings]
    return sorted(option for option in options if option.startswith("--") and not option.endswith("+"))

"""Where a command prints: to scripts or to people, on any code page, and for as long as somebody listens."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, NamedTuple, TextIO, cast

from ignite_recipes.arguments import as_text

__all__ = ["PrintOptions", "print_options", "printing"]


class PrintOptions(NamedTuple):
    """What the words of a command line say about printing.

    Attributes:
        json: one JSON document on standard output, all else on standard error.
        quiet: no progress: the result, warnings and errors only.
    """

    json: bool
    quiet: bool


def print_options(argv: list[str]) -> tuple[PrintOptions, list[str]]:
    """Those of the arguments that are about printing, and the others; every command has them.

    >>> options, others = print_options(["vae", "--json", "--epochs", "3"])
    >>> options.json, options.quiet, others
    (True, False, ['vae', '--epochs', '3'])
    """
    others = [word for word in argv if word not in ("--json", "--quiet")]
    if {"-h", "--help"} & set(argv):  # help was asked for, and is for people
        return PrintOptions(json=False, quiet=False), others
    return PrintOptions(json="--json" in argv, quiet="--quiet" in argv), others


@contextlib.contextmanager
def printing(options: PrintOptions) -> Iterator[TextIO]:
    """Let the block print as the options say; gives the stream of the result.

    A character that the code page lacks is written as its number, and when the reader of a pipe has gone, what is
    printed goes nowhere: neither ends a run.
    """
    out = _Stream(sys.stdout or _Nowhere(), shows_bars=True)  # None where it was closed
    err = _Stream(sys.stderr or _Nowhere(), shows_bars=not options.quiet)
    progress = _Nowhere() if options.quiet else err if options.json else out
    with contextlib.redirect_stderr(cast("TextIO", err)), contextlib.redirect_stdout(cast("TextIO", progress)):
        try:
            yield cast("TextIO", out)
        finally:
            out.flush()
            err.flush()


class _Nowhere(io.TextIOBase):
    """Takes all and keeps nothing."""

    encoding = "utf-8"  # as that of any file

    def write(self, text: str) -> int:
        return len(text)


class _Stream:
    """Another stream, on which printing cannot fail for a missing character or a missing reader.

    Args:
        stream: that is written to.
        shows_bars: whether what draws in a terminal may know that it is one.
    """

    def __init__(self, stream: Any, *, shows_bars: bool) -> None:
        self._stream, self._shows_bars = stream, shows_bars
        with contextlib.suppress(AttributeError, ValueError):  # one that a test or a notebook has put there
            stream.reconfigure(errors="backslashreplace")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def isatty(self) -> bool:
        return self._shows_bars and bool(self._stream.isatty())

    def write(self, text: str) -> int:
        try:
            self._stream.write(as_text(text))
        except BrokenPipeError:
            self._let_go()
        return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        """Lead the stream nowhere, also what it still holds and would write when the program ends."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

"""Text that is not UTF-8 throughout, as older programs write it."""

from ignite_recipes.optional import polars as pl

__all__ = ["as_utf8"]


def as_utf8(block: bytes) -> tuple[bytes, list[bytes]]:
    r"""Whole lines as UTF-8, and those that were not.

    A line that is not UTF-8 is taken as Windows-1252, of which Latin-1 is a part; the others stay as they are, so that
    one bad line does not garble a file. Text in Latin-1 that happens to be valid UTF-8 does not occur: it would need
    pairs such as "Ã©".

    >>> text, lines = as_utf8(b"Canyon\nCa\xf1on\n")
    >>> text.decode(), lines
    ('Canyon\nCañon\n', [b'Ca\xf1on'])
    """
    if _is_all_utf8(block):
        return block, []
    lines = block.split(b"\n")
    others = [number for number, line in enumerate(lines) if not _is_utf8(line)]
    found = [lines[number] for number in others]
    for number in others:
        lines[number] = _from_windows(lines[number]).encode()
    return b"\n".join(lines), found


def _is_all_utf8(block: bytes) -> bool:
    """Whether a large block is: by polars, which takes an eighth of the time of Python, and holds no lock."""
    try:
        pl.Series([block], dtype=pl.Binary).cast(pl.String)
    except pl.exceptions.ComputeError:
        return False
    return True


def _is_utf8(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _from_windows(line: bytes) -> str:
    try:
        return line.decode("cp1252")
    except UnicodeDecodeError:  # five bytes have no meaning there
        return line.decode("latin-1")

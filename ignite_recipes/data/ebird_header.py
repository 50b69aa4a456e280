"""The first line of an eBird file: which columns it has, how they are separated, and what kind of file it is."""

import codecs
import csv
import re
from typing import Literal, NamedTuple

from ignite_recipes.data.ebird_columns import CHECKLIST, SCIENTIFIC, SPECIES, ebd_names

__all__ = ["Header", "Kind", "parse_header"]

Kind = Literal["sightings", "checklists", "gbif", "other"]

_GBIF = {"gbifid", "occurrenceid", "basisofrecord", "datasetkey"}  # Darwin Core; two of them tell it
_OF_R = re.compile(r"[A-Za-z]+(?:[_.]+[A-Za-z]+)+[_.]*")  # auk writes common_name, R's own reader COMMON.NAME


class Header(NamedTuple):
    """What the first line says."""

    names: list[str]
    """The columns in their order, as the eBird Basic Dataset calls them."""
    written: list[str]
    """The same as the file calls them."""
    separator: str
    """A tab, as eBird has it, or a comma or semicolon."""
    is_quoted: bool
    """Whether fields may stand in quotes; in eBird's own tab-separated files a quote is a part of the text."""
    missing: str | None
    """The marks of a missing value, in addition to an empty field: NA in files that R wrote."""
    kind: Kind
    """Rows of sightings, rows of checklists (sampling events), a download of GBIF, or none of these."""


def parse_header(line: bytes) -> Header:
    """What the first line of a file says.

    Raises:
        ValueError: if it is not a line of text with names.
    """
    if line.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in line:
        raise ValueError("it must be UTF-8 or Latin-1 text; got zero bytes, as UTF-16 has them: save it as UTF-8")
    text = line.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace").rstrip("\r\n")
    if not text.strip():
        raise ValueError("it must begin with a line of column names; it is empty: download it again")
    separator = "\t" if "\t" in text else max(",;", key=text.count)
    written = next(csv.reader([text], delimiter=separator)) if '"' in text else text.split(separator)
    is_of_r = sum(bool(_OF_R.fullmatch(name)) for name in written) >= 2
    names = ebd_names(written)
    return Header(
        names, written, separator, separator != "\t" or '"' in text or is_of_r, "NA" if is_of_r else None,
        _kind(names, written),
    )  # fmt: skip


def _kind(names: list[str], written: list[str]) -> Kind:
    if len(_GBIF & {name.lower() for name in written}) >= 2:
        return "gbif"
    if CHECKLIST not in names:
        return "other"
    return "sightings" if SPECIES in names or SCIENTIFIC in names else "checklists"

"""Find the text files of eBird in what people download: a file, an archive, or the folder that was in it."""

import bz2
import contextlib
import gzip
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, NamedTuple, cast

from ignite_recipes.arguments import listed
from ignite_recipes.data.ebird_header import Header, Kind, parse_header

__all__ = ["UNREADABLE", "EbirdFile", "find_ebird_file", "is_of_sampling_events", "looks_like_ebird"]

UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError, NotImplementedError)
"""What reading raises from a file that is broken, of another kind, or packed in a way that Python does not know."""

MAX_HEADER_BYTES = 65_536  # a header is some 900 bytes long; a file of another kind may have no line ends
_PACKED: dict[bytes, Callable[[Any], Any]] = {  # by their first bytes
    b"\x1f\x8b": partial(gzip.GzipFile, None, "rb", 9),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\x00": lzma.LZMAFile,
}
_FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
_TEXT = (".txt", ".tsv", ".csv")
_WORDS: dict[Kind, str] = {
    "sightings": "sightings, one per row with the columns SAMPLING EVENT IDENTIFIER and COMMON NAME",
    "checklists": "sampling events, one checklist per row",
}
_GBIF = (
    "{0} is a download of GBIF, which lacks what tells absences: the checklists, their effort and whether all species "
    "were reported. Ask for the eBird Basic Dataset itself at https://ebird.org/data/download and read its .zip"
)
_CHECKLISTS_ONLY = (
    "{0} holds sampling events, checklists without their sightings: read the eBird Basic Dataset, and pass this file "
    "as sampling="
)


class EbirdFile(NamedTuple):
    """A text file of eBird's, which may be a part of an archive."""

    path: Path
    member: str | None  # of the archive or folder
    header: Header

    def __str__(self) -> str:
        return str(self.path) if self.member is None else f"{self.path} ({self.member})"

    def open(self) -> "contextlib.AbstractContextManager[BinaryIO]":
        """Its bytes from the start, unpacked while they are read."""
        return _opened(self.path, self.member)


def find_ebird_file(path: Path, kind: Kind | None = "sightings") -> EbirdFile:
    """The file of this kind: the path itself, plain or compressed, or one in a .zip, a .tar or a folder.

    None is of any kind, if it is the path itself; in an archive it is sightings.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        ValueError: if it cannot be read, or holds no such file, or several.
    """
    if not path.exists():
        raise FileNotFoundError(f"there is no eBird file {path}; check the path, or write_example_ebd makes one")
    files = _readable(path)
    if kind is None and files and files[0].member is None:
        return files[0]
    kind = kind or "sightings"
    found = [file for file in files if file.header.kind == kind]
    if len(found) == 1:
        return found[0]
    if found:
        several = listed(file.member for file in found)
        raise ValueError(f"{path} must hold one file of {_WORDS[kind]}; got {several}: unpack it, and read one of them")
    kinds = {file.header.kind for file in files}
    if "gbif" in kinds:
        raise ValueError(_GBIF.format(path))
    if "checklists" in kinds:
        raise ValueError(_CHECKLISTS_ONLY.format(path))
    if len(files) == 1 and files[0].member is None:
        names = [name for name in files[0].header.written if name]
        raise ValueError(f"{path} must be an eBird file of {_WORDS[kind]}; got the columns {listed(names)}")
    inside = listed(file.member for file in files) or "no text files"
    raise ValueError(f"{path} must hold an eBird file of {_WORDS[kind]}; got {inside}: download it again")


def is_of_sampling_events(path: Path) -> bool:
    """Whether a file is one of sampling events, or a download holds one in addition to that of sightings."""
    return path.exists() and any(file.header.kind == "checklists" for file in _readable(path))


def looks_like_ebird(path: Path) -> bool:
    """Whether it holds sightings of eBird, or of GBIF: told by the first line of a file, or of those in an archive.

    A matrix with identifiers of checklists and a column for each species, as a model is given, is none.
    """
    try:
        return path.exists() and any(file.header.kind in ("sightings", "gbif") for file in _readable(path))
    except ValueError:
        return False


def _readable(path: Path) -> list[EbirdFile]:
    """The text files with their headers; of an archive those only that have one."""
    try:
        members = _members(path)
        if members is None:
            return [EbirdFile(path, None, _read_header(path, None))]
        files = []
        for member in members:
            with contextlib.suppress(ValueError):  # e.g. an empty file; terms and citations have headers of no kind
                files.append(EbirdFile(path, member, _read_header(path, member)))
        return files
    except (*UNREADABLE, RuntimeError) as error:  # RuntimeError is what zipfile has for a password
        raise ValueError(
            f"{path} must be a readable text file, plain or compressed, or a .zip or .tar of such; got {error!r}: "
            "unpack it by hand, or download it again"
        ) from error


def _read_header(path: Path, member: str | None) -> Header:
    with _opened(path, member) as file:
        line = file.readline(MAX_HEADER_BYTES)
    if member is None and line.startswith(b"PK"):
        raise ValueError(f"{path} must be a whole .zip; it was cut: download it again, or unpack it by hand")
    name = next((name for start, name in _FOREIGN.items() if line.startswith(start)), None)
    if name is not None:
        raise ValueError(f"{path} must be a text file, a .zip or a .tar; got a {name} archive: unpack it")
    try:
        return parse_header(line)
    except ValueError as error:
        raise ValueError(f"{path} must be an eBird file: {error}") from error


def _is_archive(path: Path) -> bool:
    try:
        return zipfile.is_zipfile(path) or tarfile.is_tarfile(path)
    except UNREADABLE:
        return False


def _members(path: Path) -> list[str] | None:
    """The names of the text files in an archive or a folder; None of a single file."""
    if path.is_dir():
        names = [file.name for file in sorted(path.iterdir()) if file.is_file()]
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
    elif _is_archive(path):
        with tarfile.open(path) as tar:
            names = [info.name for info in tar if info.isfile()]
    else:
        return None
    return [name for name in names if _is_text(PurePosixPath(name))]


def _is_text(name: PurePosixPath) -> bool:
    """Whether a file may be one of eBird's; those that macOS and editors leave there begin with a dot."""
    is_hidden = name.name.startswith(".") or "__MACOSX" in name.parts
    stem = name.with_suffix("") if name.suffix.lower() in (".gz", ".bz2", ".xz") else name
    return not is_hidden and stem.suffix.lower() in _TEXT


@contextlib.contextmanager
def _opened(path: Path, member: str | None) -> Iterator[BinaryIO]:
    """The bytes of a file or a member, unpacked; only what is read at the time is in memory."""
    with _stored(path, member) as file:
        start = file.read(6)
    unpack = next((unpack for magic, unpack in _PACKED.items() if start.startswith(magic)), None)
    with _stored(path, member) as file:
        if unpack is None:
            yield file
        else:
            with unpack(file) as unpacked:
                yield unpacked


@contextlib.contextmanager
def _stored(path: Path, member: str | None) -> Iterator[BinaryIO]:
    """The bytes of a file or a member as they are stored there."""
    if member is None:
        with path.open("rb") as file:
            yield file
    elif path.is_dir():
        with (path / member).open("rb") as file:
            yield file
    elif zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive, archive.open(member) as packed:
            yield cast("BinaryIO", packed)
    else:
        with tarfile.open(path) as tar:
            extracted = tar.extractfile(member)
            assert extracted is not None
            with extracted:
                yield cast("BinaryIO", extracted)

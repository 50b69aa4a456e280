"""Downloads of eBird as they ship it, and as people unpack and convert them."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from pathlib import Path

CHECKLIST = "SAMPLING EVENT IDENTIFIER"
OF_CHECKLISTS = """LAST EDITED DATE|COUNTRY|COUNTRY CODE|STATE|STATE CODE|COUNTY|COUNTY CODE|IBA CODE|BCR CODE|
USFWS CODE|ATLAS BLOCK|LOCALITY|LOCALITY ID|LOCALITY TYPE|LATITUDE|LONGITUDE|OBSERVATION DATE|TIME OBSERVATIONS STARTED|
OBSERVER ID|OBSERVER ORCID ID|SAMPLING EVENT IDENTIFIER|OBSERVATION TYPE|PROTOCOL NAME|PROTOCOL CODE|PROJECT NAMES|
PROJECT IDENTIFIERS|DURATION MINUTES|EFFORT DISTANCE KM|EFFORT AREA HA|NUMBER OBSERVERS|ALL SPECIES REPORTED|
GROUP IDENTIFIER|CHECKLIST COMMENTS""".replace("\n", "").split("|")
"""The columns of a file of sampling events, in the order of a current release."""

OTHERS = {
    "BCRCodes.txt": "BCR CODE\tBCR NAME\n1\tAleutian/Bering Sea Islands\n",
    "IBACodes.txt": "IBA CODE\tIBA NAME\n",
    "USFWSCodes.txt": "USFWS CODE\tUSFWS NAME\n",
    "eBird_Basic_Dataset_Metadata_v1.16.pdf": "%PDF-1.4\n",
    "recommended_citation.txt": "eBird Basic Dataset. Version: EBD_relOct-2025. Cornell Lab of Ornithology, Ithaca.",
    "terms_of_use.txt": "Terms of use:\tnone of this is given away.\n\nSAMPLING EVENT IDENTIFIER\n",
}
"""What else lies in an archive."""


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a tab-separated file, without what stands beyond its header."""
    header, *lines = path.read_text(encoding="utf-8").splitlines()
    return [dict(zip(header.split("\t"), line.split("\t"), strict=False)) for line in lines]


def sampling_text(path: Path, *more: dict[str, str]) -> str:
    """The file of sampling events that belongs to a file of sightings, with more checklists, without a sighting."""
    rows = {row[CHECKLIST]: row for row in rows_of(path)} | {row[CHECKLIST]: row for row in more}
    lines = ["\t".join(row.get(name, "") for name in OF_CHECKLISTS) + "\t" for row in rows.values()]
    return "\n".join(["\t".join(OF_CHECKLISTS) + "\t", *lines, ""])


def csv_text(rows: list[dict[str, str]], names: dict[str, str], separator: str = ",", missing: str = "") -> str:
    """Rows as programs write CSV: with columns of other names, and quotes where they are needed."""
    lines = [separator.join(_quoted(name, separator) for name in names.values())]
    for row in rows:
        lines.append(separator.join(_quoted(row.get(name, "") or missing, separator) for name in names))
    return "\n".join([*lines, ""])


def _quoted(value: str, separator: str) -> str:
    needs = any(sign in value for sign in (separator, '"', "\n"))
    return '"' + value.replace('"', '""') + '"' if needs else value


def write_zip(path: Path, files: dict[str, bytes | str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes | str]) -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as archive:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def download(folder: Path, packing: str, text: str, sampling: str | None = None) -> Path:
    """One text of sightings, and perhaps one of sampling events, packed in one of the ways of ``PACKINGS``."""
    name = "ebd_IN-KL_smp_relOct-2025"
    if packing in PLAIN:
        path = folder / f"{name}.txt{PLAIN[packing][0]}"
        path.write_bytes(PLAIN[packing][1](text.encode()))
        return path
    inner = ".txt.gz" if packing.endswith("of gz") else ".txt"
    pack = gzip.compress if inner.endswith("gz") else bytes
    files: dict[str, bytes | str] = {f"{name}{inner}": pack(text.encode()), **OTHERS}
    if sampling is not None:
        files[f"{name}_sampling{inner}"] = pack(sampling.encode())
    if packing.startswith("folder"):
        path = folder / name
        path.mkdir()
        for file, content in files.items():
            (path / file).write_bytes(content.encode() if isinstance(content, str) else content)
        return path
    if packing == "zip of a folder":
        files = {f"{name}/{file}": content for file, content in files.items()} | {f"__MACOSX/{name}/._{name}.txt": "x"}
    if packing.startswith("zip"):
        return write_zip(folder / f"{name}.zip", files)
    return write_tar(folder / (f"{name}.tar.gz" if packing.startswith("tar.gz") else f"{name}.tar"), files)


PLAIN = {
    "text": ("", bytes),
    "gz": (".gz", gzip.compress),
    "bz2": (".bz2", bz2.compress),
    "xz": (".xz", lzma.compress),
}
ARCHIVES = ["zip", "zip of gz", "zip of a folder", "tar", "tar of gz", "tar.gz", "folder", "folder of gz"]
PACKINGS = [*PLAIN, *ARCHIVES]

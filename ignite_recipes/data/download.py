"""Fetch a file once, and believe it only by its hash."""

import hashlib
import os
import sys
import tempfile
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request

import torch

__all__ = ["DownloadError", "fetch"]


class DownloadError(OSError):
    """A file could not be fetched; the message says which, what happened and what to do."""


def fetch(url: str, path: str | os.PathLike[str], md5: str) -> None:
    """Fetch ``url`` to ``path``, unless there is a file already, which is then left as it is.

    The file is written aside and takes its name only when it is whole. Missing folders are made. A
    progress bar is shown where standard error is a terminal.

    Args:
        url: the url of the file.
        path: its name here.
        md5: hash of its bytes, in hexadecimal. It tells a damaged file, not a forged one.

    Raises:
        DownloadError: if the file cannot be had, or is another; nothing is left.
    """
    path = Path(path)
    if path.exists():
        return
    show_progress = sys.stderr is not None and sys.stderr.isatty()
    try:
        Request(url)  # refuses what is not an address, before the downloader leaves a file
        path.parent.mkdir(parents=True, exist_ok=True)
        # A folder of its own, as several processes may fetch at once; next to path, to be on the same disk.
        with tempfile.TemporaryDirectory(prefix=f"{path.name}.", dir=path.parent) as folder:
            part = Path(folder, path.name)
            torch.hub.download_url_to_file(url, str(part), progress=show_progress)
            _check(part, md5)
            part.replace(path)
    except (OSError, HTTPException, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DownloadError(f"could not fetch {url}: {reason}; try again, or put the file at {path} by hand") from error


def _check(part: Path, md5: str) -> None:
    got = hashlib.md5(part.read_bytes(), usedforsecurity=False).hexdigest()
    if got != md5:
        raise OSError(f"{part.stat().st_size} bytes came whose MD5 is {got}, not {md5}: cut short, or another file")

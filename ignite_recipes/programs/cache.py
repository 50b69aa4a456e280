"""Keep compiled programs in the user's cache folder: found by all that matters, and never trusted unseen."""

import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["ProgramCache", "cache_folder"]

logger = logging.getLogger(__name__)

_PROGRAM, _DIGEST = "program.pt2", "sha256"
_ABANDONED = 3600.0  # seconds after which a folder that was being written is the rest of a killed process


def cache_folder() -> Path:
    """Where programs are kept: ``IGNITE_RECIPES_CACHE``, or ``ignite_recipes`` in the user's cache folder."""
    if named := os.environ.get("IGNITE_RECIPES_CACHE"):
        return Path(named).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "~/AppData/Local")
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "ignite_recipes" / "programs"


class ProgramCache:
    """Files by key, each in a folder of its own that appears complete, with the digest of its content.

    An entry that is damaged, or belongs to another user, is made again. Several processes may use it at once: of two
    that make the same entry the second one's is thrown away. The entries that were used last are kept.

    Args:
        folder: the folder of the cache; None is :func:`cache_folder`.
        max_bytes: above which the oldest entries are removed.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     cache = ProgramCache(Path(folder) / "programs")
    ...     made = cache.get("key", lambda path: path.write_bytes(b"program"))
    ...     again = cache.get("key", lambda path: print("not called"))
    ...     made == again, made.read_bytes()
    (True, b'program')
    """

    def __init__(self, folder: Path | None = None, max_bytes: int = 2**30) -> None:
        self.folder, self.max_bytes = cache_folder() if folder is None else folder, max_bytes

    def find(self, key: str) -> Path | None:
        """The file of ``key``, if there is a sound one."""
        entry = self.folder / key
        path = entry / _PROGRAM
        try:
            is_sound = _is_own(entry) and _is_own(path) and _digest(path) == (entry / _DIGEST).read_text("ascii")
            if is_sound:
                os.utime(entry)  # used just now
        except (OSError, UnicodeDecodeError):
            is_sound = False
        if not is_sound and entry.exists():
            logger.warning("the cached program %s is damaged, or another user's: it is compiled again", entry)
            shutil.rmtree(entry, ignore_errors=True)
        return path if is_sound else None

    def get(self, key: str, make: Callable[[Path], object]) -> Path:
        """The file of ``key``; ``make(path)`` writes it if there is none.

        Where the cache's folder cannot be written, the file is in a temporary one.
        """
        if (path := self.find(key)) is not None:
            return path
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            making = Path(tempfile.mkdtemp(prefix=".making-", dir=self.folder))
        except OSError as error:
            logger.warning("compiled programs cannot be kept in %s: %s", self.folder, error)
            making = Path(tempfile.mkdtemp(prefix="ignite_recipes-"))
        path = making / _PROGRAM
        try:
            make(path)
            (making / _DIGEST).write_text(_digest(path), "ascii")
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        if making.parent != self.folder:
            return path
        try:
            making.rename(self.folder / key)
        except OSError:  # another process was faster
            if (other := self.find(key)) is not None:
                shutil.rmtree(making, ignore_errors=True)
                return other
            return path
        self._prune(but=key)
        return self.folder / key / _PROGRAM

    def _prune(self, but: str) -> None:
        """Remove what is too much, the entries first that were not used for longest, and what killed processes left."""
        entries, now = [], time.time()
        for entry in self.folder.iterdir():
            with suppress(OSError):
                used = entry.stat().st_mtime
                if entry.name.startswith("."):
                    if now - used > _ABANDONED:
                        shutil.rmtree(entry, ignore_errors=True)
                elif entry.name != but:
                    entries.append((used, sum(file.stat().st_size for file in entry.iterdir()), entry))
        left = self.max_bytes - sum(file.stat().st_size for file in (self.folder / but).iterdir())
        for _, size, entry in sorted(entries, reverse=True):
            left -= size
            if left < 0:
                shutil.rmtree(entry, ignore_errors=True)


def _is_own(path: Path) -> bool:
    """Whether it belongs to this user, where the system knows users; a link may lead to what does not."""
    if path.is_symlink():
        return False
    return not hasattr(os, "getuid") or path.stat().st_uid == os.getuid()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else _digest_of(file)


def _digest_of(file: object) -> str:
    digest = hashlib.sha256()
    for block in iter(lambda: file.read(2**20), b""):  # type: ignore[attr-defined]
        digest.update(block)
    return digest.hexdigest()

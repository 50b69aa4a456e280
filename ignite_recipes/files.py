"""Files that neither a crash nor another process can spoil: replaced at once or not at all, locked while in use."""

import errno
import logging
import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["flush_folder", "lock_file", "replace_file"]

logger = logging.getLogger(__name__)


def replace_file(path: str | os.PathLike[str], write: Callable[[IO[bytes]], object]) -> Path:
    """Write ``path`` so that it is at every moment either the old file or the new one, whole.

    The new file is written next to the old one, flushed to the disk, and only then renamed over it. Missing
    folders are made. What killed writes of the same file have left is removed; what another process
    is writing at the moment is not, and of two that write at once the last to finish wins.

    Args:
        path: the file to make or to replace; of a symbolic link the file it leads to. ``~`` is the user's home.
        write: writes the contents to the open file it is called with.

    Raises:
        OSError: if it cannot be written; what was there before is still there. So it is for whatever
            ``write`` raises.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     replace_file(f"{folder}/note.txt", lambda file: file.write(b"whole")).read_bytes()
    b'whole'
    """
    path = Path(path).expanduser()
    if path.is_symlink():
        path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    with _open_aside(path) as file:
        temporary = Path(file.name)
        try:
            write(file)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is None:
                file.close()  # Windows cannot rename an open file; elsewhere it stays locked until it has its name
            os.replace(temporary, path)
        except BaseException:
            with suppress(OSError):  # on a full disk what is still to be written fails again
                file.close()
            temporary.unlink(missing_ok=True)
            raise
    flush_folder(path.parent)
    return path


def flush_folder(folder: str | os.PathLike[str]) -> None:
    """Make a rename in ``folder`` survive a power cut, where the system can."""
    if not hasattr(os, "O_DIRECTORY"):
        return
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network file systems cannot
            raise
    finally:
        os.close(handle)


# A temporary file is locked for as long as it is written, and a lock dies with its process: so one that can be
# locked was left by a dead one. A process id would not tell: it may be in use again, or be another machine's or
# container's. An age would not either: a large file takes its time. It is flock's lock, which also tells apart
# two threads; that a forked child may keep it for a while only puts off the removal.


def _open_aside(path: Path) -> IO[bytes]:
    while True:
        file = open(path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp"), "xb")  # noqa: SIM115  # the caller's
        if _flock(file) is not False and os.path.exists(file.name):
            return file
        file.close()  # another process took it for a leftover before it was locked
        Path(file.name).unlink(missing_ok=True)


def _remove_leftovers(path: Path) -> None:
    leftover = re.compile(rf"\.{re.escape(path.name)}\.([0-9a-f]{{8}}\.)?tmp")
    for name in os.listdir(path.parent):
        if leftover.fullmatch(name):
            with suppress(OSError), open(path.parent / name, "r+b") as file:  # it may just have got its name
                if _flock(file):
                    os.unlink(file.name)


def _flock(file: IO[bytes]) -> bool | None:
    """Whether the file is now locked for this open file alone; None where there are no such locks."""
    if fcntl is None:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # some network file systems have none: leftovers stay
        return None
    return True


@dataclass
class _Hold:
    owner: object
    depth: int = 0


_held: dict[tuple[int, str], _Hold] = {}  # by process: a forked child inherits the entries, but not the locks


@contextmanager
def lock_file(path: str | os.PathLike[str], owner: object) -> Iterator[None]:
    """Hold ``path``, made if missing, for ``owner`` alone while the block runs and the process lives.

    It is a POSIX record lock, which belongs to the process: forked children do not inherit it, as they would
    the one of ``flock``, and keep it for as long as they outlive a killed parent. A record lock does not keep
    out its own process: for that there is a list of what is held. Windows has locks of its own, which child
    processes do not inherit either; where the system has none (some network folders) only that list remains.
    Inside the block the same owner may lock again.

    Raises:
        BlockingIOError: if another process holds it, or another owner in this one; its ``strerror`` is which
            process, e.g. ``"4711 on node7"``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder, lock_file(f"{folder}/lock", "first"):
    ...     with lock_file(f"{folder}/lock", "second"):
    ...         pass
    Traceback (most recent call last):
    ...
    BlockingIOError: [Errno ...] ... on ..., this one
    """
    key = (os.getpid(), os.path.realpath(path))
    hold = _held.setdefault(key, _Hold(owner))
    if hold.owner is not owner:
        raise BlockingIOError(errno.EAGAIN, f"{_this_process()}, this one")
    hold.depth += 1
    try:
        # Closing any handle of the file gives the lock up, so there is one only.
        with _process_lock(path) if hold.depth == 1 else nullcontext():
            yield
    finally:
        hold.depth -= 1
        if hold.depth == 0:
            _held.pop(key)


@contextmanager
def _process_lock(path: str | os.PathLike[str]) -> Iterator[None]:
    with open(path, "a+", encoding="utf-8") as file, ExitStack() as stack:
        try:
            if fcntl is not None:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            else:  # what is locked on Windows cannot be read by others, who are to read whose lock it is
                from filelock import FileLock

                stack.enter_context(FileLock(f"{os.fspath(path)}.held", timeout=0))
        except (BlockingIOError, PermissionError, TimeoutError):  # which of them depends on the system
            file.seek(0)
            raise BlockingIOError(errno.EAGAIN, file.read() or "that does not say which") from None
        except OSError as error:
            logger.warning("%s cannot be locked here (%s): only this process is kept out", os.fspath(path), error)
        file.seek(0)
        file.truncate()
        file.write(_this_process())
        file.flush()
        yield


def _this_process() -> str:
    return f"{os.getpid()} on {socket.gethostname()}"

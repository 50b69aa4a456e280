"""What a run was started with: the command, the data's hash, versions, and the commit; an entry for each start."""

import json
import logging
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from ignite_recipes._version import __version__
from ignite_recipes.data.tables import file_identity
from ignite_recipes.files import replace_file

__all__ = ["PROVENANCE", "note_start", "read_provenance"]

logger = logging.getLogger(__name__)

PROVENANCE = "provenance.json"
"""The file, in the experiment's folder."""

_PACKAGES = {"torch": "torch", "ignite": "pytorch-ignite", "numpy": "numpy", "scikit-learn": "scikit-learn"}
_GIT_SECONDS = 10
# Of the values of an entry; others are texts.
_KINDS: dict[str, type] = {"command": list, "git": dict, "versions": dict, "data": dict}


def note_start(
    folder: str | os.PathLike[str], command: Sequence[str], data_file: str | os.PathLike[str] | None = None
) -> None:
    """Add what is known of this start to the experiment's file.

    Args:
        folder: the folder of the experiment.
        command: the words of the command line.
        data_file: that is trained on; its contents are hashed.
    """
    entry = {
        "started_at": datetime.now().astimezone().isoformat(timespec="seconds"),
        "command": list(command),
        "working_directory": os.getcwd(),
        "git": _git_state(),
        "versions": _versions(),
        "data": None if data_file is None else {"path": os.fspath(data_file), **file_identity(data_file)},
    }
    text = json.dumps({"starts": [*_entries(folder), entry]}, indent=2)
    replace_file(Path(folder) / PROVENANCE, lambda file: file.write(text.encode()))


def read_provenance(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """The entries of an experiment, one a start, the first first; none where there is no such file.

    Another version or somebody's hand may have written them: what is not as :func:`note_start` writes it is left out.
    A damaged file counts as missing, with a warning: it does not stop a run.
    """
    return [
        {name: value for name, value in entry.items() if value is None or isinstance(value, _KINDS.get(name, str))}
        for entry in _entries(folder)
    ]


def _entries(folder: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """As they stand in the file."""
    path = Path(folder) / PROVENANCE
    try:
        starts = json.loads(path.read_text(encoding="utf-8"))["starts"]
        if not all(isinstance(entry, dict) for entry in starts):
            raise TypeError("its entries are none")
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError, RecursionError, OSError) as error:
        logger.warning("%s cannot be read (%s): what it held is not known", path, error)
        return []
    return list(starts)


def _versions() -> dict[str, str]:
    found = {"ignite-recipes": __version__, "python": platform.python_version(), "system": platform.platform()}
    for name, package in _PACKAGES.items():
        try:
            found[name] = version(package)
        except PackageNotFoundError:  # installed in a way of its own
            found[name] = str(getattr(sys.modules.get(name), "__version__", "unknown"))
    return found


def _git_state() -> dict[str, Any] | None:
    """The commit of the working directory, and whether files that git knows were changed; None outside of one."""
    commit = _git("rev-parse", "HEAD")
    changes = _git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "changed": bool(changes)}


def _git(*arguments: str) -> str | None:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, env=environment, check=False
        )
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

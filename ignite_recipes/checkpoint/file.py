"""Write and read a checkpoint so that no crash, and no file, can do harm.

It holds only tensors and plain values and is read with ``torch.load(weights_only=True)``: a file can be
damaged or hostile, but reading it runs no code.
"""

import enum
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn

from ignite_recipes.files import replace_file

__all__ = ["CheckpointError", "read_checkpoint", "write_checkpoint"]

_FOLDER = 0x10  # in the attributes of a zip file's entry, which no checksum covers


class CheckpointError(RuntimeError):
    """A file is not a sound checkpoint, or not one of this model; the message names the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "latest_checkpoint.pt")
    ...     _ = path.write_bytes(b"the first half of a fi")
    ...     try:
    ...         contents = read_checkpoint(path)
    ...     except CheckpointError as error:
    ...         print("start again:", error)
    start again: '...latest_checkpoint.pt' is not a sound checkpoint (File is not a zip file): it was cut short, ...
    """


def write_checkpoint(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write ``contents`` to ``path`` so that at every moment the file is either the old one or the new one.

    The new file is written next to the old one, flushed to the disk, and only then renamed over it
    (``replace_file``). Missing folders are made.

    Raises:
        TypeError: for a value that could not be read back safely, naming its place.
        OSError: if it cannot be written; an older file is then unchanged.

    >>> import tempfile
    >>> from torch import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     contents = {"model_state_dict": nn.Linear(2, 1).state_dict(), "note": "first"}
    ...     read_checkpoint(write_checkpoint(contents, f"{folder}/a.pt"))["note"]
    'first'
    >>> write_checkpoint({"model": nn.Linear(2, 1)}, "b.pt")
    Traceback (most recent call last):
    TypeError: checkpoint['model'] must be a tensor or a plain value (number, string, list, dict); got Linear: ...
    """
    plain = _plain(contents, "checkpoint")
    return replace_file(path, lambda file: _save(plain, file))


def _save(contents: Mapping[str, Any], file: IO[bytes]) -> None:
    """``torch.save``; an error of the disk reaches the caller, which torch would cover by one of its own."""
    try:
        torch.save(contents, file)
    except RuntimeError as error:
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise


_LEAVES = (str, bytes, bool, int, float, complex, type(None), Tensor, torch.Size, torch.dtype, torch.device)


def _plain(value: Any, place: str) -> Any:
    """The value with NumPy's scalars as Python's; what ``weights_only`` would refuse to read is refused now."""
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return _plain(value.item(), place)
    if isinstance(value, enum.Enum):
        return _plain(value.value, place)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Tensor) and type(value) not in (Tensor, nn.Parameter):
        return value.detach().as_subclass(Tensor)  # a subclass could be written, and would be refused when it is read
    if isinstance(value, _LEAVES):
        return value
    if isinstance(value, OrderedDict):  # of a module: torch keeps its version in an attribute
        entries = OrderedDict((key, _plain(item, f"{place}[{key!r}]")) for key, item in value.items())
        vars(entries).update(vars(value))
        return entries
    if isinstance(value, Mapping):
        return {_plain(key, place): _plain(item, f"{place}[{key!r}]") for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        kind = type(value) if type(value) in (list, tuple, set) else tuple
        return kind(_plain(item, f"{place}[{index}]") for index, item in enumerate(value))
    raise TypeError(
        f"{place} must be a tensor or a plain value (number, string, list, dict); got {type(value).__name__}: "
        "a checkpoint holds only what can be read back without running code. "
        "Convert it, an array for instance with torch.from_numpy"
    )


def read_checkpoint(path: str | os.PathLike[str], device: str | torch.device = "cpu") -> dict[str, Any]:
    """Read a checkpoint, checking that it is whole and running no code from it.

    A plain state dict, as ``torch.save(model.state_dict(), path)`` writes it, counts as one that holds weights only.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is cut short, damaged, not a checkpoint, or holds objects other than tensors
            and plain values.

    >>> import tempfile
    >>> from ignite_recipes import save_checkpoint
    >>> from torch import nn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(nn.Linear(2, 1), None, epoch=5, train_loss=0.7, val_loss=0.8, filepath=f"{folder}/model.pt")
    ...     contents = read_checkpoint(f"{folder}/model.pt")
    >>> contents["epoch"], contents["val_loss"], list(contents["model_state_dict"])
    (5, 0.8, ['weight', 'bias'])
    """
    path = Path(path).expanduser()
    if path.is_dir():
        inside = ", ".join(sorted(file.name for file in path.glob("*.pt"))) or "none"
        raise FileNotFoundError(f"{str(path)!r} is a folder; name one of the checkpoints in it: {inside}")
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not compare the checksums it writes
            # Of an entry that is marked as a folder torch reads nothing, and leaves the memory as it finds it.
            folders = [entry.filename for entry in archive.infolist() if entry.external_attr & _FOLDER]
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} has another checksum than when it was written")
        if folders:
            raise zipfile.BadZipFile(f"{folders[0]} is marked as a folder")
        contents = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} holds objects other than tensors and plain values; it was refused and nothing in it "
            "was run. Only load files of a source you trust, and convert them to a plain state_dict first"
        ) from error
    except Exception as error:  # what zipfile and torch raise for damaged files is not documented
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{str(path)!r} is not a sound checkpoint ({reason}): it was cut short, damaged, or is another kind "
            "of file. Use an older checkpoint"
        ) from error
    if isinstance(contents, dict) and contents and all(isinstance(value, Tensor) for value in contents.values()):
        return {"model_state_dict": contents}  # a plain state dict, as torch.save(model.state_dict(), path) writes it
    if not isinstance(contents, dict) or not isinstance(contents.get("model_state_dict"), Mapping):
        raise CheckpointError(
            f"{str(path)!r} is of another kind: it holds neither 'model_state_dict' nor a plain state dict"
        )
    return contents

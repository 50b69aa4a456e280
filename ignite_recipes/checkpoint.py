"""Write and read a run's whole state so that no crash, and no file, can do harm.

A checkpoint is one file with keys that anybody can read::

    epoch, model_state_dict, optimizer_state_dict, train_loss, val_loss, history, metadata
    run                    what an exact resume needs besides: {"engine": {...}, "handlers": {name: state}}

It holds only tensors and plain values and is read with ``torch.load(weights_only=True)``: a file can be
damaged or hostile, but reading it runs no code.
"""

import enum
import errno
import os
import pickle
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.engine import unwrap

__all__ = [
    "CheckpointError",
    "check_fits",
    "load_checkpoint",
    "read_checkpoint",
    "save_checkpoint",
    "write_checkpoint",
]


# What zipfile, zlib and torch raise for files that are cut short, damaged or of another kind.
_UNSOUND = (
    zipfile.BadZipFile,
    zlib.error,
    OSError,
    RuntimeError,
    ValueError,
    EOFError,
    LookupError,
    AttributeError,
    TypeError,
)


class CheckpointError(RuntimeError):
    """A file is not a sound checkpoint, or not one of this model; the message names the file."""


def write_checkpoint(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write ``contents`` to ``path`` so that the file is at every moment either the old one or the new one.

    The new file is written beside the old one, flushed to the disk, and only then renamed over it. Missing
    folders are made.

    Raises:
        TypeError: for a value that could not be read back safely, naming its place.
        OSError: if it cannot be written; what was there before is still there.
    """
    path = Path(path)
    plain = _plain(contents, "checkpoint")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")  # a fixed name: the next write removes what a kill left
    try:
        with open(temporary, "wb") as file:
            torch.save(plain, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _flush_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def _flush_folder(folder: Path) -> None:
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


_LEAVES = (str, bytes, bool, int, float, complex, type(None), Tensor, torch.Size, torch.dtype, torch.device)


def _plain(value: Any, place: str) -> Any:
    """The value with NumPy's scalars as Python's; what ``weights_only`` would refuse to read is refused now."""
    if isinstance(value, np.generic) and not isinstance(value.item(), np.generic):
        return _plain(value.item(), place)
    if isinstance(value, enum.Enum):
        return _plain(value.value, place)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
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

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if it is cut short, damaged, not a checkpoint, or holds objects other than tensors
            and plain values.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {str(path)!r}: check the path")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch itself does not compare the checksums it writes
        if damaged:
            raise zipfile.BadZipFile(f"{damaged} has another checksum than when it was written")
        contents = torch.load(path, map_location=device, weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{str(path)!r} holds objects other than tensors and plain values; it was refused and nothing in it "
            "was run. Only load files of a source you trust, and convert them to a plain state_dict first"
        ) from error
    except _UNSOUND as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{str(path)!r} is not a sound checkpoint ({reason}): it was cut short, damaged, or is another kind "
            "of file. Use an older checkpoint"
        ) from error
    if not isinstance(contents, dict) or not isinstance(contents.get("model_state_dict"), Mapping):
        raise CheckpointError(f"{str(path)!r} holds no 'model_state_dict': it is not a checkpoint of this library")
    return contents


def save_checkpoint(
    model: nn.Module,
    optimizer: Optimizer | None,
    epoch: int,
    train_loss: float,
    val_loss: float | None,
    filepath: str | os.PathLike[str],
    history: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Save a model and its training state.

    Args:
        model: its weights and buffers are saved; a compiled model under the names of the plain one.
        optimizer: None leaves its state out.
        epoch: how many epochs the model was trained for.
        train_loss, val_loss: of that epoch.
        filepath: where to; missing folders are made, an existing file is replaced at once or not at all.
        history, metadata: anything made of plain values and tensors.

    Raises:
        TypeError: for values that could not be read back safely.
        OSError: if the file cannot be written; an older one is still there then.
    """
    contents = {
        "epoch": epoch,
        "model_state_dict": unwrap(model).state_dict(),
        "optimizer_state_dict": optimizer.state_dict() if optimizer is not None else None,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "history": history,
        "metadata": metadata,
    }
    write_checkpoint(contents, filepath)


def load_checkpoint(
    filepath: str | os.PathLike[str],
    model: nn.Module,
    optimizer: Optimizer | None = None,
    device: str | torch.device | None = None,
) -> dict[str, Any]:
    """Load a checkpoint into a model, and its optimizer, and return all that the file holds.

    Args:
        filepath: a file of :func:`save_checkpoint` or of a recipe.
        model: of the architecture that was saved. It stays on its device.
        optimizer: of that model; gets its moments and settings back.
        device: where the tensors of the returned dict lie; the CPU by default.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not sound, is of another architecture, or has no optimizer state
            though one is asked for. Model and optimizer are then as they were before.
    """
    contents = read_checkpoint(filepath, "cpu" if device is None else device)
    check_fits(model, contents["model_state_dict"], filepath)
    if optimizer is not None:
        _load_optimizer(optimizer, contents.get("optimizer_state_dict"), filepath)
    unwrap(model).load_state_dict(contents["model_state_dict"])
    return contents


def _load_optimizer(optimizer: Optimizer, state: Any, filepath: str | os.PathLike[str]) -> None:
    if state is None:
        raise CheckpointError(f"{os.fspath(filepath)!r} holds no optimizer state: load it with optimizer=None")
    try:
        optimizer.load_state_dict(state)
    except (ValueError, KeyError) as error:
        raise CheckpointError(
            f"{os.fspath(filepath)!r} is of another optimizer ({error}): make one for the same parameters"
        ) from error


def check_fits(model: nn.Module, saved: Mapping[str, Any], filepath: str | os.PathLike[str]) -> None:
    """Refuse weights of another architecture before a single one is loaded."""
    own = unwrap(model).state_dict()
    problems = [f"{name} is missing" for name in own if name not in saved]
    problems += [f"{name} is unknown to the model" for name in saved if name not in own]
    for name, value in own.items():
        other = saved.get(name)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.shape != other.shape:
            problems.append(f"{name} is {tuple(other.shape)}, the model's is {tuple(value.shape)}")
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{os.fspath(filepath)!r} is of another architecture than the model: {'; '.join(problems[:3])}{more}. "
            "Make the model with the sizes it was saved with"
        )

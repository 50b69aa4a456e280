"""Write and read a run's whole state so that no crash, and no file, can do harm.

A checkpoint is one file with keys that anybody can read::

    epoch, model_state_dict, optimizer_state_dict, train_loss, val_loss, history, metadata
    run                    what an exact resume needs besides: {"engine": {...}, "handlers": {name: state}}

It holds only tensors and plain values and is read with ``torch.load(weights_only=True)``: a file can be
damaged or hostile, but reading it runs no code.
"""

import copy
import enum
import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ignite_recipes.files import replace_file
from ignite_recipes.weights import unwrap

__all__ = [
    "CheckpointError",
    "check_fits",
    "load_checkpoint",
    "load_optimizer",
    "misfits",
    "read_checkpoint",
    "save_checkpoint",
    "unchanged_on_error",
    "write_checkpoint",
]


_FOLDER = 0x10  # in the attributes of a zip file's entry, which no checksum covers

AVERAGED = "ema_model_state_dict"
"""The key of the weights' moving average in a checkpoint."""


class CheckpointError(RuntimeError):
    """A file is not a sound checkpoint, or not one of this model; the message names the file.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder, "latest_checkpoint.pt")
    ...     _ = path.write_bytes(b"the first half of a fi")
    ...     try:
    ...         contents = read_checkpoint(path)
    ...     except CheckpointError as error:
    ...         print("start anew:", error)
    start anew: '...latest_checkpoint.pt' is not a sound checkpoint (File is not a zip file): it was cut short, ...
    """


def write_checkpoint(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write ``contents`` to ``path`` so that the file is at every moment either the old one or the new one.

    The new file is written beside the old one, flushed to the disk, and only then renamed over it
    (``replace_file``). Missing folders are made.

    Raises:
        TypeError: for a value that could not be read back safely, naming its place.
        OSError: if it cannot be written; what was there before is still there.

    >>> import tempfile
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

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(nn.Linear(2, 1), None, epoch=5, train_loss=0.7, val_loss=0.8, filepath=f"{folder}/model.pt")
    ...     contents = read_checkpoint(f"{folder}/model.pt")
    >>> contents["epoch"], contents["val_loss"], list(contents["model_state_dict"])
    (5, 0.8, ['weight', 'bias'])
    """
    path = Path(path)
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

    >>> import tempfile
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(model, optimizer, 5, 0.7, 0.8, f"{folder}/model.pt", metadata={"species": ["Crow", "Kite"]})
    ...     contents = read_checkpoint(f"{folder}/model.pt")
    >>> contents["epoch"], contents["train_loss"], contents["metadata"]
    (5, 0.7, {'species': ['Crow', 'Kite']})
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
    *,
    averaged: bool | None = False,
) -> dict[str, Any]:
    """Load a checkpoint into a model, and its optimizer, and return all that the file holds.

    Args:
        filepath: a file of :func:`save_checkpoint` or of a recipe.
        model: of the architecture that was saved. It stays on its device.
        optimizer: of that model; gets its moments and settings back.
        device: where the tensors of the returned dict lie; the CPU by default.
        averaged: load the weights' moving average, which files of runs with one hold too; None does if it is there.

    Raises:
        FileNotFoundError: if there is no such file.
        CheckpointError: if the file is not sound, is of another architecture, or has no optimizer state or no
            average though one is asked for. Model and optimizer are then as they were before.

    >>> import tempfile
    >>> model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_checkpoint(model, None, epoch=5, train_loss=0.7, val_loss=0.8, filepath=f"{folder}/model.pt")
    ...     contents = load_checkpoint(f"{folder}/model.pt", other)
    >>> torch.equal(other.weight, model.weight), contents["epoch"]
    (True, 5)
    """
    contents = read_checkpoint(filepath, "cpu" if device is None else device)
    weights = contents["model_state_dict"]
    if averaged or (averaged is None and AVERAGED in contents):
        weights = contents.get(AVERAGED)
        if not isinstance(weights, Mapping):
            raise CheckpointError(f"{os.fspath(filepath)!r} holds no moving average: load it with averaged=False")
    check_fits(model, weights, filepath)
    with unchanged_on_error(filepath, model, optimizer):
        if optimizer is not None:
            load_optimizer(optimizer, contents.get("optimizer_state_dict"), filepath)
        unwrap(model).load_state_dict(weights)
    return contents


def check_fits(model: nn.Module, saved: Mapping[str, Any], filepath: str | os.PathLike[str]) -> None:
    """Refuse weights of another architecture before a single one is loaded."""
    problems = list(misfits(model, saved).values())
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise CheckpointError(
            f"{os.fspath(filepath)!r} is of another architecture than the model: {'; '.join(problems[:3])}{more}. "
            "Make the model with the sizes it was saved with"
        )


def misfits(model: nn.Module, saved: Mapping[str, Any]) -> dict[str, str]:
    """What keeps saved weights from being loaded into a model: the name of each entry, and what is wrong with it.

    >>> misfits(nn.Linear(2, 1), {"weight": torch.zeros(1, 3), "bias": torch.zeros(1)})
    {'weight': "weight is (1, 3), the model's is (1, 2)"}
    """
    own = unwrap(model).state_dict()
    problems = {name: f"{name} is missing" for name in own if name not in saved}
    problems |= {name: f"{name} is unknown to the model" for name in saved if name not in own}
    for name, value in own.items():
        if name in problems or not isinstance(value, Tensor):
            continue
        other = saved[name]
        if not isinstance(other, Tensor):
            problems[name] = f"{name} is a {type(other).__name__}, the model's is a tensor"
        elif value.shape != other.shape:
            problems[name] = f"{name} is {tuple(other.shape)}, the model's is {tuple(value.shape)}"
    return problems


def load_optimizer(optimizer: Optimizer, state: Any, filepath: str | os.PathLike[str]) -> None:
    """Load an optimizer's state, and refuse one of another optimizer.

    Raises:
        CheckpointError: if there is none or it does not fit; use it inside :func:`unchanged_on_error`.
    """
    name = os.fspath(filepath)
    if state is None:
        raise CheckpointError(f"{name!r} holds no optimizer state: load it with optimizer=None")
    try:
        optimizer.load_state_dict(state)
        # torch compares only the numbers of parameters; without a setting of its own the next step would fail.
        lacking = {key for group in optimizer.param_groups for key in optimizer.defaults.keys() - group.keys()}
        if lacking:
            raise ValueError(f"it has no {', '.join(sorted(lacking))}")
    except Exception as error:
        raise CheckpointError(
            f"{name!r} is of another optimizer ({error}): make one for the same parameters"
        ) from error


@contextmanager
def unchanged_on_error(
    filepath: str | os.PathLike[str], model: nn.Module | None = None, optimizer: Optimizer | None = None
) -> Iterator[None]:
    """Load a file inside the block: if that fails, model and optimizer are again as they were before it.

    Raises:
        CheckpointError: in the place of whatever error a model or an optimizer raises while it loads.
    """
    plain = None if model is None else unwrap(model)
    weights = None if plain is None else copy.deepcopy(plain.state_dict())
    state = {} if optimizer is None else {"state": optimizer.state, "param_groups": optimizer.param_groups}
    try:
        yield
    except BaseException as error:
        if plain is not None and weights is not None:
            plain.load_state_dict(weights)
        if optimizer is not None:
            vars(optimizer).update(state)  # torch puts new ones in their place and leaves these as they are
        if isinstance(error, CheckpointError) or not isinstance(error, Exception):
            raise
        raise CheckpointError(f"{os.fspath(filepath)!r} cannot be loaded into the model ({error})") from error

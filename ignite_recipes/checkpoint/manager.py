"""An experiment's checkpoints: the best model, the latest one, and those of single epochs."""

import copy
import logging
import math
import operator
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn
from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint, write_checkpoint
from ignite_recipes.checkpoint.fit import fitting, load_optimizer, misfits, optimizer_state, unchanged_on_error
from ignite_recipes.checkpoint.model_file import load_checkpoint
from ignite_recipes.checkpoint.newest import BEST, LATEST
from ignite_recipes.engine.weights import unwrap

__all__ = ["CheckpointManager", "classifier_entries"]

logger = logging.getLogger(__name__)

_SHOWN = 5  # names in a warning


class CheckpointManager:
    """Write a classifier's checkpoints to a folder, and load them.

    A file holds ``epoch``, ``model_state_dict``, ``optimizer_state_dict``, ``loss``, ``accuracy``,
    ``model_config`` (the model's attribute of that name, ``{}`` if it has none) and what ``additional_info``
    adds. It is written and read as described in :mod:`ignite_recipes.checkpoint.file`: never half, and running no
    code. A compiled model's file is that of the plain model.

    Args:
        checkpoints_dir: the folder; made when the first file is written.
        save_frequency: epochs between two files of :meth:`save_epoch_checkpoint`, see :meth:`should_save_epoch`.

    Attributes:
        best_accuracy: the best accuracy of the folder's ``best_model.pt``, also if an earlier manager wrote it; minus
            infinity if there is none yet.

    Raises:
        ValueError: if ``save_frequency`` is below 1.

    >>> import tempfile, torch
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.Adam(model.parameters())
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     manager = CheckpointManager(folder)
    ...     saved = [manager.save_best_model(model, optimizer, n, 0.5, a) for n, a in enumerate([80.0, 79.0, 85.0], 1)]
    ...     info = manager.load_checkpoint(f"{folder}/best_model.pt", model)
    >>> saved, info["epoch"], CheckpointManager("empty").best_accuracy
    ([True, False, True], 3, -inf)
    """

    def __init__(self, checkpoints_dir: str | os.PathLike[str], save_frequency: int = 10) -> None:
        save_frequency = whole_number(save_frequency, "save_frequency", "epochs")
        self.checkpoints_dir, self.save_frequency = os.path.expanduser(checkpoints_dir), save_frequency
        self.best_accuracy = _best_accuracy(self._path(BEST))

    def should_save_epoch(self, epoch: int) -> bool:
        """Whether a checkpoint of this epoch is due: every ``save_frequency``-th, counted from 1."""
        return epoch % self.save_frequency == 0

    def save_checkpoint(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        epoch: int,
        loss: float,
        accuracy: float,
        filepath: str | os.PathLike[str],
        additional_info: Mapping[str, Any] | None = None,
    ) -> None:
        """Write a checkpoint.

        Args:
            model, optimizer: their states are saved; without an optimizer, None is.
            epoch: the epoch's number.
            loss, accuracy: of the validation; numbers or 0-d tensors.
            filepath: where to, as seen from the working folder; missing folders are made.
            additional_info: further entries of the file: tensors and plain values.

        Raises:
            ValueError: if ``additional_info`` would replace one of the documented entries.
            TypeError: for values that could not be read back safely.
            OSError: if the file cannot be written; an older one is still there then.
        """
        contents = {
            "epoch": operator.index(epoch),
            "model_state_dict": unwrap(model).state_dict(),
            "optimizer_state_dict": None if optimizer is None else optimizer_state(optimizer),
            **classifier_entries(model, loss, accuracy),
        }
        additional_info = additional_info or {}
        taken = [repr(name) for name in additional_info if name in contents]
        if taken:
            raise ValueError(f"additional_info must not replace {', '.join(taken)}: choose other names")
        write_checkpoint({**contents, **additional_info}, filepath)

    def save_best_model(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        epoch: int,
        loss: float,
        accuracy: float,
        additional_info: Mapping[str, Any] | None = None,
    ) -> bool:
        """Write ``best_model.pt`` if the accuracy is higher than the best so far, which NaN never is.

        Returns:
            Whether it was; arguments and errors as for :meth:`save_checkpoint`.
        """
        if not accuracy > self.best_accuracy:  # nan is not
            return False
        self.save_checkpoint(model, optimizer, epoch, loss, accuracy, self._path(BEST), additional_info)
        self.best_accuracy = float(accuracy)  # only now: a file that could not be written is not the best
        return True

    def save_latest_checkpoint(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        epoch: int,
        loss: float,
        accuracy: float,
        additional_info: Mapping[str, Any] | None = None,
    ) -> None:
        """Replace ``latest_checkpoint.pt``; arguments and errors as for :meth:`save_checkpoint`."""
        path = self._path(LATEST)
        self.save_checkpoint(model, optimizer, epoch, loss, accuracy, path, additional_info)

    def save_epoch_checkpoint(
        self,
        model: nn.Module,
        optimizer: Optimizer | None,
        epoch: int,
        loss: float,
        accuracy: float,
        additional_info: Mapping[str, Any] | None = None,
    ) -> None:
        """Write ``epoch_{epoch}.pt``, whether it is due or not; arguments and errors as for :meth:`save_checkpoint`."""
        path = self._path(f"epoch_{operator.index(epoch)}.pt")
        self.save_checkpoint(model, optimizer, epoch, loss, accuracy, path, additional_info)

    def write_epoch(self, contents: Mapping[str, Any], *, is_best: bool | None = None) -> None:
        """Write an epoch's files, each with ``contents``, among which are those of ``classifier_entries``.

        ``is_best`` says whether the epoch is the best so far; None: if its accuracy is.
        """
        accuracy, epoch = contents["accuracy"], contents["epoch"]
        if accuracy > self.best_accuracy if is_best is None else is_best:
            write_checkpoint(contents, self._path(BEST))
            self.best_accuracy = accuracy
        if self.should_save_epoch(epoch):
            write_checkpoint(contents, self._path(f"epoch_{epoch}.pt"))
        self.write_latest(contents)

    def write_latest(self, contents: Mapping[str, Any]) -> Path:
        """Replace ``latest_checkpoint.pt``."""
        return write_checkpoint(contents, self._path(LATEST))

    def load_checkpoint(
        self,
        filepath: str | os.PathLike[str],
        model: nn.Module,
        optimizer: Optimizer | None = None,
        strict: bool = True,
    ) -> dict[str, Any]:
        """Load a checkpoint of this class, or of any recipe, into a model and its optimizer.

        Args:
            filepath: the file, as seen from the working folder.
            model: stays on its device; plain or compiled.
            optimizer: the optimizer of that model; gets its moments and settings back.
            strict: True loads everything or nothing. False loads the entries whose name and shape are the
                model's, leaves the others as they are, and says in the log which these were; the optimizer
                gets its state if it fits and belongs to the parameters, that is, if all of these were loaded.

        Returns:
            ``epoch`` (0 if the file does not say); ``loss``, of a file without one its ``val_loss`` or else
            ``train_loss``; ``accuracy`` (both NaN if the file does not say); ``loaded_layers`` and
            ``total_layers``, entries of the model's state dict; ``fully_restored``, whether the file was
            loaded whole, into the whole model and into the optimizer if there is one.

        Raises:
            FileNotFoundError: if there is no such file.
            CheckpointError: if it is not sound; with ``strict=True`` also if it is of another architecture or lacks
                an optimizer state that fits. Model and optimizer are then as they were before.
        """
        if strict:
            contents, problems = load_checkpoint(filepath, model, optimizer), _Problems({}, None)
        else:
            contents = read_checkpoint(filepath)
            problems = _load_what_fits(contents, model, optimizer, filepath)
        own = unwrap(model).state_dict()
        epoch = contents.get("epoch")
        return {
            "epoch": epoch if isinstance(epoch, int) else 0,
            "loss": _first_number(contents, "loss", "val_loss", "train_loss"),
            "accuracy": _first_number(contents, "accuracy"),
            "fully_restored": not problems.entries and problems.optimizer is None,
            "loaded_layers": sum(name not in problems.entries for name in own),
            "total_layers": len(own),
        }

    def _path(self, name: str) -> Path:
        return Path(self.checkpoints_dir) / name


def classifier_entries(model: nn.Module, loss: float, accuracy: float) -> dict[str, Any]:
    """What a classifier's checkpoint holds of the validation and of the model, under the documented keys."""
    config = getattr(unwrap(model), "model_config", {})
    return {"loss": float(loss), "accuracy": float(accuracy), "model_config": config}


class _Problems(NamedTuple):
    """Why something was left out of a load: each entry of the model or the file by name, and the optimizer."""

    entries: dict[str, str]
    optimizer: str | None


def _load_what_fits(
    contents: Mapping[str, Any], model: nn.Module, optimizer: Optimizer | None, filepath: str | os.PathLike[str]
) -> _Problems:
    plain = unwrap(model)
    weights: Any = copy.copy(fitting(plain, contents["model_state_dict"]))  # a copy: it keeps the modules' versions
    entries = misfits(plain, weights)
    for name in entries.keys() & weights.keys():
        del weights[name]
    with unchanged_on_error(filepath, plain):
        plain.load_state_dict(weights, strict=False)
    if entries:
        shown = "; ".join(list(entries.values())[:_SHOWN])
        more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
        logger.warning("%s was not loaded whole: %s%s", os.fspath(filepath), shown, more)

    problem = None if optimizer is None else _load_optimizer_if_it_fits(contents, plain, entries, optimizer, filepath)
    if problem is not None:
        logger.warning("the optimizer was left as it was: %s", problem)
    return _Problems(entries, problem)


def _load_optimizer_if_it_fits(
    contents: Mapping[str, Any],
    model: nn.Module,
    left_out: Mapping[str, str],
    optimizer: Optimizer,
    filepath: str | os.PathLike[str],
) -> str | None:
    """What kept the optimizer's state from being loaded, or None."""
    if any(name in left_out for name, _ in model.named_parameters()):
        return f"{os.fspath(filepath)!r} holds the state of other parameters than the model's"
    try:
        with unchanged_on_error(filepath, optimizer=optimizer):
            load_optimizer(optimizer, contents.get("optimizer_state_dict"), filepath)
    except CheckpointError as error:
        return str(error)
    return None


def _best_accuracy(path: Path) -> float:
    """The accuracy in ``best_model.pt``; minus infinity without one, which the log says if there is a file."""
    try:
        accuracy = _first_number(read_checkpoint(path), "accuracy")
    except FileNotFoundError:
        return -math.inf
    except CheckpointError as error:
        logger.warning("best_model.pt is ignored: %s", error)
        return -math.inf
    if math.isnan(accuracy):
        logger.warning("best_model.pt is ignored: %s holds no accuracy", path)
        return -math.inf
    return accuracy


def _first_number(contents: Mapping[str, Any], *names: str) -> float:
    """The first of the named entries that is a number; NaN if none is."""
    for name in names:
        try:
            return float(contents[name])
        except (LookupError, TypeError, ValueError, ArithmeticError, RuntimeError):
            continue
    return math.nan

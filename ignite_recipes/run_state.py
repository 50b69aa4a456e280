"""A run's whole state: what a checkpoint holds of it, and how a run goes on from one."""

import copy
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ignite_recipes.checkpoint import AVERAGED, CheckpointError, check_fits, read_checkpoint
from ignite_recipes.distributed import is_sharded, shared_out, whole
from ignite_recipes.engine import TrainingEngine
from ignite_recipes.environment import environment, environment_changes
from ignite_recipes.weights import unwrap

__all__ = ["LATEST", "load_run_state", "newest_checkpoint", "restore_run", "run_state"]

logger = logging.getLogger(__name__)

LATEST = "latest_checkpoint.pt"
"""The file that recipes and commands write last, at the end of every epoch and inside epochs."""


def newest_checkpoint(folder: str | os.PathLike[str]) -> Path | None:
    """The sound checkpoint to go on from, or None if the folder holds no ``.pt`` file.

    It is ``latest_checkpoint.pt``, which recipes write last, or without it the one of a whole run that got farthest.
    A best model that got farther than it is of an epoch whose other files a kill has prevented: the epoch is done
    again. Damaged files are passed over with a warning in the log.

    Raises:
        CheckpointError: if there are files, and none is sound.
    """
    files = sorted(path for path in Path(folder).glob("*.pt") if path.is_file())
    sound: list[tuple[bool, tuple[int, int], float, Path]] = []
    for path in files:
        try:
            contents = read_checkpoint(path)
        except CheckpointError as error:
            logger.warning("passed over: %s", error)
        else:
            if (progress := _progress(contents)) is not None:
                sound.append((path.name == LATEST, progress, path.stat().st_mtime, path))
    if files and not sound:
        raise CheckpointError(
            f"none of the {len(files)} checkpoints in {os.fspath(folder)!r} is sound: start a new run"
        )
    return max(sound)[-1] if sound else None


def _progress(contents: Mapping[str, Any]) -> tuple[int, int] | None:
    """How far a whole run was: its iterations and closed epochs. None for a file that holds weights only."""
    run = contents.get("run")
    engine = run.get("engine") if isinstance(run, Mapping) else None
    if not isinstance(engine, Mapping):
        return None
    iteration, epochs = engine.get("iteration"), engine.get("closed_epochs")
    return (iteration, epochs) if isinstance(iteration, int) and isinstance(epochs, int) else None


def run_state(trainer: TrainingEngine) -> dict[str, Any]:
    """What a checkpoint of ``trainer`` holds now: the documented keys, and all it needs to go on exactly.

    Its ``model_state_dict`` are the trained weights, also when the model was handed over with others: the best
    ones or averaged ones. The latter, if there is an average, are ``ema_model_state_dict``.

    Raises:
        RuntimeError: inside an accumulation window, whose gradients no checkpoint holds.

    >>> import torch
    >>> from ignite_recipes import create_trainer
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()}, seed=3)
    >>> _ = trainer.run([torch.ones(4, 2)] * 5, max_epochs=2)
    >>> state = run_state(trainer)
    >>> state["epoch"], state["run"]["engine"]["iteration"], state["run"]["engine"]["seed"]
    (2, 10, 3)
    """
    _check_trainer(trainer)
    if trainer.window_losses:
        raise RuntimeError(
            f"a run can be saved between optimizer steps only; {len(trainer.window_losses)} batches of an accumulation "
            "window are done: save at OPTIMIZER_STEP_COMPLETED or at the end of an epoch"
        )
    handlers = {name: handler.state_dict() for name, handler in trainer.stateful.items()}
    averaged = handlers.get("ema", {}).get("weights")  # the same tensors in both places are in a file once
    contents = {
        "epoch": trainer.state.epoch,
        "model_state_dict": trainer.trained_weights(),
        **({} if averaged is None else {AVERAGED: averaged}),
        "optimizer_state_dict": trainer.optimizer.state_dict(),
        "train_loss": trainer.state.metrics.get("train_loss"),
        "val_loss": trainer.state.metrics.get("val_loss"),
        "history": handlers.get("history", {}).get("epochs"),
        "metadata": trainer.metadata,
        "environment": environment(trainer.device, trainer.deterministic),
        "run": {"engine": dict(trainer.state_dict()), "handlers": handlers, "loader": trainer.loader_place()},
    }
    return whole(contents) if is_sharded(trainer.model) else contents


def restore_run(
    trainer: TrainingEngine,
    path: str | os.PathLike[str],
    *,
    settings: Mapping[str, Any] | None = None,
    num_epochs: int | None = None,
    epoch_length: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Put a trainer, its model, its optimizer and its handlers where the run of ``path`` was.

    Attach the handlers first. Either all of it is restored or, if anything does not fit, nothing.

    Args:
        trainer: of ``create_trainer``, with the handlers of that run.
        path: a checkpoint of a whole run.
        settings: what must be as it was, compared with the file's ``metadata`` under the same names.
        num_epochs: to which epoch the run is to go on; must not lie behind it.
        epoch_length: batches an epoch; if given, must be the run's.
        seed: if given, must be the run's.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError, CheckpointError: as for :func:`load_checkpoint`; also if the file holds weights
            only and not a whole run.
        ValueError: if a setting, the batches an epoch or the seed differ from that run's, or it is past
            ``num_epochs``.

    >>> import tempfile, torch
    >>> from ignite_recipes import create_trainer, write_checkpoint
    >>> data = torch.utils.data.DataLoader(torch.rand(8, 2), batch_size=4, shuffle=True)
    >>> def new_trainer():
    ...     model = torch.nn.Linear(2, 1)
    ...     optimizer = torch.optim.Adam(model.parameters())
    ...     return create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()}, seed=0)
    >>> whole, resumed = new_trainer(), new_trainer()
    >>> _ = whole.run(data, max_epochs=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = write_checkpoint(run_state(whole), f"{folder}/run.pt")
    ...     contents = restore_run(resumed, path)
    >>> _ = whole.run(data, max_epochs=4), resumed.run(data, max_epochs=4)
    >>> torch.equal(whole.model.weight, resumed.model.weight)
    True
    """
    _check_trainer(trainer)
    contents = read_checkpoint(path)
    run = contents.get("run")
    if not isinstance(run, Mapping) or not {"engine", "handlers"} <= set(run) or "epoch" not in contents:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds weights but not a whole run, so no run can go on from it exactly: "
            "load_checkpoint(path, model) loads the weights"
        )
    check_fits(trainer.model, contents["model_state_dict"], path)
    _check_same(settings or {}, contents.get("metadata") or {}, path)
    _check_goes_on(contents, path, num_epochs, epoch_length, seed)
    for name in sorted(set(run["handlers"]) ^ set(trainer.stateful)):
        if name in run["handlers"]:
            logger.info("%s of the run that is resumed is not attached: its state is left out", name)
        else:
            logger.warning("%s was not attached in the run that is resumed: it starts afresh", name)
    parts = _parts(trainer, run["handlers"])
    before = {name: copy.deepcopy(part.state_dict()) for name, part in parts.items()}
    try:
        load_run_state(trainer, contents)
    except Exception as error:
        for name, part in parts.items():
            part.load_state_dict(before[name])
        raise CheckpointError(
            f"{os.fspath(path)!r} does not fit this run ({error}): resume with the settings it was made with"
        ) from error
    here = environment(trainer.device, trainer.deterministic)
    changes = environment_changes(contents.get("environment") or {}, here)
    if changes:
        logger.warning("%s goes on, but its last bits may differ: %s", os.fspath(path), "; ".join(changes))
    return contents


def load_run_state(trainer: TrainingEngine, contents: Mapping[str, Any]) -> None:
    """Load a run's state as :func:`run_state` gives it; what raises in between leaves it half done.

    Raises:
        ValueError: naming the part that does not fit.
    """
    if is_sharded(trainer.model):
        contents = _shared_out(trainer, contents)
    run = contents["run"]
    states = {
        "model": contents["model_state_dict"],
        "optimizer": contents.get("optimizer_state_dict"),
        **run["handlers"],
    }
    parts = {**_parts(trainer, run["handlers"]), "engine": trainer}
    for name, part in parts.items():
        try:
            part.load_state_dict(run["engine"] if part is trainer else states[name])
        except Exception as error:
            raise ValueError(f"{name}: {error}") from error
    trainer.restore_loader_place(run.get("loader"))


def _shared_out(trainer: TrainingEngine, contents: Mapping[str, Any]) -> dict[str, Any]:
    """What a file holds, with the tensors of sharded parameters, and those that go with them, sharded likewise."""
    weights = unwrap(trainer.model).state_dict()
    run = dict(contents["run"])
    run["handlers"] = {
        name: {key: shared_out(value, weights) for key, value in state.items()}
        for name, state in run["handlers"].items()
    }
    optimizer = dict(contents["optimizer_state_dict"])
    parameters = [parameter for group in trainer.optimizer.param_groups for parameter in group["params"]]
    optimizer["state"] = {
        index: {
            name: shared_out(value, parameters[index])
            if getattr(value, "shape", None) == parameters[index].shape
            else value
            for name, value in state.items()
        }
        for index, state in optimizer["state"].items()
    }
    model = shared_out(contents["model_state_dict"], weights)
    return {**contents, "model_state_dict": model, "optimizer_state_dict": optimizer, "run": run}


def _check_trainer(trainer: Any) -> None:
    if not isinstance(trainer, TrainingEngine):
        raise TypeError(f"trainer must be one of create_trainer(...); got {type(trainer).__name__}")


def _parts(trainer: TrainingEngine, saved: Mapping[str, Any]) -> dict[str, Any]:
    """All that has a state of its own, in the order in which it is loaded, but the engine."""
    handlers = {name: handler for name, handler in trainer.stateful.items() if name in saved}
    return {"model": unwrap(trainer.model), "optimizer": trainer.optimizer, **handlers}


def _check_same(settings: Mapping[str, Any], saved: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    changed = [
        f"{name} is {value!r}, the run's is {saved[name]!r}"
        for name, value in settings.items()
        if name in saved and saved[name] != value
    ]
    if changed:
        raise ValueError(
            f"a run must be resumed with its own settings, but of {os.fspath(path)!r} {'; '.join(changed)}. "
            "Pass the run's, or start a new run from its weights (load_checkpoint)"
        )


def _check_goes_on(
    contents: Mapping[str, Any],
    path: str | os.PathLike[str],
    num_epochs: int | None,
    epoch_length: int | None,
    seed: int | None,
) -> None:
    epoch, engine, name = contents["epoch"], contents["run"]["engine"], os.fspath(path)
    if num_epochs is not None and num_epochs < epoch:
        raise ValueError(
            f"num_epochs counts from the first epoch and must be at least {epoch}, where {name!r} is; got {num_epochs}"
        )
    if epoch_length not in (None, engine["epoch_length"]):
        raise ValueError(
            f"the loader must have the {engine['epoch_length']} batches an epoch of {name!r}; got {epoch_length}: "
            "resume with the same data and batch size"
        )
    if seed not in (None, engine["seed"]):
        raise ValueError(f"seed must be that of the run that is resumed, {engine['seed']}, or None; got {seed}")

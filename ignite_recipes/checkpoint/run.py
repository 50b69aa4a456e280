"""A run's whole state: what a checkpoint of it holds, and how a run is resumed from one.

Each entry of the file comes from those who own it::

    epoch, model_state_dict, optimizer_state_dict, train_loss, val_loss, metadata
                           the documented ones, of checkpoint.model_file
    history, ema_model_state_dict
                           of handlers with ``checkpoint_entries()``: History, ExponentialMovingAverage
    environment            where the bits were computed, of engine.environment
    identity               a word that all files of one run have, also after a resume, and no other run
    run                    what an exact resume needs in addition:
      format               of this entry, a number
      progress             where the run is, of engine.progress
      parameters           the names of each optimizer's parameters, in its order
      updates              of several: their names, in their order, and every how many batches each is computed
      outside              the parameters of the optimizers that are not the model's
      gradients            of optimizers that an update function of the user's own has not stepped since they came
      frozen               the names of the model's parameters that were not trained
      parts                the state of everything that was entered with ``keep_state``, by name
      state                what the user has put into ``trainer.state``
      loader               inside an epoch: what the loader has given, of loading.keyed_loader

To add a field: give the object that owns it ``state_dict`` and ``load_state_dict`` and enter it with ``keep_state``; if
readers of the file are to find it under a key of its own, give it ``checkpoint_entries`` too. ``check_resume`` compares
what is under ``run`` by itself.
"""

import copy
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch.optim import Optimizer

from ignite_recipes.arguments import shown
from ignite_recipes.checkpoint.file import CheckpointError, read_checkpoint
from ignite_recipes.checkpoint.fit import (
    check_fits,
    freeze_as_saved,
    frozen_parameters,
    misfits,
    optimizer_state,
)
from ignite_recipes.checkpoint.model_file import documented_entries
from ignite_recipes.checkpoint.optimizers import fitting_states, load_outside, names_of, outside_parameters, states_of
from ignite_recipes.engine.environment import environment, environment_changes
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.weights import unwrap

__all__ = ["check_same", "check_trainer", "how_far", "load_run_state", "restore_run", "run_state"]

logger = logging.getLogger(__name__)

_CHANGE_TRAINING = (
    *("early_stopping", "ema", "gradient_clipping", "kl_schedule"),
    *("lr_scheduling", "mixed_precision", "nonfinite_guard", "rollback"),
)
"""Names of handlers without which a resumed run is another run."""

FORMAT = 3
"""Version of the ``run`` entry; raise it when older runs can no longer be resumed. Format 1 had no number."""


def run_state(trainer: TrainingEngine) -> dict[str, Any]:
    """The contents of a checkpoint of ``trainer`` now: the documented keys, and everything for an exact resume.

    Its ``model_state_dict`` are the trained weights, also when the model ended with others: the best ones or averaged
    ones. The averaged weights, if there are any, are ``ema_model_state_dict``.

    Raises:
        RuntimeError: inside an accumulation window of an ``Update``, whose gradients no checkpoint holds.

    >>> import torch
    >>> from ignite_recipes import create_trainer
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()}, seed=3)
    >>> _ = trainer.run([torch.ones(4, 2)] * 5, max_epochs=2)
    >>> state = run_state(trainer)
    >>> state["epoch"], state["run"]["progress"]["iteration"], state["run"]["progress"]["seed"]
    (2, 10, 3)
    """
    check_trainer(trainer)
    for update in trainer.updates.values():
        if update.done > trainer.progress.iteration:
            raise RuntimeError(
                f"a run can be saved after all updates of a batch only; {update!r} has taken its step, and others have "
                "not: save at RESUME_POINT, or continue the run first"
            )
        if update.window.is_open:
            raise RuntimeError(
                f"a run can be saved between optimizer steps only; {len(update.window.losses)} batches of an "
                "accumulation window are done: save at RESUME_POINT"
            )
    metrics = trainer.state.metrics
    contents = documented_entries(
        epoch=trainer.state.epoch,
        weights=trainer.weights.own_weights(),
        optimizer_state=states_of(trainer.optimizers),
        train_loss=metrics.get("train_loss"),
        val_loss=metrics.get("val_loss"),
        history=None,
        metadata=trainer.metadata,
    )
    for part in trainer.parts.values():
        if hasattr(part, "checkpoint_entries"):
            contents.update(part.checkpoint_entries())
    contents["environment"] = environment(trainer.device, trainer.deterministic)
    contents["identity"] = trainer.identity
    contents["run"] = {
        "format": FORMAT,
        "progress": trainer.progress.state_dict(),
        "parameters": names_of(trainer.model, trainer.optimizers),
        "updates": _rhythms(trainer),
        "outside": outside_parameters(trainer.model, trainer.optimizers),
        "gradients": trainer.step.waiting_gradients(),
        "frozen": frozen_parameters(trainer.model),
        "parts": trainer.parts.state_dict(),
        "state": trainer.state.own_values(),
        "loader": trainer.place_in_loader(),
    }
    full: dict[str, Any] = trainer.step.exchange.full(contents)
    return full


def _rhythms(trainer: TrainingEngine) -> list[tuple[str, int]]:
    return [(name, update.every) for name, update in trainer.updates.items()] if len(trainer.updates) > 1 else []


def run_of(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> Mapping[str, Any]:
    """The ``run`` of a file that was read.

    Raises:
        CheckpointError: if it holds weights only, or a run of another version of this library.
    """
    run = contents.get("run")
    if isinstance(run, Mapping) and run.get("format") != FORMAT:
        raise CheckpointError(
            f"{os.fspath(path)!r} is of another version of this library, whose runs this one cannot resume: "
            "load_checkpoint(path, model) loads its weights, for a new run"
        )
    if not isinstance(run, Mapping) or not {"progress", "parts"} <= set(run) or "epoch" not in contents:
        raise CheckpointError(
            f"{os.fspath(path)!r} holds weights but not a whole run, so no run can be resumed from it: "
            "load_checkpoint(path, model) loads the weights"
        )
    return run


def how_far(contents: Mapping[str, Any], path: str | os.PathLike[str]) -> tuple[int, int, int]:
    """The batches, the epochs and the batches per epoch (0: not known yet) of a run; errors as for :func:`run_of`."""
    progress = run_of(contents, path)["progress"]
    numbers = [progress.get("iteration"), progress.get("epoch"), progress.get("epoch_length") or 0]
    if not all(isinstance(number, int) for number in numbers):
        raise CheckpointError(f"{os.fspath(path)!r} does not say where its run was: use an older checkpoint")
    iteration, epoch, length = numbers
    return iteration, epoch, length


def restore_run(
    trainer: TrainingEngine,
    path: str | os.PathLike[str],
    *,
    settings: Mapping[str, Any] | None = None,
    num_epochs: int | None = None,
    epoch_length: int | None = None,
    seed: int | None = None,
) -> dict[str, Any]:
    """Restore a trainer, its model, its optimizer and its handlers to the state of the run in ``path``.

    Attach the handlers first. Either all of it is restored or, if anything does not fit, nothing.

    Args:
        trainer: a trainer of ``create_trainer`` or ``make_resumable``, with the handlers of that run.
        path: a checkpoint of a whole run.
        settings: values that must not have changed, compared with the file's ``metadata`` under the same names.
        num_epochs: the last epoch of the continued run; not one that it has passed.
        epoch_length: batches per epoch; if given, must be the run's.
        seed: if given, must be the run's.

    Returns:
        What the file holds.

    Raises:
        FileNotFoundError, CheckpointError: as for :func:`load_checkpoint`; also if the file holds weights
            only and not a whole run.
        ValueError: if a setting, the batches per epoch or the seed differ from that run's, or it is past
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
    check_trainer(trainer)
    contents = read_checkpoint(path)
    run = run_of(contents, path)
    check_fits(trainer.model, contents["model_state_dict"], path)
    check_same(settings or {}, contents.get("metadata") or {}, path)
    _check_end(contents, path, num_epochs, epoch_length, seed)
    for name in sorted(set(run["parts"]) ^ set(trainer.parts)):
        if name in run["parts"]:
            say = logger.warning if name.startswith(_CHANGE_TRAINING) else logger.info
            say("%s of the run that is resumed is not attached: its state is left out", name)
        else:
            logger.warning("%s was not attached in the run that is resumed: it starts from the beginning", name)
    model, optimizers, frozen = unwrap(trainer.model), trainer.optimizers, frozen_parameters(trainer.model)
    groups = {name: part.param_groups for name, part in optimizers.items()}
    states = {name: optimizer_state(part) for name, part in optimizers.items()}
    outside = outside_parameters(model, optimizers)
    before = copy.deepcopy((model.state_dict(), states, trainer.parts.state_dict(), outside))
    try:
        load_run_state(trainer, contents)
    except Exception as error:
        model.load_state_dict(before[0])
        freeze_as_saved(model, frozen)
        for name, part in optimizers.items():
            part.param_groups = groups[name]
            part.load_state_dict(before[1][name])
            load_outside(model, part, before[3].get(name, []))
        trainer.parts.load_state_dict(before[2])
        raise CheckpointError(
            f"{os.fspath(path)!r} does not fit this run ({error}): resume with the settings it was made with, and the "
            "model, parameter groups and handlers as they were when it was saved; or load its weights into a new run "
            "(load_checkpoint)"
        ) from error
    here = environment(trainer.device, trainer.deterministic)
    changes = environment_changes(contents.get("environment") or {}, here)
    if changes:
        logger.warning("%s is resumed, but its last bits may differ: %s", os.fspath(path), "; ".join(changes))
    return contents


def load_run_state(trainer: TrainingEngine, contents: Mapping[str, Any]) -> None:
    """Load a run's state as :func:`run_state` gives it; if the load of a part raises, the run is half loaded.

    Raises:
        ValueError: naming the part that does not fit.
    """
    model, optimizers, run = unwrap(trainer.model), trainer.optimizers, contents["run"]
    weights, states = contents["model_state_dict"], run["parts"]
    with _named("model"):
        if problems := list(misfits(model, weights).values()):
            raise ValueError("; ".join(problems[:3]))
    optimizer_states = fitting_states(model, optimizers, contents)
    if (saved := [tuple(rhythm) for rhythm in run["updates"]]) != _rhythms(trainer):
        raise ValueError(f"the updates of the run, and every how many batches, are {saved}; got {_rhythms(trainer)}")
    with _named("model"):
        own = model.state_dict()
        model.load_state_dict(trainer.step.exchange.local(weights, own))
        freeze_as_saved(model, run["frozen"])
    for name, optimizer in optimizers.items():
        with _named(name):
            optimizer.load_state_dict(_local_optimizer_state(trainer, optimizer, optimizer_states[name]))
            load_outside(model, optimizer, run["outside"].get(name, []))
    local = trainer.step.exchange.local
    trainer.parts.load_state_dict(
        {name: {key: local(value, own) for key, value in state.items()} for name, state in states.items()}
    )
    with _named("progress"):
        trainer.load_state_dict(run["progress"])
    trainer.step.put_back_gradients(run["gradients"])
    vars(trainer.state).update(run["state"])
    trainer.loader_place = run["loader"]
    trainer.identity = contents.get("identity")  # older files have none


@contextmanager
def _named(part: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise ValueError(f"{part}: {error}") from error


def _local_optimizer_state(trainer: TrainingEngine, optimizer: Optimizer, state: Any) -> Any:
    """An optimizer's state, with what belongs to a sharded parameter sharded like it."""
    parameters = parameters_of(optimizer)

    def local(value: Any, parameter: Any) -> Any:
        fits = getattr(value, "shape", None) == parameter.shape
        return trainer.step.exchange.local(value, parameter) if fits else value

    moments = {
        index: {name: local(value, parameters[index]) for name, value in entries.items()}
        for index, entries in state["state"].items()
    }
    return {**state, "state": moments}


def check_trainer(trainer: Any) -> None:
    """Raise TypeError unless it is a trainer of ``create_trainer`` or ``make_resumable``."""
    if not isinstance(trainer, TrainingEngine):
        got = type(trainer).__name__
        raise TypeError(f"trainer must be one of create_trainer(...) or make_resumable(...); got {got}")


def check_same(settings: Mapping[str, Any], saved: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Raise ValueError if settings differ from those of a run, under the same names."""
    changed = [
        f"{name} is {shown(value)}, the run's is {shown(saved[name])}"
        for name, value in settings.items()
        if name in saved and saved[name] != value
    ]
    if changed:
        raise ValueError(
            f"a run must be resumed with its own settings, but of {os.fspath(path)!r} {'; '.join(changed)}. "
            "Pass the run's, or start a new run from its weights (load_checkpoint)"
        )


def _check_end(
    contents: Mapping[str, Any],
    path: str | os.PathLike[str],
    num_epochs: int | None,
    epoch_length: int | None,
    seed: int | None,
) -> None:
    epoch, progress, name = contents["epoch"], contents["run"]["progress"], os.fspath(path)
    if num_epochs is not None and num_epochs < epoch:
        raise ValueError(
            f"num_epochs counts from the first epoch and must be at least {epoch}, where {name!r} is; got {num_epochs}"
        )
    if epoch_length not in (None, progress["epoch_length"]):
        raise ValueError(
            f"the loader must have the {progress['epoch_length']} batches an epoch of {name!r}; got {epoch_length}: "
            "resume with the same data and batch size"
        )
    if seed not in (None, progress["seed"]):
        raise ValueError(f"seed must be that of the run that is resumed, {progress['seed']}, or None; got {seed}")

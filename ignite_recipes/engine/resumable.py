"""An Engine with an update function of the user's own becomes a trainer of ours: with exact resume, signals and all."""

from collections.abc import Mapping
from typing import Any

import torch
from ignite.engine import Engine, Events
from torch import nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader

from ignite_recipes.arguments import shown
from ignite_recipes.devices import as_device
from ignite_recipes.engine.create import agreed_seed
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.inexact import NameInexact
from ignite_recipes.engine.own_step import OwnStep, silent_events
from ignite_recipes.engine.parts import Parts, check_free, keep_state
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.unfired import FIRED_BY_STEP, will_be_fired
from ignite_recipes.engine.update import Update

__all__ = ["make_resumable"]


def make_resumable(
    engine: Engine,
    parts: Mapping[str, Any],
    *,
    seed: int | None = None,
    device: str | torch.device | None = None,
    deterministic: bool = False,
) -> TrainingEngine:
    """Turn an Engine with your own update function into a trainer of this library, which resumes exactly.

    The engine itself is changed: all references to it have the trainer, and its handlers keep their order;
    ``engine.state`` is a new object with the values of the old one. From now on torch is seeded by the position in the
    run before each batch, and the engine has the events of an epoch's end, so that handlers of this library can be
    attached: ``Checkpointing``, ``StopOnSignal``, ``EarlyStopping``, ``Rollback``. ``restore_run``, ``check_resume``
    and ``preserve_run`` take it. Call it first: handlers that are attached before it measure and decide at
    EPOCH_COMPLETED.

    It fires around the steps of the optimizers among the parts GRADIENTS_READY and the events of an optimizer's step,
    so that clipping, the non-finite guard, averages and schedules attach to it, or to one of ``engine.updates``. If the
    engine has registered events of a step before, the update function fires them instead. With
    :class:`~ignite_recipes.Update` in the update function, mixed precision and accumulation are possible too.

    Args:
        engine: ``Engine(update)``, or of Ignite's ``create_supervised_trainer``; not run yet.
        parts: by name, everything that the update function changes: models, optimizers or
            :class:`~ignite_recipes.Update`, and whatever else has ``state_dict`` and ``load_state_dict``: schedules, a
            GradScaler, metrics, buffers of your own. A checkpoint's ``model_state_dict`` is that of the only model, or
            of all, as in a ``ModuleDict``.
        seed: the seed of everything random in the run; None draws one from torch's global generator.
        device: the device of the models; None is that of the first parameter. They are not moved.
        deterministic: run only with algorithms that give the same bits in every process.

    Returns:
        The engine.

    Raises:
        TypeError: for an engine or a part of another kind.
        ValueError: if the engine has run, or there is no model or no optimizer among the parts.

    After an error the batch is repeated. An update function that steps several optimizers itself has then trained the
    first ones already; :class:`~ignite_recipes.Update` does not train on a batch twice.

    When the run begins, a warning names objects that the update function changes and the parts do not hold: modules,
    optimizers and other objects with a state, variables and attributes that it assigns. Values that it puts into its
    own lists and dicts, e.g. a replay buffer, are not seen: keep them in an object with ``state_dict``. A loader with
    ``state_dict`` and ``load_state_dict``, e.g. torchdata's StatefulDataLoader, is restored by them; the batches of any
    other loader are fetched again and discarded.

    >>> from ignite.engine import create_supervised_trainer
    >>> model = nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> trainer = create_supervised_trainer(model, optimizer, nn.MSELoss())
    >>> trainer = make_resumable(trainer, {"model": model, "optimizer": optimizer}, seed=0)
    >>> _ = trainer.run([(torch.ones(4, 2), torch.zeros(4, 1))] * 3, max_epochs=2)
    >>> trainer.progress.epoch, trainer.progress.iteration
    (2, 6)
    """
    _check_engine(engine)
    models, optimizers, updates, others = _sorted(parts)
    for part in others.values():
        check_free(part)
    seed = agreed_seed(seed)
    first = next(parameter for model in models.values() for parameter in model.parameters())
    function, before, state = engine._process_function, vars(engine).copy(), engine.state
    device = first.device if device is None else as_device(device)
    earlier = before.get("updates")  # an Update was attached before
    registered = set(before["_allowed_events"]) - (set() if earlier is None else earlier.registered)
    observes = not FIRED_BY_STEP & registered
    step = OwnStep(function, models, optimizers, updates, device, observes=observes)

    trainer: Any = engine
    trainer.__class__ = TrainingEngine  # the same object: whoever refers to it, refers to the trainer
    TrainingEngine.__init__(trainer, step, seed=seed, deterministic=deterministic)
    trainer.parts = before.get("parts", Parts())
    silent = silent_events(step.updates)
    trainer._allowed_events = [event for event in trainer._allowed_events if event not in silent]
    trainer.register_events(*(event for event in registered if event not in trainer._allowed_events))
    for event, entries in before["_event_handlers"].items():
        kept = (entry for entry in entries if earlier is None or getattr(entry[0], "__self__", None) is not earlier)
        trainer._event_handlers[event].extend(kept)
    will_be_fired(trainer, set(TrainEvents) - silent)
    vars(trainer.state).update({name: value for name, value in vars(state).items() if name not in vars(trainer.state)})
    trainer.state.metrics = state.metrics
    for name, part in others.items():
        keep_state(trainer, name, part)
    known = [
        *models.values(),
        *optimizers.values(),
        *(update.optimizer for update in updates.values()),
        *parts.values(),
    ]
    trainer.add_event_handler(Events.STARTED, NameInexact(function, known))
    resumable: TrainingEngine = trainer
    return resumable


def _check_engine(engine: Any) -> None:
    if isinstance(engine, TrainingEngine):
        raise TypeError("the engine resumes already; got a trainer of ours: give its parts to keep_state")
    if type(engine) is not Engine:
        raise TypeError(
            f"engine must be an Engine(update) of Ignite's, whose run this replaces; got {type(engine).__name__}"
        )
    if engine.state.iteration:
        raise ValueError(f"the engine must not have run yet; got one after {engine.state.iteration} iterations")


def _sorted(parts: Mapping[str, Any]) -> tuple[dict[str, nn.Module], dict[str, Optimizer], dict[str, Update], Any]:
    """The models, the optimizers, the updates, and other objects with a state."""
    if not isinstance(parts, Mapping):
        raise TypeError(f"parts must be named, {{'model': model, 'optimizer': optimizer, ...}}; got {shown(parts)}")
    models = {name: part for name, part in parts.items() if isinstance(part, nn.Module) and not _is_metric(part)}
    optimizers = {name: part for name, part in parts.items() if isinstance(part, Optimizer)}
    for name, part in parts.items():
        if isinstance(part, Update) and part.name == Update.NAME:  # it was given none
            part.name = name
    updates = {part.name: part for part in parts.values() if isinstance(part, Update)}
    taken = {*models, *optimizers, *(name for name, part in parts.items() if isinstance(part, (Update, DataLoader)))}
    if not any(True for model in models.values() for _ in model.parameters()) or not (optimizers or updates):
        raise ValueError(
            f"parts must hold the models and their optimizers (or each Update); got {', '.join(parts) or 'none'}"
        )
    if len(updates) < sum(isinstance(part, Update) for part in parts.values()) or updates.keys() & optimizers.keys():
        raise ValueError("each update must have a name of its own, Update(optimizer, name=...); got one twice")
    return models, optimizers, updates, {name: part for name, part in parts.items() if name not in taken}


def _is_metric(part: nn.Module) -> bool:
    return hasattr(part, "metric_state") or type(part).__module__.startswith("torchmetrics")

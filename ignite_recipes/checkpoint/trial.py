"""Run a trainer, and then let it be as if it had not been run."""

import copy
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ignite.engine import Events

from ignite_recipes.checkpoint.run import check_trainer, load_run_state, run_state
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.modes import preserved_modes
from ignite_recipes.engine.parts import forget_state
from ignite_recipes.engine.places import is_lazy
from ignite_recipes.engine.trainer import TrainingEngine, start_epoch
from ignite_recipes.engine.weights import copy_weights

__all__ = ["preserve_run"]

_OF_A_STEP = (
    TrainEvents.INPUTS_READY,
    TrainEvents.LOSSES_READY,
    TrainEvents.BACKWARD_COMPLETED,
    TrainEvents.GRADIENTS_READY,
    TrainEvents.OPTIMIZER_STEP_STARTED,
)
"""Events whose handlers are part of what a step computes: augmentation, clipping, the guard."""


def _handlers_of_a_step(handlers: Mapping[Any, list[Any]]) -> dict[Any, list[Any]]:
    """Those of its events, and what the same objects do when it begins."""
    kept: dict[Any, list[Any]] = defaultdict(list, {event: list(handlers[event]) for event in _OF_A_STEP})
    objects = {id(_object_of(entry)) for entries in kept.values() for entry in entries}
    kept[Events.ITERATION_STARTED] = [
        entry for entry in handlers[Events.ITERATION_STARTED] if id(_object_of(entry)) in objects
    ]
    return kept


def _object_of(entry: Any) -> Any:
    return getattr(entry[0], "__self__", entry[0])


@contextmanager
def preserve_run(trainer: TrainingEngine) -> Iterator[TrainingEngine]:
    """Inside the block the trainer may be run; after it, it is restored: for a learning-rate finder, or a first try.

    Model, optimizer, the state of every handler, the position of the run and ``trainer.state`` are restored, also after
    an error in the block. Inside it a run begins at its first epoch, with the current weights, and only the handlers of
    a step act: augmentation, clipping, the guard. Those that measure, decide, record, save, schedule or average do not,
    so that no file is written. Handlers that are attached inside the block are removed after it. It needs memory for a
    copy of the run's state.

    Args:
        trainer: a trainer of ``create_trainer`` or ``make_resumable``, with its handlers.

    Raises:
        RuntimeError: inside an accumulation window, which cannot be kept.
        ValueError: for a model with lazy layers that have seen no batch.

    >>> import torch
    >>> from ignite.handlers import FastaiLRFinder
    >>> from ignite_recipes import History, create_trainer
    >>> _ = torch.manual_seed(0)
    >>> model = torch.nn.Linear(2, 1)
    >>> optimizer = torch.optim.SGD(model.parameters(), lr=1e-4)
    >>> trainer = create_trainer(model, optimizer, lambda model, x, batch: {"loss": model(x).square().mean()}, seed=0)
    >>> history = History(["learning_rate"]).attach(trainer)
    >>> before, finder = model.weight.clone(), FastaiLRFinder()
    >>> parts = {"model": model, "optimizer": optimizer}
    >>> loss_of = lambda losses: losses["loss"].item()
    >>> batches = [torch.ones(4, 2)] * 50
    >>> with preserve_run(trainer), finder.attach(trainer, parts, loss_of, end_lr=1e3) as inside:
    ...     _ = inside.run(batches)
    >>> torch.equal(model.weight, before), trainer.state.iteration, history.epochs
    (True, 0, {'learning_rate': []})
    >>> rate = finder.lr_suggestion()
    """
    check_trainer(trainer)
    if is_lazy(trainer.model):
        raise ValueError("the model must know its sizes; got lazy layers: give it one batch first, model(inputs)")
    run = copy.deepcopy(run_state(trainer))
    handed_over = copy_weights(trainer.model, {}) if trainer.weights.is_in else None
    state, metrics = dict(vars(trainer.state)), copy.copy(trainer.state.metrics)
    groups = [(optimizer, len(optimizer.param_groups)) for optimizer in trainer.optimizers.values()]
    kept = {name: getattr(trainer, name) for name in ("_event_handlers", "loader_place", "recover", "watched")}
    of_updates = [(update, update.precision, update.loss_fn) for update in trainer.updates.values()]
    metadata, decided, parts = dict(trainer.metadata), set(trainer._decided), list(trainer.parts)
    trainer._event_handlers = _handlers_of_a_step(kept["_event_handlers"])
    trainer.add_event_handler(Events.EPOCH_STARTED, start_epoch)
    trainer.recover = None
    trainer.state.max_epochs = trainer.state.max_iters = None  # it begins again, on the weights of now
    try:
        with preserved_modes(trainer.model):
            yield trainer
    finally:
        vars(trainer).update(kept, metadata=metadata)
        for name in set(trainer.parts) - set(parts):
            forget_state(trainer, name)
        for update, precision, loss_fn in of_updates:
            update.precision = precision
            if update.loss_fn is not loss_fn:
                update.loss_fn = loss_fn
                trainer.updates.compile(trainer.step.compile, trainer.device)
        for optimizer, count in groups:
            del optimizer.param_groups[count:]
        trainer.updates.abandon()
        trainer.updates.zero_gradients()
        load_run_state(trainer, run)
        if handed_over is not None:
            trainer.weights.put_in(handed_over)
        vars(trainer.state).clear()
        vars(trainer.state).update(state)
        trainer.state.metrics, trainer.loader_place, trainer._decided = metrics, kept["loader_place"], decided

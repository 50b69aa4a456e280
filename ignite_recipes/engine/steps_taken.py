"""What a run makes of steps that were computed at once: it counts them, and calls its handlers for each."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Events
from torch import Tensor

from ignite_recipes.engine.blocks import Outcome, is_called_for_each
from ignite_recipes.engine.events import TrainEvents
from ignite_recipes.engine.step_program import end_window
from ignite_recipes.programs.part import StepValues

if TYPE_CHECKING:
    from ignite_recipes.engine.steps_ahead import StepsAhead
    from ignite_recipes.engine.trainer import TrainingEngine

__all__ = ["take_notice"]


def take_notice(ahead: "StepsAhead", outcome: Outcome) -> None:
    """Let a run be where it is after the steps of a block, and let its handlers take notice of each.

    Args:
        ahead: whose first steps they are; they are taken from its batches.
        outcome: what the steps have come to, at least one. Only the last one can have been dropped.
    """
    engine, state, update, length = ahead.engine, ahead.state, ahead.update, ahead.window_length
    count = outcome.count * length
    state.update, state.num_samples = update, ahead.num_samples
    rows, ahead.batches = ahead.batches[count - 1], ahead.batches[count:]
    if outcome.count > 1:
        _count_taken(ahead, outcome, outcome.count - 1)
    _call_for_each(engine, outcome.losses, count - 1, length)
    for loss in outcome.losses["loss"][count - length : -1].unbind():
        update.window.weigh(ahead.num_samples)
        update.window.losses.append(loss)

    # The last batch, as in the ordinary loop: its step may have been dropped.
    state.iteration += 1
    update.begin(state)
    ahead.loader.say_epoch()
    state.batch = ahead.fetch_rows(rows)
    ahead.loader.pass_over(engine.progress.position, state.batch)
    output = {name: column[-1] for name, column in outcome.losses.items()}
    update.window.weigh(ahead.num_samples)
    update.window.losses.append(output["loss"])
    state.output, last = None, [column[-1] for column in outcome.outputs]
    end_window(ahead.step, engine, ahead.optimizer, ahead.parts, outcome.places, last)
    state.output = output
    engine._fire_event(Events.ITERATION_COMPLETED)


def _count_taken(ahead: "StepsAhead", outcome: Outcome, count: int) -> None:
    """Count the first steps, all of which were taken."""
    engine, update, progress, length = ahead.engine, ahead.update, ahead.engine.progress, ahead.window_length
    columns = [column[:count] for column in outcome.outputs]
    values = StepValues(loss=_sums(outcome.losses["loss"][: count * length], length))
    for part, (norm, drop) in zip(ahead.parts["gradients"], outcome.places.found, strict=True):
        values.norm = None if norm is None else columns[norm]
        values.drop = None if drop is None else columns[drop]
        part.after_block(engine, values, count)
    for part in ahead.parts["after"]:
        part.after_block(engine, values, count)
    if update.precision is not None:
        update.precision.after_block()
    ahead.optimizer.note_step(count)
    update.count.taken += count
    iteration = ahead.state.iteration + count * length
    progress.previous_iteration, progress.iteration = iteration - length, iteration
    update.begun = update.done = iteration


def _call_for_each(engine: "TrainingEngine", losses: Mapping[str, Tensor], count: int, length: int) -> None:
    """Call handlers for each of the first ``count`` batches, and for each step of ``length`` batches among them."""
    state: Any = engine.state
    before = state.iteration
    of_steps = {name: column[length - 1 : count : length] for name, column in losses.items()}
    of_batches = {name: column[:count] for name, column in losses.items()}
    after_step = _entries_for_each(engine, TrainEvents.OPTIMIZER_STEP_COMPLETED, of_steps)
    after_batch = _entries_for_each(engine, Events.ITERATION_COMPLETED, of_batches)
    for k in range(count if after_step or after_batch else 0):
        state.iteration, state.output = before + k + 1, None
        for entry in after_step if (k + 1) % length == 0 else ():
            engine._call(entry)
        state.output = {name: column[k] for name, column in of_batches.items()}
        for entry in after_batch:
            engine._call(entry)
    state.iteration = before + count


def _entries_for_each(
    engine: "TrainingEngine", event: Any, losses: Mapping[str, Tensor]
) -> list[tuple[Callable[..., Any], Any, Any]]:
    """The handlers that are still to be called one by one; those that take several at once are called here."""
    one_by_one = []
    for entry in engine._event_handlers.get(event, ()):
        if not is_called_for_each(entry[0]):
            continue
        if (of_block := getattr(getattr(entry[0], "__self__", entry[0]), "of_block", None)) is None:
            one_by_one.append(entry)
        elif len(losses["loss"]):
            of_block(engine, losses)
    return one_by_one


def _sums(losses: Tensor, length: int) -> Tensor:
    """Of each window the sum of its losses, rounded as that of one window is."""
    return losses if length == 1 else torch.stack([window.sum() for window in losses.view(-1, length).unbind()])

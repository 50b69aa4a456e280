"""Compute several steps at once, one call of a program after the other, with nothing between them."""

from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ignite_recipes.engine.blocks import Outcome

if TYPE_CHECKING:
    from ignite_recipes.engine.step_program import StepProgram
    from ignite_recipes.engine.steps_ahead import StepsAhead

__all__ = ["compute_block"]


def compute_block(ahead: "StepsAhead", count: int, program: "StepProgram", inner: "StepProgram | None") -> Outcome:
    """Compute the next steps of a run, up to one that is dropped or fails.

    Args:
        ahead: the steps to come.
        count: how many of them.
        program: of a window's last batch, which takes the step.
        inner: of a window's other batches; None where it has one batch.
    """
    update, length = ahead.update, ahead.window_length
    places, numbers = program.function.places, ahead.numbers(count)
    loss = places.names.index("loss")
    outputs: list[list[Tensor]] = []  # of each step
    losses: list[list[Tensor]] = []  # of each batch
    error = None

    batches = ahead.prepared_batches(count * length)

    def compute(k: int, of: "StepProgram") -> list[Tensor]:
        return of.compute(next(batches), numbers[k], partial(ahead.seed, k))

    with torch.no_grad():
        try:
            for first in range(0, count * length, length):
                last = first + length - 1
                if inner is not None:
                    update.begin(ahead.state)
                    inner.ready_gradients()
                    losses += (compute(k, inner)[: len(places.names)] for k in range(first, last))
                    program.ready_losses([of_batch[loss] for of_batch in losses[first:last]])
                outputs.append(compute(last, program))
                losses.append(outputs[-1][: len(places.names)])
                if places.drop is not None and outputs[-1][places.drop].item() > 0:
                    break
        except BaseException as raised:  # steps before it are in the weights: the run is to know of them
            error = raised
            if inner is not None and update.statistics is not None:
                update.statistics.put_back()  # what a part of a window has changed
    of_batches = [torch.stack(each) for each in zip(*losses[: len(outputs) * length], strict=True)]
    return Outcome(
        places,
        [torch.stack(each) for each in zip(*outputs, strict=True)],
        dict(zip(places.names, of_batches, strict=False)),
        error=error,
    )

"""Find where numbers ceased to be finite."""

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
from ignite.engine import Engine
from torch import nn

from ignite_recipes.engine.gradients import gradients_of
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.update import Update
from ignite_recipes.engine.weights import unwrap
from ignite_recipes.loading.batches import tensors_in

__all__ = ["first_nonfinite_gradient", "origin_of_nonfinite"]


def first_nonfinite_output(model: nn.Module, forward: Callable[[], Any]) -> str | None:
    """The first of the model's modules, in the order in which they end, whose output is not finite.

    Args:
        model: its modules are watched while ``forward`` runs.
        forward: computes with the model.

    Returns:
        e.g. ``"encoder.0 (Linear)"``; None if all outputs were finite.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    >>> first_nonfinite_output(model, lambda: model(torch.full((1, 2), float("inf"))))
    '0 (Linear)'
    """
    found: list[str] = []

    def watch(name: str) -> Callable[[nn.Module, Any, Any], None]:
        def look(module: nn.Module, _inputs: Any, output: Any) -> None:
            if not found and not _all_finite(output):
                found.append(f"{name or 'the model'} ({type(module).__name__})")

        return look

    with ExitStack() as stack, torch.no_grad():
        for name, module in model.named_modules():
            stack.callback(module.register_forward_hook(watch(name)).remove)
        forward()
    return found[0] if found else None


def origin_of_nonfinite(engine: Engine, step: TrainingStep, update: Update) -> str:
    """Where the current batch ceases to be finite, found by computing its loss again; the end of a sentence."""
    state: Any = engine.state
    if update.window.losses[-1].isfinite() or not step.exchange.can_repeat_forward:
        return ""
    if state.losses is not None and state.losses["loss"].isfinite():  # the run's loss is an average over all ranks
        return "; it began in another rank's part of the batch"
    if not _all_finite(step.inputs_of(step.prepare_batch(state.batch, step.device, True), state)):
        return "; its inputs are not finite"
    name = first_nonfinite_output(unwrap(step.model), lambda: step.repeat_forward(engine, update))
    if name is None:
        return "; all outputs of modules are finite, the loss function's own numbers are not"
    return f"; it began in the output of {name}"


def first_nonfinite_gradient(model: nn.Module) -> str | None:
    """The first of the model's parameters whose gradient is not finite; None if there is none, or none any more."""
    for name, parameter in model.named_parameters():
        if not _all_finite(gradients_of([parameter])):
            return name
    return None


def _all_finite(value: Any) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors_in(value) if tensor.is_floating_point())

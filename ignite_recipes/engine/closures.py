"""A step of an optimizer that computes the loss again and again, e.g. LBFGS: all of it, or nothing."""

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import LBFGS, Optimizer

from ignite_recipes.engine.gradients import parameters_of

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["kept_state", "step_by_closure"]


class _VetoedError(Exception):
    """A handler has vetoed the step while the optimizer was inside it."""


def step_by_closure(update: "Update", engine: Engine, compute_again: Callable[[], Tensor] | None) -> bool:
    """Step an optimizer that needs a closure; False if a handler vetoes one of its losses.

    GRADIENTS_READY and OPTIMIZER_STEP_STARTED are fired each time, so that gradients are clipped and judged before
    the optimizer sees them. If one of them is vetoed, or raises, parameters and optimizer are as before the step.

    Args:
        update: whose gradients are ready.
        engine: whose events are fired.
        compute_again: gives the loss, and leaves its gradients in the parameters.
    """
    if compute_again is None:
        raise RuntimeError(
            f"{type(update.optimizer).__name__} computes the loss again and again; got a tensor: pass a function that "
            "computes it, update(engine, compute_loss)"
        )
    optimizer: Any = update.optimizer
    first = update.window.losses[-1] if isinstance(optimizer, LBFGS) else None  # LBFGS begins with the loss of now

    def closure() -> Tensor:
        nonlocal first
        if first is not None:
            loss, first = first, None
            return loss
        update.zero_gradients()
        if update.statistics is not None:
            update.statistics.put_back()  # running statistics count the batch once
        with torch.enable_grad():
            loss = compute_again()
        update.ready_gradients(engine)
        if bool(update.veto):
            raise _VetoedError
        return loss

    put_back = kept_state(optimizer)
    try:
        optimizer.step(closure)
    except BaseException as error:
        put_back()
        if isinstance(error, _VetoedError):
            return False
        raise
    return True


def kept_state(optimizer: Optimizer) -> Callable[[], None]:
    """What puts the optimizer and its parameters back to where they are now."""
    parameters = parameters_of(optimizer)
    kept = [parameter.detach().clone() for parameter in parameters]
    state = copy.deepcopy(optimizer.state_dict())

    def put_back() -> None:
        with torch.no_grad():
            torch._foreach_copy_(parameters, kept)
        optimizer.load_state_dict(state)

    return put_back

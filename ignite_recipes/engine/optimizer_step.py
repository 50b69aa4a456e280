"""The step of an optimizer, as it is taken: unless it is vetoed, under a precision, by a closure, or on the device."""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from ignite.engine import Engine
from torch import Tensor
from torch.optim import Optimizer

from ignite_recipes.engine.closures import step_by_closure

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["can_defer_veto", "check_optimizer", "needs_closure", "step_optimizer", "veto_lag_on"]


def step_optimizer(update: "Update", engine: Engine, compute_again: Callable[[], Tensor] | None) -> bool:
    """Step unless the update is vetoed or has overflown; whether the step was taken, as far as is known.

    Args:
        update: whose gradients are ready.
        engine: whose events a closure fires.
        compute_again: for a closure, computes the loss and its gradients once more.
    """
    veto, optimizer = update.veto, update.optimizer
    if isinstance(veto, Tensor):
        if can_defer_veto(update):
            return _step_unless(veto, optimizer)
        veto = bool(veto)  # waits for the device: the price of an optimizer that is not fused
    if update.needs_closure:
        return not veto and step_by_closure(update, engine, compute_again)
    if update.precision is not None:
        is_taken = bool(update.precision.step_optimizer(optimizer, drop=veto))
        if not is_taken and update.statistics is not None:
            update.statistics.put_back()  # what a dropped step has changed
        return is_taken
    if not veto:
        optimizer.step()
    return not veto


def _step_unless(flag: Tensor, optimizer: Any) -> bool:
    """Let a fused optimizer read ``flag`` on the device, as ``GradScaler`` does; nobody waits."""
    optimizer.grad_scale, optimizer.found_inf = None, flag.to(torch.float32)
    try:
        optimizer.step()
    finally:
        del optimizer.grad_scale, optimizer.found_inf
    return True


def can_defer_veto(update: "Update") -> bool:
    """Whether a step can be dropped on the device, without the host having to know at once."""
    if update.precision is not None and update.precision.scaler is not None:
        return False  # the scaler itself decides
    fused = all(group.get("fused") for group in update.optimizer.param_groups)
    return update.veto_lag > 0 and fused and getattr(update.optimizer, "_step_supports_amp_scaling", False)


def veto_lag_on(device: torch.device) -> int:
    """Updates until the host asks whether one was finite: on an accelerator by then nobody waits for the answer."""
    return 0 if device.type == "cpu" else 8


def check_optimizer(optimizer: Any) -> None:
    """Raise TypeError unless it is an optimizer of torch's."""
    if not isinstance(optimizer, Optimizer):
        got = f"the class {optimizer.__name__}" if isinstance(optimizer, type) else type(optimizer).__name__
        raise TypeError(f"optimizer must be a torch.optim.Optimizer made for the model's parameters; got {got}")


def needs_closure(optimizer: Optimizer) -> bool:
    """Whether ``optimizer.step`` cannot be called without a closure."""
    closure = inspect.signature(type(optimizer).step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty

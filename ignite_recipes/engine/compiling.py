"""Compute the losses, model included, through ``torch.compile``."""

import shutil
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.programs.host_program import compiler

__all__ = ["WHOLE_STEP", "compiled"]

WHOLE_STEP = "step"
"""The value of ``compile`` that makes one program of a whole training step."""


def compiled(loss_fn: LossFunction, compile: bool | str, device: torch.device) -> LossFunction:
    """The loss function, model included, through ``torch.compile``; as it is where ``compile`` is False or "step".

    Each shape of a batch has a program of its own. One for all shapes, which torch would make at the second, rounds
    differently from that of the first, and a resumed run can meet the shapes in another order.

    Raises:
        ValueError: if torch has no such mode, or there is no compiler on this machine.
    """
    if compile is False or compile == WHOLE_STEP:  # a program of the whole step has the loss in it
        return loss_fn
    modes = list(torch._inductor.list_mode_options())
    if compile is not True and compile not in modes:
        raise ValueError(
            f"compile must be True, False, {WHOLE_STEP!r} or one of torch.compile's modes, {modes}; got {compile!r}"
        )
    if device.type == "cpu" and shutil.which(compiler()) is None:
        raise ValueError(
            f"compile must have a C++ compiler; got none that is called {compiler()!r}: install it, name yours in the "
            "environment variable CXX, or leave compile out"
        )

    def losses(model: nn.Module, inputs: Any, batch: Any) -> Mapping[str, Tensor]:
        return loss_fn(model, inputs, batch)

    # torch keeps 8 compiled versions for each code object; a copy of the code gives each run its own.
    losses.__code__ = losses.__code__.replace()
    fast = torch.compile(losses, mode=None if compile is True else compile, dynamic=False)
    if device.type == "cpu":
        return fast

    def copied(model: nn.Module, inputs: Any, batch: Any) -> Mapping[str, Tensor]:
        # CUDA graphs, which a mode may use, write each step's results to the same place.
        found = fast(model, inputs, batch)
        if not isinstance(found, Mapping):  # which check_loss refuses
            return found
        return {name: value.clone() if isinstance(value, Tensor) else value for name, value in found.items()}

    return copied

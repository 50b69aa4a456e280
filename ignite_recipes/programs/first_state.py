"""The state that an optimizer has before its first step, which torch makes in that step."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.optim import SGD, Optimizer, RMSprop

from ignite_recipes.programs.optimizers import NoStateError

__all__ = ["make_state"]


def make_state(optimizer: Optimizer, trained: Sequence[Tensor]) -> None:
    """Make it for the parameters that have none: zeros, from which the first step computes what torch computes.

    Raises:
        NoStateError: for SGD with dampening, whose first step takes the gradients as they are.
    """
    optimizer._opt_called = True  # type: ignore[attr-defined]  # which torch's schedules look at
    own = {id(parameter) for parameter in trained}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            if id(parameter) not in own or optimizer.state.get(parameter):
                continue
            zeros = {name: torch.zeros_like(parameter, requires_grad=False) for name in _names(optimizer, group)}
            if not isinstance(optimizer, SGD):
                zeros = {"step": torch.zeros((), dtype=torch.float32), **zeros}
            elif zeros and group["dampening"]:
                raise NoStateError("SGD with dampening takes its first step in another way than the others")
            if zeros:
                optimizer.state[parameter].update(zeros)


def _names(optimizer: Optimizer, group: dict[str, object]) -> list[str]:
    if isinstance(optimizer, SGD):
        return ["momentum_buffer"] if group["momentum"] else []
    if isinstance(optimizer, RMSprop):
        return [
            "square_avg",
            *(["momentum_buffer"] if group["momentum"] else []),
            *(["grad_avg"] if group["centered"] else []),
        ]
    return ["exp_avg", "exp_avg_sq", *(["max_exp_avg_sq"] if group["amsgrad"] else [])]

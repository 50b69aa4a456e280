"""What the ranks of one run exchange: decisions, losses, gradients, and the parts of a sharded model."""

import torch
from torch import nn

from ignite_recipes.exchange.alone import Alone
from ignite_recipes.exchange.data_parallel import DataParallel
from ignite_recipes.exchange.protocol import Exchange
from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.exchange.sharded import Sharded, is_sharded

__all__ = ["Exchange", "exchange_of"]


def exchange_of(model: nn.Module, device: torch.device, *, trains: bool = True, overlaps: bool = True) -> Exchange:
    """How this rank trains ``model`` together with the others of the run, if there are any.

    Args:
        model: on ``device`` already.
        device: the device of this rank.
        trains: False for an evaluator, whose model needs no gradients.
        overlaps: whether every backward pass computes the gradients of the whole model, so that they can be exchanged
            meanwhile; where several updates have a part of it each, they are exchanged after it.

    Raises:
        ValueError: for a sharded model of several updates, or of an update function of the user's own.
    """
    if world_size() > 1 and is_sharded(model):
        if not overlaps:
            raise ValueError(
                "where several updates share a model, or an update function is your own, it must be whole on each "
                "rank; got one that is sharded"
            )
        return Sharded(model, device, trains=trains)
    return Alone(model, device) if world_size() == 1 else DataParallel(model, device, trains=trains, overlaps=overlaps)

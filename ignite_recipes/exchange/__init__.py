"""What the ranks of one run exchange: decisions, losses, gradients, and the parts of a sharded model."""

from typing import Any

import torch
from torch import nn

from ignite_recipes.exchange.alone import Alone
from ignite_recipes.exchange.data_parallel import DataParallel
from ignite_recipes.exchange.protocol import Exchange
from ignite_recipes.exchange.ranks import world_size
from ignite_recipes.exchange.sharded import Sharded, is_sharded

__all__ = ["Exchange", "exchange_of"]


def exchange_of(model: nn.Module, device: torch.device, *, trains: bool = True) -> Exchange:
    """How this rank trains ``model`` together with the others of the run, if there are any.

    Args:
        model: on ``device`` already.
        device: of this rank.
        trains: False for an evaluator, whose model needs no gradients.
    """
    kind: Any = Alone if world_size() == 1 else Sharded if is_sharded(model) else DataParallel
    exchange: Exchange = kind(model, device, trains=trains)
    return exchange

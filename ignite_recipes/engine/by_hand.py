"""An update that an update function of the user's own calls for, with a loss that it has computed."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine
from torch import Tensor

from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.loading.batches import count_samples

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["compute_loss", "take_by_hand"]


def compute_loss(update: "Update", loss: Tensor | Callable[[], Tensor]) -> Tensor:
    """The loss, computed under autocast if it is a function."""
    if not callable(loss):
        return loss
    with update.autocast():
        return loss()


def take_by_hand(
    update: "Update", engine: Engine, loss: Tensor | Callable[[], Tensor], num_samples: int | None
) -> Tensor:
    """Add the gradients of ``loss`` to those of the window and, where it ends, step; arguments as for ``Update``."""
    state: Any = engine.state
    update.begin(state, keep=False)
    weight = _weigh(update, engine, num_samples)

    value = compute_loss(update, loss)
    state.losses = {"loss": value}
    fire(engine, TrainEvents.LOSSES_READY)
    update.backward(value, weight)
    state.losses = None
    update.window.losses.append(value.detach())
    fire(engine, TrainEvents.BACKWARD_COMPLETED)

    def compute_again() -> Tensor:
        again = compute_loss(update, loss)
        update.backward(again, weight)
        update.window.losses[-1] = again.detach()
        return again

    if len(update.window.losses) == update.window.length:
        update.take(engine, compute_again=compute_again if callable(loss) else None)
    return value.detach()


def _weigh(update: "Update", engine: Engine, num_samples: int | None) -> float:
    """The weight of the loss in its window, and of this rank's part of the batch."""
    exchange = update.exchange
    is_alone = exchange is None or exchange.world_size == 1
    if is_alone and update.window.length == 1:
        return 1.0
    own = count_samples(engine.state.batch) if num_samples is None else num_samples
    if exchange is None:
        return update.window.weigh(own)
    part = getattr(engine.state.dataloader, "part", None)
    whole, share = exchange.count(own, part, by_length=num_samples is None)
    return update.window.weigh(whole) * share * exchange.world_size

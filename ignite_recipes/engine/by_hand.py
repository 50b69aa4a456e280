"""An update that an update function of the user's own calls for, with a loss that it has computed."""

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ignite.engine import Engine
from torch import Tensor

from ignite_recipes.engine.events import TrainEvents, fire
from ignite_recipes.engine.gradients import parameters_of
from ignite_recipes.engine.updates import updates_of
from ignite_recipes.loading.batches import count_samples
from ignite_recipes.loading.randomness import SameDraws

if TYPE_CHECKING:
    from ignite_recipes.engine.update import Update

__all__ = ["Calls", "take_by_hand"]

logger = logging.getLogger(__name__)


class Calls:
    """How often the user's update function has called an update with the current batch, and which calls are done.

    After an error between two updates the batch is repeated; what is in the weights already is not trained again.

    Args:
        iteration: all calls until then are done.

    Attributes:
        number: the number of the current call, from 1.
    """

    def __init__(self, iteration: int = 0) -> None:
        self._iteration, self.number = iteration, 0
        self._done = (iteration, 0)

    def begin(self, iteration: int) -> bool:
        """Note a call; whether it is one that is done already."""
        self.number = self.number + 1 if self._iteration == iteration else 1
        self._iteration = iteration
        return (iteration, self.number) <= self._done

    def note_done(self) -> None:
        """All calls so far are in the weights."""
        self._done = (self._iteration, self.number)

    def restart(self) -> None:
        """The batch is repeated, from its first call on."""
        self._iteration = 0


def _compute_loss(update: "Update", loss: Tensor | Callable[[], Tensor]) -> Tensor:
    """The loss, computed under autocast if it is a function."""
    if not callable(loss):
        return loss
    with update.autocast():
        return loss()


def _checked(loss: Any) -> Tensor:
    """Refuse what is not a loss."""
    if not isinstance(loss, Tensor) or loss.dim():
        got = f"a tensor of shape {tuple(loss.shape)}" if isinstance(loss, Tensor) else type(loss).__name__
        raise TypeError(f"an update must be given its loss, a 0-d tensor or a function that computes it; got {got}")
    if not loss.requires_grad:
        raise TypeError("the loss must depend on the parameters; got one without a gradient: do not detach it")
    return loss


def take_by_hand(
    update: "Update", engine: Engine, loss: Tensor | Callable[[], Tensor], num_samples: int | None
) -> Tensor:
    """Add the gradients of ``loss`` to those of the window and, where it ends, step; arguments as for ``Update``."""
    state: Any = engine.state
    is_repeated = update.calls.begin(state.iteration)
    if is_repeated or state.iteration % update.every:  # computed, so that what follows draws the same random numbers
        return _compute_loss(update, loss).detach()
    if update.calls.number > 1:
        updates_of(engine).end_round()
    update.begin(state, keep=False)
    weight = _weigh(update, engine, num_samples)
    if not weight:
        logger.warning("iteration %d, %s: the batch has no sample and is passed over", state.iteration, update.name)
        return _compute_loss(update, loss).detach()

    draws = SameDraws(parameters_of(update.optimizer)[0].device) if update.needs_closure else None
    value = _checked(_compute_loss(update, loss))
    state.losses = {"loss": value}
    fire(engine, TrainEvents.LOSSES_READY)
    update.backward(value, weight)
    state.losses = None
    update.window.losses.append(value.detach())
    fire(engine, TrainEvents.BACKWARD_COMPLETED)

    def compute_again() -> Tensor:
        assert draws is not None
        with draws:
            again = _compute_loss(update, loss)
        update.backward(again, weight)
        update.window.losses[-1] = again.detach()
        return again

    if len(update.window.losses) == update.window.length:
        again = compute_again if callable(loss) else None
        updates_of(engine).note_turn(update)
        update.take(engine, note=update.calls.note_done, compute_again=again)
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

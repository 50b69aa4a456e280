"""The evaluator: a model's losses on data that it is not trained on."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from ignite.engine import State
from torch import Tensor, nn

from ignite_recipes.batches import count_samples, first_item, to_device
from ignite_recipes.devices import as_device, move_model
from ignite_recipes.distributed import Averaging, join_processes
from ignite_recipes.evaluation_mode import in_evaluation_mode
from ignite_recipes.keyed_engine import KeyedEngine, LossFunction, check_loss
from ignite_recipes.randomness import derive_seed, seed_torch

__all__ = ["EvaluationEngine", "create_evaluator"]


class EvaluationEngine(KeyedEngine):
    """The evaluator that :func:`create_evaluator` makes: losses without gradients, in evaluation mode.

    A run leaves each module in the mode (training or evaluation) in which it found it, and draws the same
    random numbers every time, so that a sampled validation loss shows the model and not the dice.

    >>> model = nn.Dropout()
    >>> def noisy_loss(model, x, batch):
    ...     return {"loss": (model(x) + torch.randn_like(x)).mean()}
    >>> evaluator = create_evaluator(model, noisy_loss)
    >>> first, second = (evaluator.run([torch.ones(4)]).output["loss"] for _ in range(2))
    >>> bool(first == second), model.training
    (True, True)
    """

    purpose = "validation"

    def __init__(
        self,
        model: nn.Module,
        loss_fn: LossFunction,
        device: torch.device,
        seed: int,
        get_inputs: Callable[[Any], Any],
        batch_size: Callable[[Any], int],
        compile: bool | str = False,
    ) -> None:
        super().__init__(type(self)._step, device, seed, loss_fn, batch_size, compile)
        self.model, self.get_inputs = model, get_inputs

    def run(
        self,
        data: Iterable[Any] | None = None,
        max_epochs: int | None = None,
        max_iters: int | None = None,
        epoch_length: int | None = None,
    ) -> State:
        """Evaluate the model on ``data``; the averages stand in ``state.metrics`` afterwards."""
        self.state.max_epochs = self.state.max_iters = None  # every evaluation is a new one
        self.state.metrics = {}
        with in_evaluation_mode(self.model):
            return super().run(data, max_epochs, max_iters, epoch_length)

    @torch.no_grad()
    def _step(self, batch: Any) -> dict[str, Tensor]:
        assert self.state.seed is not None
        seed_torch(derive_seed(self.state.seed, self.purpose, self.state.iteration, *self.key), self.device)
        batch = to_device(batch, self.device)
        share = self.count(batch)
        losses = self._losses(self.model, self.get_inputs(batch), batch)
        check_loss(losses)
        return dict(losses) if self.processes == 1 else Averaging(losses, share)()


def create_evaluator(
    model: nn.Module,
    loss_fn: LossFunction,
    *,
    device: str | torch.device | None = "cpu",
    seed: int = 0,
    get_inputs: Callable[[Any], Any] = first_item,
    batch_size: Callable[[Any], int] = count_samples,
    compile: bool | str = False,
) -> EvaluationEngine:
    """An Ignite Engine that computes a model's losses without training it, in float32.

    Arguments as in :func:`create_trainer`; ``Validation`` gives it the trainer's seed. Ignite's metrics can be
    attached to it as to any evaluator.

    >>> from ignite_recipes import EpochAverages
    >>> evaluator = create_evaluator(nn.Identity(), lambda model, x, batch: {"loss": model(x).square().mean()})
    >>> _ = EpochAverages().attach(evaluator)
    >>> evaluator.run([torch.tensor([1.0, 1.0, 1.0]), torch.tensor([5.0])]).metrics
    {'loss': 7.0}
    """
    if not callable(loss_fn):
        raise TypeError(f"loss_fn must be called as loss_fn(model, inputs, batch); got {loss_fn!r}")
    target = as_device(device)
    join_processes(target)
    return EvaluationEngine(move_model(model, target), loss_fn, target, seed, get_inputs, batch_size, compile)

"""Make a trainer of a model, its optimizer and its loss function, or of several updates."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch.optim import Optimizer

from ignite_recipes.arguments import whole_number
from ignite_recipes.engine.losses import LossFunction
from ignite_recipes.engine.models import Models
from ignite_recipes.engine.step import TrainingStep
from ignite_recipes.engine.trainer import TrainingEngine
from ignite_recipes.engine.update import Update
from ignite_recipes.exchange.ranks import all_equal, on_rank_zero
from ignite_recipes.loading.batches import Transfer, count_samples, first_item, to_device
from ignite_recipes.loading.randomness import draw_seed

__all__ = ["agreed_seed", "create_trainer"]


def create_trainer(
    model: Models,
    optimizer: Optimizer | None = None,
    loss_fn: LossFunction | None = None,
    *,
    updates: Iterable[Update] | None = None,
    device: str | torch.device | None = "cpu",
    seed: int | None = None,
    accumulation_steps: int = 1,
    get_inputs: Callable[[Any], Any] = first_item,
    batch_size: Callable[[Any], int] = count_samples,
    prepare_batch: Transfer = to_device,
    deterministic: bool = False,
    compile: bool | str = False,
) -> TrainingEngine:
    """An Ignite Engine that trains ``model`` with the step drawn in :mod:`ignite_recipes.engine.events`.

    Attach handlers to it, then call ``run(loader, max_epochs=...)``. A bare trainer neither averages nor
    guards nor saves: every feature is a handler, and ``describe(trainer)`` prints which one runs when.

    Args:
        model: moved to ``device``. Several models by name, ``{"actor": actor, "critic": critic}``, are one
            ``ModuleDict``, ``trainer.model``, which loss functions are given and whose names checkpoints have.
        optimizer: any torch optimizer of the model's parameters; a fused one lets the non-finite guard
            decide on an accelerator without making the host wait.
        loss_fn: ``loss_fn(model, inputs, batch) -> {"loss": total, ...}``, 0-d tensors; ``inputs`` are the inputs after
            augmentation, ``batch`` is unchanged; both are on the device.
        updates: in place of ``optimizer``, ``loss_fn`` and ``accumulation_steps``: several
            :class:`~ignite_recipes.Update` with names, e.g. of a GAN's discriminator and generator. They are computed
            with every batch in this order, each with the gradients of its own parameters only; ``state.output`` has
            their losses as ``{name}_{loss}``, and handlers are attached to all, or to ``trainer.updates[name]``.
        device: ``None`` or ``"auto"`` is the best available one.
        seed: the seed of everything random in the run; None draws one from torch's global generator.
        accumulation_steps: batches per optimizer step. The gradient is that of the mean over all samples of
            the window, also for a short last batch and for the short window at the end of an epoch.
        get_inputs: gives the model's inputs from a batch; by default the first item of a tuple or list.
        batch_size: counts the samples of a batch; by default the length of its first tensor.
        prepare_batch: ``prepare_batch(batch, device, non_blocking)`` gives the batch on the device, as in Ignite; by
            default every tensor in it is moved, and every object with a method ``to``.
        deterministic: run only with algorithms that give the same bits in every process
            (``deterministic_algorithms``).
        compile: compute the loss, the model included, through ``torch.compile``: True, or one of its modes, e.g.
            ``"reduce-overhead"``. The first step then takes longer; the results differ by rounding. ``"step"``
            computes the whole step as one program: see :class:`~ignite_recipes.ProgramPart`.

    Raises:
        ValueError: if ``accumulation_steps`` is below 1, the model has nothing to train, there is no such device, or
            nothing on this machine to compile with.
        TypeError: for a model, optimizer or loss function of another kind.

    >>> from torch import nn
    >>> model = nn.Linear(1, 1, bias=False)
    >>> def loss_fn(model, inputs, batch):
    ...     x, y = batch
    ...     return {"loss": nn.functional.mse_loss(model(inputs), y)}
    >>> trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), loss_fn, seed=0)
    >>> x = torch.tensor([[1.0], [2.0]])
    >>> _ = trainer.run([(x, 3 * x)], max_epochs=30)
    >>> trainer.progress.optimizer_steps, round(model.weight.item(), 3)
    (30, 3.0)
    """
    seed = None if seed is None else whole_number(seed, "seed", at_least=None)
    step = TrainingStep(
        model,
        optimizer,
        loss_fn,
        updates=updates,
        device=device,
        accumulation_steps=accumulation_steps,
        get_inputs=get_inputs,
        batch_size=batch_size,
        prepare_batch=prepare_batch,
        compile=compile,
    )
    return TrainingEngine(step, seed=agreed_seed(seed), deterministic=deterministic)


def agreed_seed(seed: int | None) -> int:
    """The seed of a run, the same on all ranks; None draws one.

    Raises:
        ValueError: if the ranks have different ones.
    """
    seed = None if seed is None else whole_number(seed, "seed", at_least=None)
    seed = on_rank_zero(draw_seed) if seed is None else seed
    if not all_equal(hash(seed)):
        raise ValueError(f"seed must be the same on all ranks, which share each batch; got {seed} on this one")
    return seed

"""Train a network on inputs and targets, with everything on."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.devices import as_device, move_model
from ignite_recipes.engine.evaluator import create_evaluator
from ignite_recipes.engine.trainer import create_trainer
from ignite_recipes.handlers import (
    BestCheckpoint,
    Checkpointing,
    DataAugmentation,
    EarlyStopping,
    History,
    InputAugmentation,
    LearningRateScheduler,
    StopOnSignal,
    TrainingStability,
    add_noise,
)
from ignite_recipes.recipes.assembly import (
    COUNTS,
    Attachable,
    attach_last,
    decide,
    fused_adam,
    guard_steps,
    measure,
    train_to,
)
from ignite_recipes.recipes.settings import PRECISIONS, check_choice, check_count, check_positive, check_saves
from ignite_recipes.recipes.supervised_loss import SupervisedLoss

__all__ = [
    "FAST_TRAINING",
    "MEMORY_CONSTRAINED_TRAINING",
    "STABLE_TRAINING",
    "train_model_advanced",
]

FAST_TRAINING: dict[str, Any] = {
    "use_scheduler": True,
    "scheduler_type": "onecycle",
    "gradient_clip": None,
    "use_mixed_precision": True,
    "use_augmentation": False,
    "early_stop_patience": 5,
}
"""Quick experiments: ``train_model_advanced(model, loader, **FAST_TRAINING)``."""

STABLE_TRAINING: dict[str, Any] = {
    "use_scheduler": True,
    "scheduler_type": "plateau",
    "gradient_clip": 1.0,
    "use_mixed_precision": False,
    "use_augmentation": True,
    "early_stop_patience": 15,
    "check_stability": True,
}
"""For production."""

MEMORY_CONSTRAINED_TRAINING: dict[str, Any] = {
    "use_scheduler": True,
    "scheduler_type": "cosine",
    "gradient_clip": 0.5,
    "use_mixed_precision": True,
    "use_augmentation": False,
    "early_stop_patience": 10,
}
"""For little memory on the accelerator."""

AUGMENTATION_NOISE = 0.05  # standard deviation on vectors, in the units of the inputs
STABILITY_EVERY = 10  # epochs


def train_model_advanced(
    model: nn.Module,
    train_loader: Iterable[Any],
    val_loader: Iterable[Any] | None = None,
    criterion: Callable[[Any, Any], Tensor] | None = None,
    epochs: int = 100,
    learning_rate: float = 0.001,
    device: str | torch.device | None = None,
    checkpoint_dir: str | os.PathLike[str] | None = None,
    model_name: str = "model",
    use_scheduler: bool = True,
    scheduler_type: str = "plateau",
    gradient_clip: float | None = 1.0,
    use_mixed_precision: bool = True,
    use_augmentation: bool | Callable[[Any], Any] = False,
    early_stop_patience: int | None = 10,
    check_stability: bool = False,
    verbose: bool = True,
    *,
    save_every_iterations: int | None = None,
    resume_from: str | os.PathLike[str] | None = None,
    seed: int | None = None,
    accumulation_steps: int = 1,
    precision: str | None = None,
    ema_decay: float | None = None,
    non_finite: str = "raise",
    deterministic: bool = False,
    compile: bool | str = False,
    metadata: Mapping[str, Any] | None = None,
    progress: bool = False,
    handlers: Sequence[Attachable] = (),
) -> dict[str, Any]:
    """Train with Adam on batches of inputs and targets; the model ends with its best weights.

    Best is the lowest validation loss, or without a validation set the lowest training loss; a plateau
    schedule and early stopping watch the same. Losses are means over samples. Integer targets are classes,
    and their accuracy, in percent, is reported too.

    Args:
        model: ``model(inputs)`` gives the outputs.
        train_loader: batches ``(inputs, targets)``.
        val_loader: likewise; None trains without validation.
        criterion: ``criterion(outputs, targets)`` gives a single number, a mean over the samples; None is
            the mean squared error for float targets and the cross-entropy for classes.
        epochs: the epoch to train to, counted from 1, also on a resume.
        learning_rate: of Adam, to begin with; of a one-cycle schedule the peak.
        device: None or ``"auto"`` is the best one there is.
        checkpoint_dir: where ``{model_name}_best.pt`` and ``{model_name}_latest.pt`` are written, both whole
            runs; None writes nothing.
        model_name: begins the names of the files.
        use_scheduler: change the learning rate during the training.
        scheduler_type: ``"plateau"``, ``"cosine"`` (over ``epochs``), ``"step"``, ``"exp"`` or ``"onecycle"``
            (over all steps), as in :class:`LearningRateScheduler`.
        gradient_clip: bound of the gradients' total norm; None does not clip.
        use_mixed_precision: float16 with loss scaling on an accelerator; nothing on a CPU.
        use_augmentation: True adds noise to vectors (N, D), and noise, time and frequency masks to
            spectrograms (N, ..., frequency, time); a function of the inputs is called instead.
        early_stop_patience: epochs without improvement after which to stop; None trains to the end.
        check_stability: log the size of gradients and weights every 10 epochs.
        verbose: print a line an epoch.
        save_every_iterations: write ``{model_name}_latest.pt`` every so many iterations too, inside epochs; None does
            so only when SIGINT or SIGTERM stops the run, which ends with :class:`Stopped`.
        resume_from: a checkpoint of this function: goes on exactly where that run was, to ``epochs``; the
            other settings must be those of that run.
        seed: of everything random in the run; None draws one from torch's global generator, or takes that
            of the run that is resumed. The model arrives initialised.
        accumulation_steps: batches per optimizer step.
        precision: ``"float32"``, ``"bfloat16"`` or ``"float16"`` instead of what ``use_mixed_precision`` gives.
        ema_decay: keep a moving average of the weights with this decay, e.g. 0.999; it is what is validated, what best
            weights are, and what the model ends with. None keeps none.
        non_finite: ``"raise"`` ends a run at a loss or gradient that is not finite, before it reaches the
            weights; ``"skip"`` drops the step; ``"rollback"`` goes back to the end of the last epoch with half the
            learning rate, three times at most. The history counts ``skipped_steps`` or ``rollbacks`` then.
        deterministic: use algorithms only that give the same bits in every process.
        compile: compute the loss, the model included, through ``torch.compile``: True, or one of its modes. It pays
            on long runs: the first steps take their time. A run ends with other roundings than without it.
        metadata: plain values to be kept in the checkpoints, beside the recipe's own.
        progress: show a progress bar on standard error.
        handlers: more handlers, attached to the trainer behind the recipe's own; objects with
            ``attach(trainer)``.

    Returns:
        ``best_val_loss`` (of training without a validation set), ``best_epoch`` (from 1), ``epochs_trained``
        (since the first), ``stopped_early``, ``training_time`` in seconds (of this call), and ``history``:
        ``train_loss, val_loss, learning_rate``, for classes also ``train_accuracy, val_accuracy``, an entry
        an epoch. A learning rate is that of the epoch's first step.

    Raises:
        ValueError: for a setting out of its range, an empty loader, batches, targets or labels that do not
            fit the model's outputs, or a resume with other settings.
        TypeError: if ``criterion`` gives no single number.
        NonFiniteError: for a loss or gradient that is not finite.
        FileNotFoundError, CheckpointError: if there is nothing sound to resume from.

    >>> x = torch.linspace(-1, 1, 32)[:, None]
    >>> for preset in (FAST_TRAINING, STABLE_TRAINING, MEMORY_CONSTRAINED_TRAINING):
    ...     model = nn.Linear(1, 1)
    ...     results = train_model_advanced(model, [(x, 3 * x)], epochs=4, device="cpu", verbose=False, **preset)
    ...     print(preset["scheduler_type"], [round(rate, 5) for rate in results["history"]["learning_rate"]])
    onecycle [4e-05, 0.00081, 0.00028, 0.0]
    plateau [0.001, 0.001, 0.001, 0.001]
    cosine [0.001, 0.00085, 0.0005, 0.00015]
    """
    check_count(epochs=epochs)
    check_positive(learning_rate=learning_rate)
    check_saves(save_every_iterations, has_place=checkpoint_dir is not None, place="checkpoint_dir")
    device = as_device(device)
    if precision is None:
        precision = "float16" if use_mixed_precision and device.type != "cpu" else "float32"
    check_choice(precision=(precision, PRECISIONS))
    settings = {
        "learning_rate": learning_rate,
        "scheduler": scheduler_type if use_scheduler else None,
        "gradient_clip": gradient_clip,
        "precision": precision,
        "accumulation_steps": accumulation_steps,
        "augmentation": bool(use_augmentation),
        "early_stop_patience": early_stop_patience,
        "ema_decay": ema_decay,
        "non_finite": non_finite,
        "compile": compile,
    }
    model = move_model(model, device)
    optimizer = fused_adam(model, device, learning_rate)
    loss = SupervisedLoss(criterion.to(device) if isinstance(criterion, nn.Module) else criterion)
    trainer = create_trainer(
        model,
        optimizer,
        loss,
        device=device,
        seed=seed,
        accumulation_steps=accumulation_steps,
        deterministic=deterministic,
        compile=compile,
    )
    trainer.metadata = {**(metadata or {}), **settings}
    history = History(["train_loss", "val_loss", "learning_rate"], optional=["train_accuracy", "val_accuracy", *COUNTS])

    # One step, in the order in which it happens.
    loss.check_batches_of(trainer)
    if use_augmentation:
        InputAugmentation(use_augmentation if callable(use_augmentation) else _augment).attach(trainer)
    guard_steps(trainer, precision=precision, max_grad_norm=gradient_clip, non_finite=non_finite, ema_decay=ema_decay)

    # One epoch: measure, decide, save.
    watched = "train_loss"
    if val_loader is not None:
        evaluator = create_evaluator(model, loss, device=device, compile=compile)
        loss.check_batches_of(evaluator)
        measure(trainer, evaluator, val_loader)
        watched = "val_loss"
    if check_stability:
        TrainingStability(every=STABILITY_EVERY).attach(trainer)
    if use_scheduler:
        length = _cycle_length(scheduler_type, train_loader, epochs, accumulation_steps)
        LearningRateScheduler(optimizer, scheduler_type, T_max=length).attach(trainer, watched)
    best = EarlyStopping(early_stop_patience, 0.0, verbose=False).attach(trainer, watched)
    decide(trainer, history, _line, print_every=1 if verbose else None, progress=progress)
    attach_last(trainer, handlers, *_savers(checkpoint_dir, model_name, watched, save_every_iterations))

    began = time.monotonic()
    train_to(epochs, trainer, train_loader, resume_from, settings, seed)
    return {
        "best_val_loss": best.best_loss,
        "best_epoch": best.best_epoch,
        "epochs_trained": len(history.epochs["train_loss"]),
        "stopped_early": best.stopped_epoch is not None,
        "training_time": time.monotonic() - began,
        "history": history.epochs,
    }


def _augment(inputs: Tensor) -> Tensor:
    if inputs.dim() > 2:
        return DataAugmentation().augment_audio_features(inputs)
    return add_noise(inputs, AUGMENTATION_NOISE, None, None)


def _cycle_length(scheduler_type: str, loader: Any, epochs: int, accumulation_steps: int) -> int:
    """How long a schedule is: onecycle in optimizer steps, cosine in epochs."""
    if scheduler_type != "onecycle":
        return epochs
    if not hasattr(loader, "__len__"):
        raise ValueError("onecycle must know its length beforehand: give a loader with a length, or another schedule")
    return epochs * -(-len(loader) // accumulation_steps)


def _savers(
    folder: str | os.PathLike[str] | None, name: str, watched: str, every_iterations: int | None
) -> list[Attachable]:
    if folder is None:
        return []
    best = BestCheckpoint(Path(folder) / f"{name}_best.pt", watched)
    latest = Checkpointing(folder, f"{name}_latest.pt", every_iterations=every_iterations)
    return [best, latest, StopOnSignal(latest.save)]


def _line(metrics: Mapping[str, float]) -> str:
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")
    words = [f"{name.replace('_', ' ')} {metrics[name]:.4g}" for name in names if name in metrics]
    return " | ".join(words)

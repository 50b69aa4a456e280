"""Train a network on inputs and targets, with everything on."""

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ignite_recipes.devices import as_device, move_model
from ignite_recipes.handlers import (
    BestCheckpoint,
    Checkpointing,
    DataAugmentation,
    InputAugmentation,
    LearningRateScheduler,
    StopOnSignal,
    TrainingStability,
    add_noise,
)
from ignite_recipes.loading.given import as_loaders, settings_of
from ignite_recipes.recipes.assembly import (
    attach_records,
    attach_step_handlers,
    attach_stopping,
    attach_validation,
    chosen_precision,
    fused_adam,
    new_evaluator,
    new_history,
    new_trainer,
    train_to,
)
from ignite_recipes.recipes.checks import check_count, check_positive, check_saves
from ignite_recipes.recipes.earlier_files import SetAside
from ignite_recipes.recipes.experiment_run import experiment_run
from ignite_recipes.recipes.measuring import Measuring
from ignite_recipes.recipes.options import Attachable, RunOptions, Unpack, takes_run_options
from ignite_recipes.recipes.plain_settings import described
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

MODES = {"train_loss": "min", "val_loss": "min", "train_accuracy": "max", "val_accuracy": "max"}
"""What is measured anyway, and which way it is better."""

AUGMENTATION_NOISE = 0.05  # standard deviation on vectors, in the units of the inputs
STABILITY_EVERY = 10  # epochs


@takes_run_options(max_grad_norm="gradient_clip")
def train_model_advanced(
    model: nn.Module,
    train_loader: Any,
    val_loader: Any = None,
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
    batch_size: int | None = None,
    **options: Unpack[RunOptions],
) -> dict[str, Any]:
    """Train with Adam on batches of inputs and targets; the model ends with its best weights.

    The best weights are those with the lowest validation loss, or without a validation set the lowest training loss,
    unless ``monitor`` names another number; a plateau schedule and early stopping watch the same. Losses are means over
    samples. Integer targets are classes, and their accuracy, in percent, is reported too. Metrics get the model's
    outputs as they are, and the targets. Named metrics take a single output, or several labels that are yes or no, as
    logits, or as probabilities if ``criterion`` is a ``BCELoss``.

    Args:
        model: ``model(inputs)`` gives the outputs.
        train_loader: batches ``(inputs, targets)``; or a data set of such pairs, or a tuple of two arrays, frames or
            tensors. float64 or integer inputs of a float32 model, (N, 1) targets of (N,) outputs, booleans and, in a
            tuple, names of classes are converted to what they mean, which is logged once.
        val_loader: the same, for validation; None trains without validation.
        criterion: ``criterion(outputs, targets)`` gives a single number, a mean over the samples; its parameters are
            trained too, and its state is in the checkpoints. None is the mean squared error for float targets and the
            cross-entropy for classes.
        epochs: the epoch to train to, counted from 1, also on a resume.
        learning_rate: the first rate of Adam; with a one-cycle schedule its peak.
        device: None or ``"auto"`` is the best available one.
        checkpoint_dir: the folder for ``{model_name}_best.pt`` and ``{model_name}_latest.pt``, both whole runs; None
            writes nothing. Files of an earlier run are first moved to a folder in it, ``earlier_1``.
        model_name: the start of the names of the files.
        use_scheduler: change the learning rate during the training.
        scheduler_type: ``"plateau"``, ``"cosine"`` (over ``epochs``), ``"step"``, ``"exp"`` or ``"onecycle"``
            (over all steps), as in :class:`LearningRateScheduler`.
        gradient_clip: bound of the gradients' total norm; None does not clip.
        use_mixed_precision: float16 with loss scaling on an accelerator; nothing on a CPU.
        use_augmentation: True adds noise to vectors (N, D), and noise, time and frequency masks to
            spectrograms (N, ..., frequency, time); or your own function of the inputs.
        early_stop_patience: epochs without improvement before the run stops; None trains to the end.
        check_stability: log the size of gradients and weights every 10 epochs.
        verbose: print a line for each epoch.
        batch_size: rows per batch, if a data set or arrays are given in place of a loader; None is 32 to 1024,
            depending on the number of rows. Rows are shuffled for training, and in order for validation.
        **options: those of every recipe, :class:`RunOptions`.

    Returns:
        ``best_val_loss`` (the training loss without a validation set), ``best_epoch`` (from 1), ``epochs_trained``
        (since the first), ``stopped_early``, ``training_time`` in seconds (of this call), and ``history``:
        ``train_loss, val_loss, learning_rate``, for classes also ``train_accuracy, val_accuracy``, and the metrics, an
        entry for each epoch. A learning rate is that of the epoch's first step. Each metric also has
        ``best_val_{name}``, from the best epoch; values that are not numbers are in ``report``. If the classes have
        names, ``class_names`` has them in the order of the outputs; the checkpoints have it too.

    Raises:
        ValueError: for a setting out of its range, an empty loader, batches, targets or labels that do not
            fit the model's outputs, or a resume with other settings.
        TypeError: if ``criterion`` does not give a single number.
        NonFiniteError: for a loss or gradient that is not finite.
        FileNotFoundError, CheckpointError: if there is no valid checkpoint to resume from.

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
    run = experiment_run(options, checkpoint_dir=checkpoint_dir)
    has_place = checkpoint_dir is not None or run.is_kept
    check_saves(options["save_every_iterations"], has_place=has_place, place="checkpoint_dir")
    device = as_device(device)
    options["precision"] = chosen_precision(options, device, use_mixed_precision)
    options["max_grad_norm"] = gradient_clip
    train_loader, val_loader = as_loaders(train_loader, val_loader, batch_size, of="pairs")
    data_settings = settings_of(train_loader)
    settings = {
        **data_settings,
        "learning_rate": learning_rate,
        "scheduler": scheduler_type if use_scheduler else None,
        "gradient_clip": gradient_clip,
        "augmentation": bool(use_augmentation),
        "early_stop_patience": early_stop_patience,
    }
    loss = SupervisedLoss(criterion.to(device) if isinstance(criterion, nn.Module) else criterion)
    validates, watched = val_loader is not None, "train_loss" if val_loader is None else "val_loss"
    measuring = Measuring(
        options, MODES, watched, validates=validates, threshold=loss.threshold, ignore_index=loss.ignore_index
    )
    if val_loader is not None and measuring.monitor == "val_accuracy" and "accuracy" not in measuring.metrics:
        loss.require_classes(val_loader)
    model = move_model(model, device)
    optimizer = fused_adam(model, device, learning_rate)
    trainer = new_trainer(model, optimizer, loss, options, device=device, settings=settings)
    history = new_history(
        ["train_loss", "val_loss", "learning_rate"],
        measuring,
        optional=["train_accuracy", "val_accuracy"],
        unmeasured=[] if val_loader is not None else ["val_loss"],
    )

    # One step, in the order in which it happens.
    loss.belong_to(trainer, add=True)
    loss.check_batches_of(trainer)
    if use_augmentation:
        InputAugmentation(use_augmentation if callable(use_augmentation) else _augment).attach(trainer)
    attach_step_handlers(trainer, options)

    # One epoch: measure, decide, save.
    if val_loader is not None:
        evaluator = new_evaluator(trainer, measuring)
        loss.check_batches_of(evaluator)
        attach_validation(trainer, evaluator, val_loader, measuring)
    if check_stability:
        TrainingStability(every=STABILITY_EVERY).attach(trainer)
    if use_scheduler:
        length = _cycle_length(scheduler_type, train_loader, epochs, options["accumulation_steps"])
        schedule = LearningRateScheduler(
            optimizer, scheduler_type, T_max=length, stretch=options["stretch_schedule"], mode=measuring.mode
        )
        schedule.attach(trainer, measuring.monitor)
    best = attach_stopping(trainer, early_stop_patience, measuring)
    report = attach_records(
        trainer, history, _line, measuring, options, print_every=1 if verbose else None, stopping=best
    )

    began = time.monotonic()
    with run.open("train_model_advanced", described(model, train_loader, options, settings)):
        run.attach(trainer, options, measuring, "loss", _savers(checkpoint_dir, model_name, measuring, options))
        train_to(epochs, trainer, train_loader, options, settings)
        names = data_settings.get("class_names")
        loss.see_batch(trainer, train_loader)
        run.write_model(lambda: loss.predictor(model, names), best.best_epoch)
    best_values = measuring.best(history, best.best_epoch, watched)
    return {
        "best_val_loss": best.best_loss if measuring.monitor == watched else best_values[f"best_{watched}"],
        "best_epoch": best.best_epoch,
        "epochs_trained": len(history.epochs["train_loss"]),
        "stopped_early": best.stopped_epoch is not None,
        "training_time": time.monotonic() - began,
        "history": history.epochs,
        **{name: value for name, value in best_values.items() if name != f"best_{watched}"},
        **report.result,
        **{name: data_settings[name] for name in ("class_names",) if name in data_settings},
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
    folder: str | os.PathLike[str] | None, name: str, measuring: Measuring, options: RunOptions
) -> list[Attachable]:
    if folder is None:
        return []
    aside = SetAside(folder, [f"{name}_best.pt", f"{name}_latest.pt"], options["resume_from"])
    best = BestCheckpoint(Path(folder) / f"{name}_best.pt", measuring.monitor, mode=measuring.mode)
    latest = Checkpointing(folder, f"{name}_latest.pt", every_iterations=options["save_every_iterations"])
    return [aside, best, latest, StopOnSignal(latest.save)]


def _line(metrics: Mapping[str, float]) -> str:
    names = ("train_loss", "val_loss", "train_accuracy", "val_accuracy", "learning_rate")
    words = [f"{name.replace('_', ' ')} {metrics[name]:.4g}" for name in names if name in metrics]
    return " | ".join(words)

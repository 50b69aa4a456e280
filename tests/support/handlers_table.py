"""Every exported handler, and how it is built. A new one is entered here; without that, its contract fails."""

from types import SimpleNamespace

import torch

from ignite_recipes import EpochAverages, create_evaluator, handlers, run_state
from ignite_recipes.loading.batches import first_item


def an_evaluator(t):
    evaluator = create_evaluator(t.model, t.task.loss_fn)
    EpochAverages().attach(evaluator)
    return evaluator


def case(build, **kwargs):
    """How to build a handler of (task, model, optimizer, folder), and what is special about it.

    refuses: the engines of one's own it cannot work on: "bare" (Ignite's events only), "events" (with ours).
    bad_batch: it has something to remember only when a batch is bad.
    on_evaluator: how to build it for an evaluator of create_evaluator; None if it is refused there.
    """
    return SimpleNamespace(build=build, **{"refuses": (), "bad_batch": False, "on_evaluator": None, **kwargs})


def encode(model, x):
    """Means and log-variances of one latent dimension."""
    return model(x), torch.zeros(len(x), 1)


HANDLERS = {
    "BestCheckpoint": case(
        lambda t: handlers.BestCheckpoint(t.folder / "best.pt"),
        refuses=("bare", "events"),
    ),
    "Checkpointing": case(lambda t: handlers.Checkpointing(t.folder, keep=2), refuses=("bare", "events")),
    "Curves": case(
        lambda t: handlers.Curves(t.folder / "curves.png", t.folder / "log.csv"),
        on_evaluator=lambda t: handlers.Curves(t.folder / "curves.png", t.folder / "log.csv"),
    ),
    "DataAugmentation": case(lambda t: handlers.DataAugmentation()),
    "EarlyStopping": case(lambda t: handlers.EarlyStopping(patience=3, verbose=False)),
    "EpochAverages": case(
        lambda t: handlers.EpochAverages("again_"), on_evaluator=lambda t: handlers.EpochAverages("again_")
    ),
    "ExponentialMovingAverage": case(lambda t: handlers.ExponentialMovingAverage(0.9)),
    "GradientClipCallback": case(lambda t: handlers.GradientClipCallback(0.1), refuses=("bare",)),
    "GradientClipper": case(lambda t: handlers.GradientClipper(0.1), refuses=("bare",)),
    "History": case(lambda t: handlers.History(["val_loss"]), on_evaluator=lambda t: handlers.History(["loss"])),
    "InputAugmentation": case(lambda t: handlers.InputAugmentation(torch.tanh)),
    "KLSchedule": case(lambda t: handlers.KLSchedule(epochs=3)),
    "LatentMonitor": case(lambda t: handlers.LatentMonitor(first_item(t.task.batches[0]), encode=encode)),
    "LearningRateScheduler": case(lambda t: handlers.LearningRateScheduler(t.optimizer, patience=0)),
    "MixedPrecisionTrainer": case(
        lambda t: handlers.MixedPrecisionTrainer(device="cpu", dtype=torch.float16), refuses=("bare", "events")
    ),
    "NoiseAugmentation": case(lambda t: handlers.NoiseAugmentation(0.2, None, None)),
    "NonFiniteGuard": case(lambda t: handlers.NonFiniteGuard("skip"), refuses=("bare",), bad_batch=True),
    "ProgressBar": case(lambda t: handlers.ProgressBar(), on_evaluator=lambda t: handlers.ProgressBar()),
    "Rollback": case(lambda t: handlers.Rollback(), refuses=("bare", "events")),
    "SaveInside": case(lambda t: handlers.SaveInside(3, run_state), refuses=("bare", "events")),
    "StopOnSignal": case(lambda t: handlers.StopOnSignal(), on_evaluator=lambda t: handlers.StopOnSignal()),
    "TensorBoardLog": case(lambda t: handlers.TensorBoardLog(t.folder)),
    "TrainingLog": case(lambda t: handlers.TrainingLog(t.folder / "log.csv")),
    "TrainingStability": case(lambda t: handlers.TrainingStability(every=1)),
    "Validation": case(lambda t: handlers.Validation(an_evaluator(t), t.task.batches[:1], prefix="other_")),
}

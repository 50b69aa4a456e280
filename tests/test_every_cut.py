"""A run that is cut after any of its batches and resumed ends with the bits of the uninterrupted run."""

from types import SimpleNamespace

import pytest
import torch
from support.cuts import check_cuts
from support.handlers_table import HANDLERS
from support.runs import BATCHES, EPOCHS, loss_fn, make_run, measured
from support.timm_like import TimmLike
from torch.optim import lr_scheduler as torchs

from ignite_recipes import (
    EarlyStopping,
    ExponentialMovingAverage,
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteGuard,
    Rollback,
    TrainEvents,
    TrainingStability,
    check_resume,
    handlers,
)

CUTS = [(epoch, batch) for epoch in range(1, EPOCHS + 1) for batch in range(1, BATCHES + 1)][:-1]


def check(make, folder, cuts=CUTS):
    return check_cuts(make, folder, EPOCHS, cuts)


def parts_of(trainer, folder):
    """What the table's functions take."""
    task = SimpleNamespace(batches=[(torch.ones(4, 3), torch.ones(4, 1))], loss_fn=loss_fn)
    return SimpleNamespace(task=task, model=trainer.model, optimizer=trainer.optimizer, folder=folder)


@pytest.mark.parametrize("name", HANDLERS)
def test_with_each_handler_alone(tmp_path, monkeypatch, name):
    monkeypatch.setattr(handlers.Curves, "__call__", lambda *_: None)
    monkeypatch.setattr(handlers.ProgressBar, "_open", lambda *_: None)
    monkeypatch.setattr(handlers.ProgressBar, "_advance", lambda *_: None)
    count = iter(range(100))

    def attach(trainer):
        folder = tmp_path / str(next(count))  # as in a new run, which finds no files
        folder.mkdir()
        parts = parts_of(trainer, folder)
        measured(trainer)
        if name == "History":  # which measured() has
            return
        HANDLERS[name].build(parts).attach(trainer)

    check(make_run(attach, bad=5 if HANDLERS[name].bad_batch else None), tmp_path)


def test_with_all_handlers_together(tmp_path, monkeypatch):
    monkeypatch.setattr(handlers.Curves, "__call__", lambda *_: None)
    count = iter(range(100))

    def attach(trainer):
        folder = tmp_path / str(next(count))
        folder.mkdir()
        parts = parts_of(trainer, folder)
        measured(trainer)
        for name in HANDLERS:
            if name != "History":
                HANDLERS[name].build(parts).attach(trainer)

    check(make_run(attach, bad=5), tmp_path)


SCHEDULES = {
    "plateau": {"patience": 0},
    "cosine": {"T_max": EPOCHS},
    "step": {"step_size": 1},
    "exp": {},
    "onecycle": {"T_max": EPOCHS * BATCHES},
}


def everything(schedule="plateau", *, non_finite="skip", restores_best=True, scaling=True):
    """All that changes a step or an epoch, together."""

    def attach(trainer):
        if scaling:
            MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)
        NoiseAugmentation(0.1, None, None).attach(trainer)
        GradientClipper(0.5).attach(trainer)
        if non_finite == "rollback":
            Rollback(max_rollbacks=9).attach(trainer)
        NonFiniteGuard("raise" if non_finite == "rollback" else non_finite).attach(trainer)
        ExponentialMovingAverage(0.8).attach(trainer)
        measured(trainer)
        TrainingStability(every=1).attach(trainer)
        LearningRateScheduler(trainer.optimizer, schedule, **SCHEDULES[schedule]).attach(trainer)
        EarlyStopping(2, 0.0, restores_best, verbose=False).attach(trainer)

    return attach


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_with_everything_and_every_schedule(tmp_path, schedule, accumulation_steps):
    check(make_run(everything(schedule), accumulation_steps=accumulation_steps), tmp_path)


def slowly(epoch):
    return 1 / (1 + epoch)


def warmed_up(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=2), torchs.CosineAnnealingLR(optimizer, 5)]
    return torchs.SequentialLR(optimizer, parts, [2])


PER_STEP = {  # what is made for an optimizer, each to be attached by itself, with the settings of its attachment
    "a cosine by its name": [lambda o: LearningRateScheduler(o, "cosine", T_max=5, per="step")],
    "a warm-up, then a cosine": [lambda o: LearningRateScheduler(o, warmed_up(o), per="step")],
    "a function": [lambda o: LearningRateScheduler(o, torchs.LambdaLR(o, slowly), per="step")],
    "warm restarts": [lambda o: LearningRateScheduler(o, torchs.CosineAnnealingWarmRestarts(o, 3), per="step")],
    "a warm-up per step, a decay per epoch and a plateau": [
        lambda o: LearningRateScheduler(o, torchs.LinearLR(o, 0.1, total_iters=3), per="step"),
        lambda o: LearningRateScheduler(o, "exp", gamma=0.7, per="epoch"),
        lambda o: LearningRateScheduler(o, "plateau", patience=0),
    ],
    "two of one type": [
        lambda o: LearningRateScheduler(o, torchs.LinearLR(o, 0.1, total_iters=3), per="step"),
        lambda o: LearningRateScheduler(o, torchs.LinearLR(o, 1.0, 0.2, total_iters=9), per="step"),
    ],
    "timm's in steps": [lambda o: LearningRateScheduler(o, TimmLike(o, 7, 2, t_in_epochs=False))],
    "timm's in epochs": [lambda o: LearningRateScheduler(o, TimmLike(o, 3, 1), per="epoch")],
}


@pytest.mark.parametrize("makers", PER_STEP.values(), ids=PER_STEP)
@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_with_any_schedule_per_step_and_several_at_once(tmp_path, makers, accumulation_steps):
    rates = []

    def attach(trainer):
        NonFiniteGuard("skip").attach(trainer)
        measured(trainer)
        for make in makers:
            make(trainer.optimizer).attach(trainer)
        trainer.add_event_handler(
            TrainEvents.OPTIMIZER_STEP_STARTED, lambda t: rates.append(t.optimizer.param_groups[0]["lr"])
        )

    trainer = check(make_run(attach, accumulation_steps=accumulation_steps, bad=5), tmp_path)
    assert trainer.progress.skipped_steps >= EPOCHS
    assert len(set(rates)) > 2


STOPS = {  # settings that stop the run in its second epoch: what it watches only rises
    "patience that starts late": {"patience": 1, "start_from_epoch": 1},
    "a baseline": {"patience": 2, "baseline": 0.5, "min_delta": 0.0},
    "a bad value": {"patience": 9, "divergence_threshold": 1.5},
    "a good value": {"patience": 9, "stopping_threshold": 1.5, "mode": "max"},
}


@pytest.mark.parametrize("settings", STOPS.values(), ids=STOPS)
def test_with_a_stop_by_a_start_a_baseline_or_a_threshold(tmp_path, settings):
    def attach(trainer):
        measured(trainer)
        EarlyStopping(**settings, verbose=False).attach(trainer, lambda engine: float(engine.state.epoch))

    cuts = [cut for cut in CUTS if cut <= (2, BATCHES)]
    assert check(make_run(attach), tmp_path, cuts).state.epoch == 2


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("scaling", [True, False], ids=["float16", "float32"])
def test_with_a_bad_batch_in_every_epoch_that_is_skipped(tmp_path, scaling, accumulation_steps):
    trainer = check(make_run(everything(scaling=scaling), accumulation_steps=accumulation_steps, bad=5), tmp_path)
    assert trainer.progress.skipped_steps >= EPOCHS


@pytest.mark.parametrize("accumulation_steps", [1, 3])
@pytest.mark.parametrize("from_iteration", [2, 6])
def test_with_rollbacks_in_the_first_epoch_or_a_later_one(tmp_path, from_iteration, accumulation_steps):
    attach = everything("exp", non_finite="rollback", scaling=False)
    trainer = check(make_run(attach, accumulation_steps=accumulation_steps, breaks_from=from_iteration), tmp_path)
    assert trainer.parts["rollback"].num_rollbacks == 2
    assert trainer.state.epoch == EPOCHS


@pytest.mark.parametrize("restores_best", [True, False])
def test_with_an_early_stop_inside_the_run(tmp_path, restores_best):
    def attach(trainer):
        measured(trainer)
        # What it watches only rises, so that the second epoch is the last.
        EarlyStopping(1, 0.0, restores_best, verbose=False).attach(trainer, lambda engine: float(engine.state.epoch))

    cuts = [cut for cut in CUTS if cut < (2, BATCHES)]
    assert check(make_run(attach), tmp_path, cuts).state.epoch == 2


def test_with_workers(tmp_path):
    check(make_run(everything(), num_workers=2), tmp_path, [(1, 1), (1, 4), (2, 3)])


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_with_everything_a_run_that_ends_at_its_cut_is_resumed_too(accumulation_steps):
    report = check_resume(make_run(everything(), accumulation_steps=accumulation_steps), EPOCHS, CUTS[::3])
    assert report.is_exact, str(report)
    assert list(report.differences) == CUTS[::3]


def test_a_state_that_is_not_saved_is_found_at_every_cut():
    class Forgetful:
        """Changes the inputs by how often it was called, which no checkpoint holds."""

        calls = 0

        def __call__(self, inputs):
            self.calls += 1
            return inputs * (1 + self.calls)

    report = check_resume(make_run(lambda t: handlers.InputAugmentation(Forgetful()).attach(t)), EPOCHS, CUTS)
    assert report.repeated is None
    assert all(report.differences.values())

"""Half precision by hand and attached; everything here runs on the CPU, where float16 has a real GradScaler."""

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import (
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NonFiniteError,
    NonFiniteGuard,
    TrainEvents,
    create_evaluator,
)

HALVES = [torch.float16, torch.bfloat16]
KINDS = [*HALVES, None]  # None: disabled


def half(dtype=torch.float16):
    return MixedPrecisionTrainer(enabled=dtype is not None, device="cpu", dtype=dtype)


def overflowing(task):
    """The task's batches, the second with targets so large that its float16 gradients overflow."""
    batches = list(task.batches)
    batches[1] = (batches[1][0], torch.full_like(batches[1][1], 1e4))
    return batches


def trained_dtypes(task, trainer):
    """The dtypes of the model's outputs while ``trainer`` runs one epoch."""
    seen = set()
    trainer.model.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    trainer.run(task.batches, max_epochs=1)
    return seen


@pytest.mark.parametrize("dtype", HALVES)
def test_attached_the_forward_pass_is_half_and_weights_and_losses_are_not(task, dtype):
    trainer = task.trainer()
    precision = half(dtype)
    assert precision.attach(trainer) is precision
    assert trained_dtypes(task, trainer) == {dtype}
    assert {p.dtype for p in trainer.model.parameters()} == {torch.float32}
    assert trainer.state.output["loss"].dtype == torch.float32


@pytest.mark.parametrize("dtype", HALVES)
def test_attached_it_learns_what_float32_learns(task, dtype):
    weights = []
    for precise in (True, False):
        trainer = task.trainer()
        if not precise:
            half(dtype).attach(trainer)
        trainer.run(task.batches, max_epochs=3)
        weights.append(task.weights(trainer.model))
    assert not task.same(*weights)
    torch.testing.assert_close(weights[1], weights[0], rtol=0.05, atol=0.05)


def test_validation_stays_in_float32(task):
    trainer = task.trainer()
    half().attach(trainer)
    seen = set()
    trainer.run(task.batches, max_epochs=1)
    trainer.model.register_forward_hook(lambda module, args, output: seen.add(output.dtype))
    create_evaluator(trainer.model, task.loss_fn).run(task.batches)
    assert seen == {torch.float32}


@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_clipping_sees_the_true_gradients_and_not_the_scaled_ones(task, accumulation_steps):
    norms = []
    for precise in (True, False):
        trainer = task.trainer(lr=0.0, accumulation_steps=accumulation_steps)
        if not precise:
            half().attach(trainer)
        GradientClipper(max_norm=0.05).attach(trainer)
        seen = []
        trainer.add_event_handler(
            TrainEvents.OPTIMIZER_STEP_STARTED, lambda engine, seen=seen: seen.append(engine.state.grad_norm.item())
        )
        trainer.run(task.batches, max_epochs=1)
        norms.append(seen)
    assert len(norms[0]) == 4 // accumulation_steps
    assert norms[1] == pytest.approx(norms[0], rel=0.02)
    assert min(norms[0]) > 0.05


def test_an_overflowing_step_is_dropped_and_only_the_scale_changes(task):
    trainer = task.trainer()
    precision = half().attach(trainer)
    schedule = LearningRateScheduler(trainer.optimizer, "onecycle", total_steps=20).attach(trainer)
    guard = NonFiniteGuard("raise").attach(trainer)  # an overflow is normal and no reason to raise
    events, weights, scales = [], [], []
    for event in (TrainEvents.OPTIMIZER_STEP_COMPLETED, TrainEvents.OPTIMIZER_STEP_SKIPPED):
        trainer.add_event_handler(
            event, lambda engine, event=event: events.append((engine.state.iteration, event.name))
        )
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: weights.append(task.weights(trainer.model)))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: scales.append(precision.scaler.get_scale()))
    trainer.run(overflowing(task), max_epochs=1)

    taken, dropped = "OPTIMIZER_STEP_COMPLETED", "OPTIMIZER_STEP_SKIPPED"
    assert events == [(1, taken), (2, dropped), (3, taken), (4, taken)]
    assert scales == [65536.0, 32768.0, 32768.0, 32768.0]
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps, guard.num_skipped) == (3, 1, 0)
    assert schedule.scheduler.last_epoch == 3
    assert task.same(weights[1], weights[2])
    assert not task.same(weights[0], weights[1])
    assert not task.same(weights[2], weights[3])


def test_when_no_scale_helps_the_guard_raises(task):
    def loss_fn(model, inputs, batch):  # finite, with an infinite gradient at 0
        return {"loss": (0 * model(inputs)).sum().sqrt()}

    trainer = task.trainer(loss_fn=loss_fn)
    half().attach(trainer)
    NonFiniteGuard("raise").attach(trainer)
    before = task.weights(trainer.model)
    with pytest.raises(NonFiniteError, match=r"iteration 18: the gradient of 0\.weight"):
        trainer.run(task.batches, max_epochs=10)  # 65536 has become 1/2 after 17 steps
    assert task.same(task.weights(trainer.model), before)


def test_after_a_guard_has_raised_the_trainer_can_run_again(task):
    trainer = task.trainer()
    half().attach(trainer)
    NonFiniteGuard("raise").attach(trainer)
    with pytest.raises(NonFiniteError, match="iteration 2"):
        trainer.run([task.batches[0], task.nan_batch], max_epochs=1)
    trainer.run(task.batches[:2], max_epochs=1)
    assert trainer.progress.optimizer_steps == 2


# By hand, as the document shows.


def documented_loop(mp_trainer, task, batches, epochs=1):
    """Returns the model, and whether each step was taken."""
    model, taken = task.model(), []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for inputs, targets in batches * epochs:
        optimizer.zero_grad()
        with mp_trainer.autocast():
            loss = task.loss_fn(model, inputs, (inputs, targets))["loss"]
        scaled_loss = mp_trainer.scale_loss(loss)
        scaled_loss.backward()
        taken.append(mp_trainer.step_optimizer(optimizer))
    return model, taken


@pytest.mark.parametrize("dtype", HALVES)
def test_by_hand_it_learns_what_float32_learns(task, dtype):
    torch.manual_seed(0)
    model, taken = documented_loop(half(dtype), task, task.batches, epochs=3)
    torch.manual_seed(0)
    precise, _ = documented_loop(half(None), task, task.batches, epochs=3)
    assert taken == [True] * 12
    assert not task.same(task.weights(model), task.weights(precise))
    torch.testing.assert_close(task.weights(model), task.weights(precise), rtol=0.05, atol=0.05)


def test_by_hand_an_overflowing_step_is_dropped_and_said(task):
    precision = half()
    _, taken = documented_loop(precision, task, overflowing(task))
    assert taken == [True, False, True, True]
    assert precision.scaler.get_scale() == 32768.0


@pytest.mark.parametrize("unscaled", [True, False], ids=["after unscaling", "at once"])
@pytest.mark.parametrize("dtype", KINDS)
def test_by_hand_drop_leaves_the_weights_as_they_are(task, dtype, unscaled):
    precision = half(dtype)
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = task.weights(model)
    for drop in (True, False):
        with precision.autocast():
            loss = task.loss_fn(model, task.batches[0][0], task.batches[0])["loss"]
        precision.scale_loss(loss).backward()
        if unscaled:
            precision.unscale_gradients(optimizer)
        assert precision.step_optimizer(optimizer, drop=drop) is not drop
        assert task.same(task.weights(model), before) is drop


@pytest.mark.parametrize("dtype", KINDS)
def test_autocast_inside_no_grad_leaves_gradients_off(dtype):
    precision = half(dtype)
    with torch.no_grad(), precision.autocast():
        assert not torch.is_grad_enabled()
    with precision.autocast():
        assert torch.is_grad_enabled()


# Where it does nothing.


@pytest.mark.parametrize("device", ["cpu", torch.device("cpu"), "cuda", "cuda:0"])
def test_without_an_accelerator_it_says_so_and_changes_nothing(task, monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.warns(UserWarning, match="float32") as record:
        precision = MixedPrecisionTrainer(enabled=True, device=device)
    assert (len(record), record[0].filename) == (1, __file__)
    trainer = task.trainer()
    precision.attach(trainer)
    assert not precision.active
    assert trained_dtypes(task, trainer) == {torch.float32}
    plain = task.trainer()
    plain.run(task.batches, max_epochs=1)
    assert task.same(task.weights(trainer.model), task.weights(plain.model))


@pytest.mark.parametrize("settings", [{}, {"device": "cpu"}, {"device": "cpu", "dtype": torch.float16}])
def test_disabled_it_is_silent_and_changes_nothing(task, settings):
    precision = MixedPrecisionTrainer(enabled=False, **settings)
    trainer = task.trainer()
    assert precision.attach(trainer) is precision
    assert trained_dtypes(task, trainer) == {torch.float32}
    loss = torch.tensor(2.0)
    assert precision.scale_loss(loss) is loss


@pytest.mark.parametrize("device", ["cuda", "cuda:0", torch.device("cuda"), torch.device("cuda", 0)], ids=repr)
def test_every_way_to_name_an_accelerator_switches_it_on(monkeypatch, device):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    precision = MixedPrecisionTrainer(device=device)
    assert precision.active
    assert precision.scaler is not None
    assert MixedPrecisionTrainer(device=device, dtype=torch.bfloat16).scaler is None


# State and refusals.


def test_saving_and_loading_keeps_the_scale_and_how_long_it_has_held(task):
    whole, first, second = half(), half(), half()
    batches = overflowing(task)
    documented_loop(whole, task, batches * 2)
    documented_loop(first, task, batches)
    second.load_state_dict(task.filed(first.state_dict()))
    assert second.scaler.get_scale() == 32768.0
    documented_loop(second, task, batches)
    assert second.state_dict() == whole.state_dict()
    assert whole.scaler.get_scale() == 16384.0


def test_a_restored_scale_is_not_taken_for_an_overflow(task):
    first, second = half(), half()
    documented_loop(first, task, overflowing(task))
    second.load_state_dict(first.state_dict())
    assert documented_loop(second, task, task.batches)[1] == [True] * 4


def test_an_engine_of_ones_own_is_refused_and_told_which_methods_to_call():
    with pytest.raises(RuntimeError, match=r"autocast\(\), scale_loss\(loss\).*step_optimizer\(optimizer\)"):
        half().attach(Engine(lambda engine, batch: None))


@pytest.mark.parametrize("same_one", [True, False])
def test_a_second_precision_is_refused(task, same_one):
    trainer = task.trainer()
    first = half().attach(trainer)
    with pytest.raises(RuntimeError, match="a step has one precision"):
        (first if same_one else half(torch.bfloat16)).attach(trainer)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int8])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(ValueError, match=r"torch.float16 or torch.bfloat16; got torch"):
        MixedPrecisionTrainer(device="cpu", dtype=dtype)

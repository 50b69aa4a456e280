"""No non-finite step reaches the weights; errors name what, where and what to try; deferred, nobody waits."""

import copy
import itertools
import math

import pytest
import torch
from ignite.engine import Events
from torch import nn

from ignite_recipes import (
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NonFiniteError,
    NonFiniteGuard,
    TrainEvents,
    create_trainer,
    restore_run,
    run_state,
    write_checkpoint,
)

NAN, INF = math.nan, math.inf


def factor_loss(model, inputs, batch):
    """A loss times the batch's second item: NaN or infinity there spoil the loss, and only that step."""
    return {"loss": model(inputs).square().mean() * batch[1]}


def sqrt_loss(model, inputs, batch):
    """Finite everywhere; where the second item is 0 its gradient is not."""
    return {"loss": (model(inputs).square().sum() * batch[1]).sqrt()}


def factors(*values):
    draw = torch.Generator().manual_seed(0)
    return [(torch.randn(4, 3, generator=draw), torch.tensor([value])[0]) for value in values]


def taking(loss_fn, batch_size=4):
    return {"loss_fn": loss_fn, "batch_size": lambda batch: batch_size}


def track(trainer, task):
    """The weights after every iteration, and the events of the optimizer's steps."""
    weights, events = [task.weights(trainer.model)], []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: weights.append(task.weights(trainer.model)))
    for event in (TrainEvents.OPTIMIZER_STEP_COMPLETED, TrainEvents.OPTIMIZER_STEP_SKIPPED):
        trainer.add_event_handler(event, lambda _, event=event: events.append(event))
    return weights, events


BAD_STEPS = [  # what, loss, factors, what the error says
    ("NaN loss", factor_loss, [1.0, 1.0, 1.0, 1.0, NAN, 1.0], "epoch 2, iteration 5: the loss is nan"),
    ("infinite loss", factor_loss, [1.0, 1.0, 1.0, 1.0, INF, 1.0], "epoch 2, iteration 5: the loss is inf"),
    (
        "NaN gradient",
        sqrt_loss,
        [1.0, 1.0, 1.0, 1.0, 0.0, 1.0],
        r"epoch 2, iteration 5: the gradient of 0\.weight is not finite",
    ),
]
bad_steps = pytest.mark.parametrize(
    ("loss_fn", "values", "message"), [case[1:] for case in BAD_STEPS], ids=[case[0] for case in BAD_STEPS]
)


def raising_run(task, trainer, values, message):
    """Run epochs of three over the values until the guard raises ``message``."""
    batches = factors(*values)
    epochs = iter([batches[:3], batches[3:]])

    class Loader:
        def __len__(self):
            return 3

        def __iter__(self):
            return iter(next(epochs))

    with pytest.raises(NonFiniteError, match=message) as caught:
        trainer.run(Loader(), max_epochs=2)
    return str(caught.value)


@bad_steps
@pytest.mark.parametrize("clip", [False, True], ids=["", "clipped"])
def test_raise_leaves_the_weights_to_the_bit_and_says_what_where_and_what_to_try(task, loss_fn, values, message, clip):
    trainer = task.trainer(**taking(loss_fn))
    if clip:
        GradientClipper().attach(trainer)
    NonFiniteGuard().attach(trainer)
    weights, events = track(trainer, task)
    said = raising_run(task, trainer, values, message)
    assert "Try a lower learning rate or gradient clipping" in said
    assert "policy 'skip'" in said
    assert len(weights) == 5
    assert task.same(task.weights(trainer.model), weights[4])
    assert not task.same(weights[4], weights[3])
    assert events == [TrainEvents.OPTIMIZER_STEP_COMPLETED] * 4


def test_the_error_names_the_first_parameter_whose_gradient_is_bad(task):
    trainer = task.trainer()
    NonFiniteGuard().attach(trainer)
    trainer.add_event_handler(TrainEvents.GRADIENTS_READY, lambda: trainer.model[3].bias.grad.fill_(INF))
    with pytest.raises(NonFiniteError, match=r"the gradient of 3\.bias is not finite"):
        trainer.run(task.batches, max_epochs=1)


def test_it_is_a_floating_point_error_that_reaches_the_caller_and_may_be_followed_by_another_run(task):
    assert issubclass(NonFiniteError, FloatingPointError)
    trainer = task.trainer()
    NonFiniteGuard().attach(trainer)
    with pytest.raises(FloatingPointError):
        trainer.run([task.nan_batch], max_epochs=1)
    trainer.run([task.batches[0]], max_epochs=1)
    assert trainer.progress.optimizer_steps == 1


def test_training_that_skips_a_batch_equals_training_without_it(task):
    model = nn.Linear(3, 1)
    with_bad, without = (task.trainer(copy.deepcopy(model)) for _ in range(2))
    guard = NonFiniteGuard("skip").attach(with_bad)
    _, events = track(with_bad, task)
    good = task.batches
    with_bad.run([good[0], task.nan_batch, good[1], good[2]], max_epochs=3)
    without.run(good[:3], max_epochs=3)
    assert task.same(task.weights(with_bad.model), task.weights(without.model))
    assert (guard.num_skipped, with_bad.progress.skipped_steps, with_bad.progress.optimizer_steps) == (3, 3, 9)
    taken, dropped = TrainEvents.OPTIMIZER_STEP_COMPLETED, TrainEvents.OPTIMIZER_STEP_SKIPPED
    assert events == [taken, dropped, taken, taken] * 3


@bad_steps
def test_skip_drops_every_kind_of_bad_step_and_logs_it(task, caplog, loss_fn, values, message):
    trainer = task.trainer(**taking(loss_fn))
    NonFiniteGuard("skip").attach(trainer)
    weights, _ = track(trainer, task)
    trainer.run(factors(*values), max_epochs=1)
    assert task.same(weights[5], weights[4])
    assert [task.same(after, before) for before, after in itertools.pairwise(weights)].count(True) == 1
    assert len(caplog.messages) == 1
    assert "1 step dropped so far" in caplog.messages[0]


@pytest.mark.parametrize("accumulation_steps", [1, 2, 3])
def test_an_epoch_of_nothing_but_bad_steps_raises_even_under_skip(task, accumulation_steps):
    trainer = task.trainer(accumulation_steps=accumulation_steps)
    NonFiniteGuard("skip").attach(trainer)
    before = task.weights(trainer.model)
    steps = -(-4 // accumulation_steps)
    with pytest.raises(NonFiniteError, match=f"epoch 1: none of its {steps} steps could be taken"):
        trainer.run([task.nan_batch] * 4, max_epochs=2)
    assert trainer.state.iteration == 4
    assert task.same(task.weights(trainer.model), before)


def test_as_many_bad_steps_in_a_row_across_two_epochs_do_not_raise(task):
    trainer = task.trainer()
    guard = NonFiniteGuard("skip").attach(trainer)
    epochs = iter([[1.0, NAN, NAN], [NAN, NAN, 1.0]])
    trainer.add_event_handler(Events.EPOCH_STARTED, lambda: setattr(trainer, "script", iter(next(epochs))))

    @trainer.on(TrainEvents.GRADIENTS_READY)
    def spoil(engine):
        engine.model[0].weight.grad.mul_(next(engine.script))

    trainer.run(task.batches[:3], max_epochs=2)
    assert (guard.num_skipped, trainer.progress.optimizer_steps) == (4, 2)


def test_a_window_with_one_bad_batch_is_dropped_as_a_whole(task):
    trainer = task.trainer(nn.Linear(3, 1), accumulation_steps=2)
    reference = task.trainer(copy.deepcopy(trainer.model), accumulation_steps=2)
    NonFiniteGuard("skip").attach(trainer)
    good = task.batches
    trainer.run([good[0], task.nan_batch, good[1], good[2]], max_epochs=1)
    reference.run(good[1:3], max_epochs=1)
    assert task.same(task.weights(trainer.model), task.weights(reference.model))
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (1, 1)


# Deferred, as on an accelerator: the device drops the step, the host learns of it three steps later.


def deferred(task, policy, *, fused=True, dtype=None, **settings):
    model = task.model()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=fused)
    trainer = task.trainer(model, optimizer, **settings)
    trainer.updates.first.veto_lag = 3
    MixedPrecisionTrainer(enabled=dtype is not None, device="cpu", dtype=dtype).attach(trainer)
    return trainer, NonFiniteGuard(policy).attach(trainer)


@pytest.mark.parametrize("fused", [True, False])
@bad_steps
def test_deferred_raise_comes_later_names_its_iteration_and_finds_the_weights_unharmed(
    task, fused, loss_fn, values, message
):
    trainer, _ = deferred(task, "raise", fused=fused, **taking(loss_fn))
    weights, _ = track(trainer, task)
    batches = [factors(*values)[i] for i in (0, 1, 2, 3, 4, 5, 0, 1, 2, 3)]
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 5: the") as caught:
        trainer.run(batches, max_epochs=1)
    assert ("the loss is not finite" in str(caught.value)) == (loss_fn is factor_loss)
    assert len(weights) == 8  # it was said in iteration 8
    assert task.same(weights[5], weights[4])
    assert not task.same(weights[6], weights[5])
    assert all(value.isfinite().all() for value in trainer.model.state_dict().values())


def test_deferred_raise_at_the_epochs_end_does_not_wait_for_the_next(task):
    trainer, _ = deferred(task, "raise")
    trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: pytest.fail("the epoch was decided on"))
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 4"):
        trainer.run([*task.batches[:3], task.nan_batch], max_epochs=2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("place", range(6))
def test_deferred_skip_ends_with_the_weights_and_counts_of_deciding_at_once(task, fused, dtype, place):
    batches = [*task.batches, *task.batches][:5]
    batches.insert(place, task.nan_batch)
    results = []
    for lag in (0, 3):
        trainer, guard = deferred(task, "skip", fused=fused, dtype=dtype)
        trainer.updates.first.veto_lag = lag
        _, events = track(trainer, task)
        counts = []
        trainer.add_event_handler(
            TrainEvents.CHECKPOINT_READY,
            lambda engine, counts=counts: counts.append(
                (engine.progress.optimizer_steps, engine.progress.skipped_steps)
            ),
        )
        trainer.run(batches, max_epochs=2)
        assert counts == [(5, 1), (10, 2)]
        assert guard.num_skipped == 2
        assert events.count(TrainEvents.OPTIMIZER_STEP_SKIPPED) == 2
        results.append((task.weights(trainer.model), trainer.optimizer.state_dict()))
    assert task.same(*results)


@pytest.mark.parametrize("lag", [0, 3])
@pytest.mark.parametrize("dtype", [None, torch.bfloat16, torch.float16])
def test_an_infinite_loss_is_dropped_though_its_gradients_are_finite(task, lag, dtype):
    def loss_fn(model, inputs, batch):
        return {"loss": model(inputs).float().square().mean() * 1e-3 + batch[1]}

    trainer, guard = deferred(task, "skip", dtype=dtype, **taking(loss_fn))
    trainer.updates.first.veto_lag = lag
    weights, _ = track(trainer, task)
    trainer.run(factors(0.0, INF, 0.0), max_epochs=1)
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps, guard.num_skipped) == (2, 1, 1)
    assert task.same(weights[2], weights[1])
    assert not task.same(weights[3], weights[2])


@pytest.mark.parametrize("place", range(3))  # the step after the news is withheld, so there must be one
def test_deferred_step_completed_is_fired_once_for_every_step_really_taken(task, place):
    trainer, _ = deferred(task, "skip")
    schedule = LearningRateScheduler(trainer.optimizer, "onecycle", total_steps=40).attach(trainer)
    _, events = track(trainer, task)
    batches = [*task.batches, *task.batches]
    batches.insert(place, task.nan_batch)
    trainer.run(batches, max_epochs=2)
    assert events.count(TrainEvents.OPTIMIZER_STEP_COMPLETED) == trainer.progress.optimizer_steps == 16
    assert schedule.scheduler.last_epoch == 16


def test_deferred_schedule_after_a_resume_is_that_of_the_uninterrupted_run(task, tmp_path):
    def make():
        trainer, _ = deferred(task, "skip")
        schedule = LearningRateScheduler(trainer.optimizer, "onecycle", total_steps=40).attach(trainer)
        return trainer, schedule

    batches = [*task.batches[:3], task.nan_batch]
    whole, first, second = make(), make(), make()
    whole[0].run(batches, max_epochs=4)
    first[0].run(batches, max_epochs=2)
    write_checkpoint(run_state(first[0]), tmp_path / "run.pt")
    restore_run(second[0], tmp_path / "run.pt")
    second[0].run(batches, max_epochs=4)
    assert second[1].scheduler.last_epoch == whole[1].scheduler.last_epoch
    assert task.same(task.weights(second[0].model), task.weights(whole[0].model))


def test_deferred_news_on_its_way_when_a_run_is_saved_arrives_after_the_resume(task, tmp_path):
    whole, first, second = (deferred(task, "skip") for _ in range(3))
    batches = [*task.batches, *task.batches]
    batches[2] = task.nan_batch
    whole[0].run(batches, max_epochs=1)

    @first[0].on(Events.ITERATION_COMPLETED(once=4))
    def save_and_stop(trainer):
        write_checkpoint(run_state(trainer), tmp_path / "run.pt")
        trainer.terminate()

    first[0].run(batches, max_epochs=1)
    restore_run(second[0], tmp_path / "run.pt")
    second[0].run(batches, max_epochs=1)
    for trainer, guard in (whole, second):
        assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps, guard.num_skipped) == (7, 1, 1)


@pytest.mark.parametrize("policy", ["skip", "raise"])
def test_deferred_no_step_makes_the_host_wait_but_those_that_read_old_news(task, host_reads, policy):
    trainer, _ = deferred(task, policy)
    per_step = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: per_step.append(-host_reads.count))

    @trainer.on(Events.ITERATION_COMPLETED)
    def count(engine):
        per_step[-1] += host_reads.count

    with host_reads:
        trainer.run([*task.batches, *task.batches], max_epochs=1)
    assert per_step == [0, 0, 0, 4, 0, 0, 0, 4]  # a group of four
    assert host_reads.count == 8


def test_a_fused_optimizer_is_left_as_it_was_found(task):
    trainer, _ = deferred(task, "skip")
    trainer.run([*task.batches, task.nan_batch], max_epochs=1)
    assert not hasattr(trainer.optimizer, "found_inf")
    assert not hasattr(trainer.optimizer, "grad_scale")


# An engine of one's own, and by hand.


def own(task, guard, clip=False):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = task.own_engine(model, optimizer, may_step=lambda: guard.finite)
    if clip:
        GradientClipper().attach(engine, model)
    assert guard.attach(engine, model) is guard
    return engine, model


@pytest.mark.parametrize("clip", [False, True])
def test_on_an_engine_of_ones_own_bad_steps_are_seen_and_the_next_good_one_is_taken(task, clip):
    guard = NonFiniteGuard("skip")
    engine, model = own(task, guard, clip)
    finite = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: finite.append(guard.finite))
    engine.run([task.batches[0], task.nan_batch, task.batches[1]])
    assert finite == [True, False, True]
    assert guard.num_skipped == 1
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_on_an_engine_that_does_not_ask_no_bad_step_is_taken_either(task):
    model, guard = task.model(), NonFiniteGuard("skip")
    engine = task.own_engine(model, torch.optim.Adam(model.parameters(), lr=0.1))  # it steps whatever the guard says
    guard.attach(engine, model)
    weights = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: weights.append(task.weights(model)))
    engine.run([task.batches[0], task.nan_batch, task.batches[1]])
    assert task.same(weights[1], weights[0])
    assert not task.same(weights[2], weights[1])
    assert all(value.isfinite().all() for value in model.state_dict().values())


def test_on_an_engine_of_ones_own_raise_names_epoch_and_iteration(task):
    engine, model = own(task, NonFiniteGuard())
    before = task.weights(model)
    with pytest.raises(NonFiniteError, match=r"epoch 1, iteration 1: the gradient of 0\.weight is not finite"):
        engine.run([task.nan_batch])
    assert task.same(task.weights(model), before)


def test_an_engine_that_fires_no_event_or_names_no_model_is_refused_with_a_remedy(task):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(RuntimeError, match=r"check\(loss, gradients\) before optimizer\.step\(\)"):
        NonFiniteGuard().attach(task.own_engine(model, optimizer, events=False), model)
    with pytest.raises(RuntimeError, match=r"attach\(trainer, model\)"):
        NonFiniteGuard().attach(task.own_engine(model, optimizer))


ONE, BAD = torch.tensor(1.0), torch.tensor([1.0, NAN])
CHECKS = [  # loss, gradients, norm, finite
    (ONE, [torch.ones(2)], None, True),
    (ONE, [], None, True),
    (None, [torch.ones(2)], None, True),
    (torch.tensor(NAN), [torch.ones(2)], None, False),
    (torch.tensor(-INF), [], None, False),
    (ONE, [torch.ones(2), BAD], None, False),
    (None, [torch.tensor([INF])], None, False),
    (ONE, [], torch.tensor(INF), False),
    (ONE, [BAD], ONE, True),  # the norm is believed, the gradients are not looked at
]


@pytest.mark.parametrize(("loss", "gradients", "norm", "finite"), CHECKS)
def test_check_by_hand(loss, gradients, norm, finite):
    guard = NonFiniteGuard("skip")
    assert guard.check(loss, iter(gradients), norm=norm) is finite
    assert (guard.finite, guard.num_skipped) == (finite, not finite)
    if finite:
        assert NonFiniteGuard("raise").check(loss, gradients, norm=norm)
    else:
        with pytest.raises(NonFiniteError, match=r"^epoch 3: the "):
            NonFiniteGuard("raise").check(loss, gradients, norm=norm, where="epoch 3")


def test_saving_and_loading_continues_counting(task):
    first, second = NonFiniteGuard("skip"), NonFiniteGuard("skip")
    first.check(torch.tensor(NAN))
    second.load_state_dict(task.filed(first.state_dict()))
    second.check(torch.tensor(NAN))
    assert second.num_skipped == 2


@pytest.mark.parametrize("policy", ["ignore", "", None])
def test_another_policy_is_refused(policy):
    with pytest.raises(ValueError, match=f"'raise' or 'skip'; got {policy!r}"):
        NonFiniteGuard(policy)


@pytest.mark.parametrize("lag", [0, 3], ids=["at once", "deferred"])
@pytest.mark.parametrize("accumulation_steps", [1, 2])
def test_a_dropped_step_gives_running_statistics_back(lag, accumulation_steps):
    good, bad = torch.randn(8, 2), torch.full((8, 2), float("nan"))

    def run(batches):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
        optimizer = torch.optim.SGD(model.parameters(), 0.1, fused=True)
        trainer = create_trainer(
            model,
            optimizer,
            lambda m, x, b: {"loss": m(x).square().mean()},
            accumulation_steps=accumulation_steps,
        )
        trainer.updates.first.veto_lag = lag
        NonFiniteGuard("skip").attach(trainer)
        trainer.run([batch for batch in batches for _ in range(accumulation_steps)])
        return [value.clone() for value in model.state_dict().values() if value.is_floating_point()]

    with_bad, without = run([good, bad, good]), run([good, good])
    assert all(torch.equal(a, b) for a, b in zip(with_bad, without, strict=True))


def test_an_error_leaves_running_statistics_as_they_were():
    model = torch.nn.Sequential(torch.nn.BatchNorm1d(2), torch.nn.Linear(2, 1))
    trainer = create_trainer(
        model, torch.optim.SGD(model.parameters(), 0.1), lambda m, x, b: {"loss": m(x).square().mean()}
    )
    NonFiniteGuard().attach(trainer)
    with pytest.raises(NonFiniteError):
        trainer.run([torch.full((8, 2), float("nan"))])
    assert torch.equal(model[0].running_mean, torch.zeros(2))
    assert torch.equal(model[0].running_var, torch.ones(2))

"""Each type follows torch's own trajectory, by hand and attached, and never runs ahead of the optimizer."""

import re

import pytest
import torch
from ignite.engine import Events
from support.timm_like import TimmLike, TimmPlateau
from torch.optim import lr_scheduler as torchs

from ignite_recipes import LearningRateScheduler, NonFiniteGuard, TrainEvents, restore_run, run_state, write_checkpoint

METRICS = [3.0, 2.0, 2.5, 2.0, 2.2, 1.0, 1.5, float("nan"), 1.2, 1.1, 1.3, 1.0]
CYCLE = {"max_lr": 0.5, "total_steps": 13, "pct_start": 0.25}
TYPES = {  # type: settings of ours, and torch's own scheduler with the same ones
    "plateau": ({"patience": 1, "factor": 0.3}, lambda o: torchs.ReduceLROnPlateau(o, patience=1, factor=0.3)),
    "cosine": ({"T_max": 12, "eta_min": 0.01}, lambda o: torchs.CosineAnnealingLR(o, T_max=12, eta_min=0.01)),
    "step": ({"step_size": 2, "gamma": 0.3}, lambda o: torchs.StepLR(o, step_size=2, gamma=0.3)),
    "exp": ({"gamma": 0.9}, lambda o: torchs.ExponentialLR(o, gamma=0.9)),
    "onecycle": (CYCLE, lambda o: torchs.OneCycleLR(o, **CYCLE)),
}
DOCUMENTED = {"patience": 5, "factor": 0.5, "T_max": 50, "gamma": 0.95}
DEFAULTS = [  # settings of ours, and what torch is given by them
    ({}, lambda o: torchs.ReduceLROnPlateau(o, patience=5, factor=0.5)),
    ({"scheduler_type": "cosine"}, lambda o: torchs.CosineAnnealingLR(o, T_max=50)),
    ({"scheduler_type": "exp"}, lambda o: torchs.ExponentialLR(o, gamma=0.95)),
    ({"scheduler_type": "step"}, lambda o: torchs.StepLR(o, step_size=10, gamma=0.5)),
    ({"scheduler_type": "step", "factor": 0.2}, lambda o: torchs.StepLR(o, step_size=10, gamma=0.2)),
    ({"scheduler_type": "step", "factor": 0.2, "gamma": 0.7}, lambda o: torchs.StepLR(o, step_size=10, gamma=0.7)),
    ({"scheduler_type": "onecycle", "total_steps": 30}, lambda o: torchs.OneCycleLR(o, max_lr=0.1, total_steps=30)),
    (
        {"scheduler_type": "onecycle", "epochs": 5, "steps_per_epoch": 6},
        lambda o: torchs.OneCycleLR(o, max_lr=0.1, total_steps=30),
    ),
    *(
        ({"scheduler_type": kind, **DOCUMENTED}, make)
        for kind, make in {
            "plateau": lambda o: torchs.ReduceLROnPlateau(o, patience=5, factor=0.5),
            "cosine": lambda o: torchs.CosineAnnealingLR(o, T_max=50),
            "step": lambda o: torchs.StepLR(o, step_size=10, gamma=0.95),
            "exp": lambda o: torchs.ExponentialLR(o, gamma=0.95),
        }.items()
    ),
    (
        {"scheduler_type": "onecycle", **DOCUMENTED, "total_steps": 30},
        lambda o: torchs.OneCycleLR(o, max_lr=0.1, total_steps=30),
    ),
    ({"scheduler_type": "onecycle", **DOCUMENTED}, lambda o: torchs.OneCycleLR(o, max_lr=0.1, total_steps=50)),
]

every_type = pytest.mark.parametrize("kind", TYPES)


def an_optimizer(lr=0.1):
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)


def ours(optimizer, kind):
    return LearningRateScheduler(optimizer, kind, **TYPES[kind][0])


def rates(optimizer, step, metrics):
    """The learning rate before each metric is known, and after the last."""
    seen = [optimizer.param_groups[0]["lr"]]
    for metric in metrics:
        optimizer.step()
        step(metric)
        seen.append(optimizer.param_groups[0]["lr"])
    return seen


def torchs_step(scheduler):
    takes_metric = isinstance(scheduler, torchs.ReduceLROnPlateau)
    return scheduler.step if takes_metric else lambda metric: scheduler.step()


def torchs_rates(make, metrics, lr=0.1):
    optimizer = an_optimizer(lr)
    return rates(optimizer, torchs_step(make(optimizer)), metrics)


@every_type
def test_by_hand_it_follows_torch(kind):
    optimizer = an_optimizer()
    schedule = ours(optimizer, kind)
    seen = rates(optimizer, schedule.step, METRICS)
    assert seen == torchs_rates(TYPES[kind][1], METRICS)
    assert len(set(seen)) > 2
    assert schedule.get_lr() == seen[-1]
    assert type(schedule.get_lr()) is float


@pytest.mark.parametrize(("settings", "make"), DEFAULTS)
def test_defaults_and_all_documented_keywords_at_once(settings, make):
    optimizer = an_optimizer()
    metrics = [1.0] * 25
    assert rates(optimizer, LearningRateScheduler(optimizer, **settings).step, metrics) == torchs_rates(make, metrics)


def test_the_metric_may_be_a_tensor_and_is_needed_by_plateau_only():
    schedule = ours(an_optimizer(), "plateau")
    for value in (1.0, 2.0, 2.0):
        schedule.step(torch.tensor(value))
    assert schedule.get_lr() == 0.1 * 0.3
    with pytest.raises(ValueError, match=r"step\(val_loss\)"):
        schedule.step()
    optimizer = an_optimizer()
    step = ours(optimizer, "step").step
    assert rates(optimizer, lambda metric: step(), METRICS) == torchs_rates(TYPES["step"][1], METRICS)


REFUSED = [
    ({"scheduler_type": "linear"}, ValueError, "plateau, cosine, step, exp, onecycle; got 'linear'"),
    ({"warmup": 3}, TypeError, "unknown setting warmup; the settings are: patience, factor, T_max, gamma, .*max_lr.*"),
    ({"verbose": True, "speed": 1}, TypeError, "unknown setting speed, verbose"),
    ({"factor": 0.0}, ValueError, "factor must be positive.*got 0.0"),
    ({"factor": float("nan")}, ValueError, "factor must be positive"),
    ({"scheduler_type": "onecycle", "epochs": 5}, ValueError, "steps_per_epoch"),
    ({"per": "batch"}, ValueError, "per must be 'step' or 'epoch', or None .*got 'batch'"),
    ({"per": "step"}, ValueError, "plateau schedule must advance per epoch, because .*leave per out"),
    ({"scheduler_type": 3}, TypeError, r"step_update\(num_updates\).*got int: make one"),
    ({"scheduler_type": torchs.StepLR}, TypeError, "a torch scheduler, or .*got the class StepLR: make one"),
    ({"scheduler_type": TimmLike}, TypeError, "got the class TimmLike: make one"),
    ({"scheduler_type": torch.nn.Linear(1, 1)}, TypeError, "got Linear: make one"),
]


@pytest.mark.parametrize(("settings", "error", "message"), REFUSED)
def test_what_it_does_not_know_is_refused_naming_the_choices(settings, error, message):
    with pytest.raises(error, match=message):
        LearningRateScheduler(an_optimizer(), **settings)


# Attached.


def attached(task, kind, metrics=METRICS, batches=3, **settings):
    """A trainer of ours under a schedule, and the list of rates its steps were taken with."""
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = task.scripted(metrics, model=model, optimizer=optimizer)
    schedule = LearningRateScheduler(optimizer, kind, **{**TYPES[kind][0], **settings}).attach(trainer)
    seen = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(schedule.get_lr()))
    return trainer, schedule, seen


@every_type
def test_attached_it_follows_torch_over_epochs_or_steps(task, kind):
    trainer, schedule, seen = attached(task, kind)
    trainer.run(task.batches[:3], max_epochs=4)
    expected = torchs_rates(TYPES[kind][1], METRICS[:12] if kind == "onecycle" else METRICS[:4])
    per_step = expected[:-1] if kind == "onecycle" else [rate for rate in expected[:-1] for _ in range(3)]
    assert seen == per_step
    assert schedule.get_lr() == expected[-1]


def test_attached_plateau_watches_the_metric_it_is_told(task):
    trainer = task.scripted([1.0, 2.0, 3.0], metric="accuracy")
    schedule = LearningRateScheduler(trainer.optimizer, "plateau", patience=0, factor=0.5, mode="max")
    schedule.attach(trainer, "accuracy")
    trainer.run(task.batches, max_epochs=3)
    assert schedule.get_lr() == 0.1
    trainer = task.trainer()
    schedule = LearningRateScheduler(trainer.optimizer, "plateau", patience=0, factor=0.5)
    schedule.attach(trainer, lambda engine: float(engine.state.epoch))
    trainer.run(task.batches, max_epochs=3)
    assert schedule.get_lr() == 0.1 * 0.5**2


def test_attached_plateau_without_its_metric_names_the_known_ones(task):
    trainer = task.scripted([1.0], metric="train_loss")
    ours(trainer.optimizer, "plateau").attach(trainer)
    with pytest.raises(RuntimeError, match=r"'val_loss'.*there are: .*train_loss\. Attach"):
        trainer.run(task.batches, max_epochs=1)


def test_a_dropped_step_does_not_advance_the_cycle(task):
    trainer, schedule, seen = attached(task, "onecycle")
    NonFiniteGuard("skip").attach(trainer)
    good = task.batches
    trainer.run([good[0], task.nan_batch, good[1], task.nan_batch, good[2]], max_epochs=2)
    expected = torchs_rates(TYPES["onecycle"][1], [0] * 6)
    assert schedule.scheduler.last_epoch == trainer.progress.optimizer_steps == 6
    assert seen == [expected[i] for i in (0, 1, 1, 2, 2, 3, 4, 4, 5, 5)]


@pytest.mark.parametrize("kind", ["plateau", "cosine", "step", "exp"])
def test_an_epoch_without_any_step_does_not_advance_the_schedule(task, kind):
    trainer, schedule, _ = attached(task, kind)
    ends = []

    @trainer.on(TrainEvents.OPTIMIZER_STEP_STARTED)
    def drop_in_epochs_1_and_3(engine):
        engine.updates.first.veto = engine.state.epoch in (1, 3)

    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: ends.append(schedule.get_lr()))
    trainer.run(task.batches[:3], max_epochs=6)
    expected = torchs_rates(TYPES[kind][1], [METRICS[epoch] for epoch in (1, 3, 4, 5)])
    assert ends == [expected[i] for i in (0, 1, 1, 2, 3, 4)]


def test_with_accumulation_the_cycle_advances_once_an_update(task):
    model = task.model()
    trainer = task.trainer(model, accumulation_steps=3)
    schedule = LearningRateScheduler(trainer.optimizer, "onecycle", total_steps=20).attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert schedule.scheduler.last_epoch == 6


def test_beyond_the_end_of_the_cycle_the_last_rate_holds(task):
    trainer, _, seen = attached(task, "onecycle", total_steps=5)
    trainer.run(task.batches[:3], max_epochs=4)
    assert seen[4:] == [seen[4]] * 8
    assert seen[4] < seen[0] < max(seen)


def test_by_hand_too_a_cycle_that_has_ended_holds_its_last_rate():
    optimizer = an_optimizer()
    schedule = LearningRateScheduler(optimizer, "onecycle", total_steps=4)
    seen = rates(optimizer, schedule.step, [None] * 9)
    assert seen[4:] == [seen[3]] * 6
    assert seen[:4] == torchs_rates(lambda o: torchs.OneCycleLR(o, max_lr=0.1, total_steps=4), [None] * 3)


@every_type
@pytest.mark.parametrize("cut", [1, 2, 3])
def test_a_run_that_is_resumed_after_any_epoch_follows_the_same_trajectory(task, tmp_path, kind, cut):
    whole, _, expected = attached(task, kind)
    whole.run(task.batches[:3], max_epochs=4)
    first, _, before = attached(task, kind)
    first.run(task.batches[:3], max_epochs=cut)
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    second, _, after = attached(task, kind, METRICS[cut:])
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches[:3], max_epochs=4)
    assert before + after == expected
    assert task.same(task.weights(second.model), task.weights(whole.model))


@every_type
@pytest.mark.parametrize("cut", range(1, 12, 3))
def test_by_hand_saving_and_loading_anywhere_changes_nothing(task, kind, cut):
    first, second = an_optimizer(), an_optimizer()
    one, two = ours(first, kind), ours(second, kind)
    seen = rates(first, one.step, METRICS[:cut])
    second.load_state_dict(task.filed(first.state_dict()))
    two.load_state_dict(task.filed(one.state_dict()))
    seen += rates(second, two.step, METRICS[cut:])[1:]
    assert seen == torchs_rates(TYPES[kind][1], METRICS)


@pytest.mark.parametrize("events", [True, False])
@every_type
def test_on_an_engine_of_ones_own_it_follows_torch_too(task, kind, events):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    engine = task.own_engine(model, optimizer, events=events)
    schedule, seen, metrics = ours(optimizer, kind), [], iter(METRICS)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(schedule.get_lr()))
    assert schedule.attach(engine, lambda engine: next(metrics)) is schedule
    engine.run(task.batches[:3], max_epochs=4)
    expected = torchs_rates(TYPES[kind][1], METRICS[:12] if kind == "onecycle" else METRICS[:4])
    assert seen == (expected[:-1] if kind == "onecycle" else [rate for rate in expected[:-1] for _ in range(3)])


LENGTHS = {"cosine": "T_max", "onecycle": "total_steps"}


@pytest.mark.parametrize("kind", LENGTHS)
def test_a_schedule_that_has_ended_holds_its_last_rate_and_says_so(kind, caplog):
    optimizer = an_optimizer()
    schedule = LearningRateScheduler(optimizer, kind, **{LENGTHS[kind]: 6})
    before = rates(optimizer, schedule.step, range(5 + (kind == "cosine")))
    assert "has ended" not in caplog.text
    after = rates(optimizer, schedule.step, range(9))
    assert set(after) == {before[-1]} == {min(before)}
    assert caplog.text.count("has ended: the learning rate stays at") == 1
    assert "stretch=True" in caplog.text


@pytest.mark.parametrize("kind", LENGTHS)
@pytest.mark.parametrize("cut", [1, 3, 5, 6, 9])
def test_a_stretched_schedule_is_from_there_on_that_of_the_new_length(task, kind, cut):
    def a_schedule(length, **settings):
        optimizer = an_optimizer()
        return optimizer, LearningRateScheduler(optimizer, kind, **{LENGTHS[kind]: length}, **settings)

    whole, schedule = a_schedule(20)
    expected = rates(whole, schedule.step, range(19))
    first, one = a_schedule(6)
    rates(first, one.step, range(cut))
    states = task.filed((first.state_dict(), one.state_dict()))
    kept, same = a_schedule(20)
    kept.load_state_dict(states[0])
    same.load_state_dict(states[1])
    assert kept.param_groups[0]["lr"] == first.param_groups[0]["lr"]
    second, two = a_schedule(20, stretch=True)
    second.load_state_dict(states[0])
    two.load_state_dict(states[1])
    seen = rates(second, two.step, range(19 - cut))
    assert seen == pytest.approx(expected[cut:], rel=1e-9, abs=1e-12)


def test_only_what_has_a_length_can_be_stretched_and_not_into_the_past():
    with pytest.raises(ValueError, match="only a cosine or one-cycle schedule has a length; got 'exp'"):
        ours(an_optimizer(), "exp").stretch_to(3)
    optimizer = an_optimizer()
    schedule = ours(optimizer, "cosine")
    rates(optimizer, schedule.step, range(4))
    with pytest.raises(ValueError, match="length must be a whole number of at least 4; got 3"):
        schedule.stretch_to(3)
    schedule.stretch_to(4)  # where it is: it has ended
    assert schedule.get_lr() == pytest.approx(0.01)


def test_a_schedule_of_another_optimizer_is_refused(task):
    with pytest.raises(RuntimeError, match="the trainer's own optimizer"):
        ours(an_optimizer(), "step").attach(task.trainer())


def test_a_state_of_another_type_is_refused():
    with pytest.raises(ValueError, match=re.escape("the saved schedule is 'step', this one is 'exp'")):
        ours(an_optimizer(), "exp").load_state_dict(ours(an_optimizer(), "step").state_dict())


# Per step or per epoch.


def slowly(epoch):
    return 1 / (1 + epoch)


def warmed_up(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=4), torchs.CosineAnnealingLR(optimizer, 9)]
    return torchs.SequentialLR(optimizer, parts, [4])


def chained(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=4), torchs.ExponentialLR(optimizer, 0.9)]
    return torchs.ChainedScheduler(parts, optimizer)


def nested(optimizer):
    return torchs.ChainedScheduler([warmed_up(optimizer), torchs.ExponentialLR(optimizer, 0.9)], optimizer)


MADE = {  # any of torch's
    "a warm-up, then a cosine": warmed_up,
    "two at once": chained,
    "one inside another": nested,
    "LambdaLR": lambda o: torchs.LambdaLR(o, slowly),
    "MultiplicativeLR": lambda o: torchs.MultiplicativeLR(o, slowly),
    "warm restarts": lambda o: torchs.CosineAnnealingWarmRestarts(o, 2, T_mult=2),
    "MultiStepLR": lambda o: torchs.MultiStepLR(o, [1, 3, 5], 0.3),
    "PolynomialLR": lambda o: torchs.PolynomialLR(o, 10, power=2.0),
    "CyclicLR": lambda o: torchs.CyclicLR(o, 0.01, 0.1, step_size_up=3, mode="exp_range", gamma=0.9),
    "OneCycleLR": lambda o: torchs.OneCycleLR(o, **CYCLE),
    **{kind: make for kind, (_, make) in TYPES.items() if kind != "plateau"},
}
PERS = [None, "step", "epoch"]


def built(kind, optimizer, **settings):
    """A schedule by its name, or of a scheduler that is made."""
    if kind in TYPES:
        return LearningRateScheduler(optimizer, kind, **TYPES[kind][0], **settings)
    return LearningRateScheduler(optimizer, MADE[kind](optimizer), **settings)


def a_run(task, kind, **settings):
    """A trainer of ours under it, and the rates of its steps."""
    trainer = task.trainer(optimizer=None)
    schedule = built(kind, trainer.optimizer, **settings).attach(trainer)
    seen = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(schedule.get_lr()))
    return trainer, schedule, seen


@pytest.mark.parametrize("per", PERS)
@pytest.mark.parametrize("kind", MADE)
def test_any_schedule_follows_torch_per_step_or_per_epoch(task, kind, per):
    trainer, schedule, seen = a_run(task, kind, per=per)
    trainer.run(task.batches[:3], max_epochs=4)
    per_step = per == "step" or (per is None and kind in ("onecycle", "OneCycleLR", "CyclicLR"))
    assert schedule.is_per_step == per_step
    expected = torchs_rates(MADE[kind], range(12 if per_step else 4))
    assert seen == (expected[:-1] if per_step else [rate for rate in expected[:-1] for _ in range(3)])
    assert schedule.get_lr() == expected[-1]
    assert len(set(expected)) > 2


@pytest.mark.parametrize("events", [True, False])
@pytest.mark.parametrize("per", ["step", "epoch"])
def test_on_an_engine_of_ones_own_too(task, per, events):
    model = task.model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine, seen = task.own_engine(model, optimizer, events=events), []
    schedule = LearningRateScheduler(optimizer, warmed_up(optimizer), per=per).attach(engine)
    engine.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(schedule.get_lr()))
    engine.run(task.batches[:3], max_epochs=4)
    expected = torchs_rates(warmed_up, range(12))
    assert seen == (expected[:-1] if per == "step" else [rate for rate in expected[:4] for _ in range(3)])


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("cut", range(1, 12))
def test_by_hand_any_schedule_is_saved_and_loaded_anywhere(task, kind, cut):
    first, second = an_optimizer(), an_optimizer()
    one, two = (built(kind, optimizer, per="step") for optimizer in (first, second))
    seen = rates(first, one.step, [None] * cut)
    second.load_state_dict(task.filed(first.state_dict()))
    two.load_state_dict(task.filed(one.state_dict()))
    seen += rates(second, two.step, [None] * (12 - cut))[1:]
    assert seen == torchs_rates(MADE[kind], [None] * 12)


def test_a_warm_up_per_step_and_a_decay_per_epoch_multiply(task):
    trainer, _, seen = a_run(task, "exp", per="epoch")
    optimizer = trainer.optimizer
    linear = torchs.LinearLR(optimizer, 0.1, total_iters=5)
    LearningRateScheduler(optimizer, linear, per="step").attach(trainer)
    trainer.run(task.batches[:3], max_epochs=4)
    expected = [0.1 * (0.1 + 0.9 * min(step, 5) / 5) * 0.9 ** (step // 3) for step in range(12)]
    assert seen == pytest.approx(expected, rel=1e-12)
    assert list(trainer.parts) == ["lr_scheduling", "lr_scheduling_2"]
    states = trainer.parts.state_dict()
    assert [states[name]["type"] for name in states] == ["exp", "LinearLR"]
    assert [states[name]["scheduler"]["last_epoch"] for name in states] == [4, 12]


def test_a_cosine_per_step_that_has_ended_says_so_in_steps(caplog):
    optimizer = an_optimizer()
    schedule = LearningRateScheduler(optimizer, "cosine", T_max=4, per="step")
    seen = rates(optimizer, schedule.step, [None] * 7)
    assert seen[4:] == [seen[4]] * 4
    assert "the cosine schedule of 4 steps has ended" in caplog.text


def test_a_cycle_per_epoch_that_has_ended_says_so_in_epochs(caplog):
    optimizer = an_optimizer()
    schedule = LearningRateScheduler(optimizer, "onecycle", total_steps=4, per="epoch")
    rates(optimizer, schedule.step, [None] * 7)
    assert "the one-cycle schedule of 4 epochs has ended" in caplog.text


def test_a_plateau_of_torchs_own_is_refused_per_step():
    optimizer = an_optimizer()
    with pytest.raises(ValueError, match="a step measures none; got per='step'"):
        LearningRateScheduler(optimizer, torchs.ReduceLROnPlateau(optimizer), per="step")


def test_a_state_of_another_rhythm_is_refused_and_one_that_has_none_is_taken():
    steps, epochs = (LearningRateScheduler(an_optimizer(), "exp", per=per) for per in ("step", "epoch"))
    with pytest.raises(ValueError, match="the saved schedule has per='epoch', this one 'step': resume with the same"):
        steps.load_state_dict(epochs.state_dict())
    state = epochs.state_dict()
    del state["per"]
    epochs.load_state_dict(state)


def test_every_part_of_a_schedule_is_scaled(task):
    whole, half = an_optimizer(0.2), an_optimizer(0.1)
    big, small = LearningRateScheduler(whole, nested(whole)), LearningRateScheduler(half, nested(half))
    big.scale_learning_rate(0.5)
    for group in whole.param_groups:
        group["lr"] *= 0.5
        group["initial_lr"] *= 0.5
    assert rates(whole, big.step, range(9)) == pytest.approx(rates(half, small.step, range(9)))


# Schedulers of timm's kind.


def timms(optimizer, **settings):
    return TimmLike(optimizer, 9, 2, **settings)


def expected_of_timm(count):
    """The rates before and after each of so many epochs or steps."""
    scheduler = timms(an_optimizer())
    return [scheduler.rates(t)[0] for t in range(count + 1)]


@pytest.mark.parametrize("in_epochs", [True, False])
@pytest.mark.parametrize("per", PERS)
def test_one_of_timms_kind_is_told_of_epochs_and_steps_and_acts_on_its_own(task, in_epochs, per):
    trainer = task.scripted([4.0, 3.0, 2.0, 1.0])
    scheduler = timms(trainer.optimizer, t_in_epochs=in_epochs)
    schedule = LearningRateScheduler(trainer.optimizer, scheduler, per=per).attach(trainer)
    seen = []
    trainer.add_event_handler(Events.ITERATION_STARTED, lambda: seen.append(schedule.get_lr()))
    trainer.run(task.batches[:3], max_epochs=4)
    if per not in (None, "epoch" if in_epochs else "step"):
        assert seen == [seen[0]] * 12
    elif in_epochs:
        assert seen == [rate for rate in expected_of_timm(3) for _ in range(3)]
    else:
        assert seen == expected_of_timm(11)
    assert scheduler.metric == (None if per == "step" else 1.0)
    assert repr(schedule) == "LearningRateScheduler('TimmLike')"


def test_without_a_validation_one_of_timms_kind_is_given_no_metric(task):
    trainer = task.trainer()
    scheduler = timms(trainer.optimizer)
    LearningRateScheduler(trainer.optimizer, scheduler).attach(trainer)
    trainer.run(task.batches[:3], max_epochs=2)
    assert scheduler.metric is None
    assert trainer.optimizer.param_groups[0]["lr"] == expected_of_timm(2)[2]


def test_a_plateau_of_timms_kind_follows_torchs(task):
    trainer, ends = task.scripted(METRICS), []
    scheduler = TimmPlateau(trainer.optimizer, 1, 0.3)
    schedule = LearningRateScheduler(trainer.optimizer, scheduler).attach(trainer)
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: ends.append(schedule.get_lr()))
    trainer.run(task.batches[:3], max_epochs=9)
    assert ends == torchs_rates(TYPES["plateau"][1], METRICS[:9])[1:]


def test_steps_that_were_dropped_are_not_counted_for_timm_either(task):
    trainer = task.trainer()
    scheduler = timms(trainer.optimizer, t_in_epochs=False)
    schedule = LearningRateScheduler(trainer.optimizer, scheduler).attach(trainer)
    NonFiniteGuard("skip").attach(trainer)
    trainer.run([task.batches[0], task.nan_batch, task.batches[1]], max_epochs=2)
    assert schedule.get_lr() == expected_of_timm(4)[4]


@pytest.mark.parametrize("per", ["step", "epoch"])
@pytest.mark.parametrize("cut", range(1, 12, 2))
def test_by_hand_one_of_timms_kind_is_saved_and_loaded_anywhere(task, cut, per):
    first, second = an_optimizer(), an_optimizer()
    settings = {"t_in_epochs": per == "epoch"}
    one, two = (LearningRateScheduler(o, timms(o, **settings), per=per) for o in (first, second))
    seen = rates(first, one.step, [None] * cut)
    second.load_state_dict(task.filed(first.state_dict()))
    two.load_state_dict(task.filed(one.state_dict()))
    seen += rates(second, two.step, [None] * (12 - cut))[1:]
    assert seen == expected_of_timm(12)


def test_one_of_timms_kind_of_another_optimizer_is_refused():
    with pytest.raises(ValueError, match="of the same optimizer; got another one's"):
        LearningRateScheduler(an_optimizer(), timms(an_optimizer()))


def test_one_of_timms_kind_is_scaled(task):
    whole, half = an_optimizer(0.2), an_optimizer(0.1)
    big, small = (LearningRateScheduler(o, timms(o), per="epoch") for o in (whole, half))
    big.scale_learning_rate(0.5)
    assert rates(whole, big.step, range(5))[1:] == pytest.approx(rates(half, small.step, range(5))[1:])

"""When it stops, which epoch it calls the best, and that the best epoch's weights really come back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from torch import nn

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    History,
    LearningRateScheduler,
    TrainEvents,
    Validation,
    create_evaluator,
    restore_run,
    run_state,
    write_checkpoint,
)

NAN, INF = math.nan, math.inf
VALUES = st.lists(st.one_of(st.integers(-4, 4).map(float), st.sampled_from([NAN, INF, -INF])), max_size=12)
law = settings(deadline=None, max_examples=100)

# what happens, settings beside patience=2 and min_delta=0, values, index where it stops, index of the best, the best
CASES = [
    ("always better", {}, [3.0, 2.0, 1.0], None, 2, 1.0),
    ("never better", {}, [1.0, 2.0, 3.0], 2, 0, 1.0),
    ("equal is not better", {}, [1.0, 1.0, 1.0], 2, 0, 1.0),
    ("patience counts in a row", {}, [3.0, 4.0, 2.0, 4.0, 1.0, 4.0], None, 4, 1.0),
    ("patience of one", {"patience": 1}, [2.0, 1.0, 1.5], 2, 1, 1.0),
    ("NaN first", {}, [NAN, 2.0, 1.0, 1.5, 1.6], 4, 2, 1.0),
    ("NaN uses up patience", {}, [2.0, NAN, NAN], 2, 0, 2.0),
    ("NaN does not spoil what follows", {}, [2.0, NAN, 1.0, 1.5], None, 2, 1.0),
    ("all NaN", {}, [NAN, NAN], 1, None, INF),
    ("infinity is not an improvement", {}, [INF, INF], 1, None, INF),
    ("infinity, then a number", {}, [INF, 5.0, INF], None, 1, 5.0),
    ("minus infinity is no improvement either", {}, [-INF, -1.0, -2.0], None, 2, -2.0),
    ("negative values", {}, [-1.0, -2.0, -1.5, -1.5], 3, 1, -2.0),
    ("exactly min_delta is too little", {"min_delta": 0.25}, [1.0, 0.75, 0.75], 2, 0, 1.0),
    ("a little more than min_delta", {"min_delta": 0.25}, [1.0, 0.75, 0.7499], None, 2, 0.7499),
    ("small steps add up against the best", {"min_delta": 0.25}, [1.0, 0.875, 0.625, 0.5], None, 2, 0.625),
    ("the default min_delta", {"min_delta": 1e-4}, [1.0, 0.99995, 0.99991], 2, 0, 1.0),
    ("larger is better", {"mode": "max"}, [0.1, 0.5, 0.4, 0.5], 3, 1, 0.5),
    ("larger by exactly min_delta", {"mode": "max", "min_delta": 0.25}, [0.5, 0.75, 0.75], 2, 0, 0.5),
    ("larger by a little more", {"mode": "max", "min_delta": 0.25}, [0.5, 0.75, 0.7501], None, 2, 0.7501),
    ("larger, NaN first", {"mode": "max"}, [NAN, -3.0, -4.0], None, 1, -3.0),
    ("larger, all minus infinity", {"mode": "max"}, [-INF, -INF], 1, None, -INF),
    ("what is before the start uses no patience", {"start_from_epoch": 3}, [5.0] * 9, 5, 3, 5.0),
    ("nor is it the best", {"start_from_epoch": 2}, [1.0, 1.0, 5.0, 4.0, 3.0], None, 4, 3.0),
    ("nor does a threshold stop it", {"start_from_epoch": 2, "divergence_threshold": 9.0}, [99.0] * 2, None, None, INF),
    ("the start of the first epoch changes nothing", {"start_from_epoch": 0}, [1.0, 2.0, 3.0], 2, 0, 1.0),
    ("a baseline that is never beaten", {"baseline": 1.0}, [3.0, 2.0], 1, 1, 2.0),
    ("a baseline that is beaten in time", {"baseline": 1.0}, [3.0, 0.5, 0.5], None, 1, 0.5),
    ("beaten, and then the best counts", {"baseline": 1.0}, [0.5, 0.75, 0.75], 2, 0, 0.5),
    ("equal to the baseline is not better", {"baseline": 1.0}, [2.0, 1.0], 1, 1, 1.0),
    ("better than the baseline by min_delta", {"baseline": 1.0, "min_delta": 0.25}, [2.0, 0.75], 1, 1, 0.75),
    ("a baseline that is larger", {"baseline": 0.5, "mode": "max"}, [0.1, 0.6, 0.6, 0.6], 3, 1, 0.6),
    ("NaN does not beat the baseline", {"baseline": 1.0}, [NAN, NAN], 1, None, INF),
    ("worse than the divergence threshold", {"divergence_threshold": 9.0}, [3.0, 9.0, 9.5], 2, 0, 3.0),
    ("at once", {"divergence_threshold": 9.0}, [3.0, INF], 1, 0, 3.0),
    ("smaller than the divergence threshold", {"divergence_threshold": 0.5, "mode": "max"}, [0.5, 0.4], 1, 0, 0.5),
    ("NaN does not diverge", {"divergence_threshold": 9.0}, [3.0, NAN, 2.0], None, 2, 2.0),
    ("good enough is the best too", {"stopping_threshold": 1.0}, [2.0, 1.0, 0.5], 2, 2, 0.5),
    ("larger is good enough", {"stopping_threshold": 0.9, "mode": "max"}, [0.5, 0.9, 0.95], 2, 2, 0.95),
    ("NaN is not good enough", {"stopping_threshold": 1.0}, [NAN, 2.0], None, 1, 2.0),
    (
        "a threshold stops without patience too",
        {"patience": None, "stopping_threshold": 1.0},
        [2.0, 2.0, 0.0],
        2,
        2,
        0.0,
    ),
    ("tensors", {}, [torch.tensor(1.0), torch.tensor(2.0), torch.tensor(NAN)], 2, 0, 1.0),
]


def quiet(**kwargs):
    defaults = {"patience": 2, "min_delta": 0.0, "restore_best_weights": False, "verbose": False}
    return EarlyStopping(**(defaults | kwargs))


def judge(stopping, values, start=0):
    """The index of the epoch at which it asks to stop, or None."""
    return next((e for e, value in enumerate(values, start) if stopping.on_epoch_end(e, value)), None)


every_case = pytest.mark.parametrize(
    ("kwargs", "values", "stop", "best_epoch", "best"), [c[1:] for c in CASES], ids=[c[0] for c in CASES]
)


@every_case
def test_stops_and_knows_the_best(kwargs, values, stop, best_epoch, best):
    stopping = quiet(**kwargs)
    assert judge(stopping, values) == stop
    last_best = kwargs.get("start_from_epoch", 0) - 1 if best_epoch is None else best_epoch
    metrics = stopping.get_best_metrics()
    if "baseline" not in kwargs:  # until it is beaten, not even the best epoch gives patience back
        judged = len(values) if stop is None else stop + 1
        assert metrics["patience_used"] == judged - 1 - last_best
    assert {**metrics, "patience_used": 0} == {
        "best_loss": best,
        "best_epoch": best_epoch,
        "stopped_epoch": stop,
        "patience_used": 0,
    }
    assert isinstance(stopping.best_loss, float)


@every_case
def test_a_state_of_any_epoch_continues_as_if_it_had_never_stopped(task, kwargs, values, stop, best_epoch, best):
    for cut in range(len(values) + 1):
        first, second = quiet(**kwargs), quiet(**kwargs)
        before = judge(first, values[:cut])
        second.load_state_dict(task.filed(first.state_dict()))
        assert task.same(second.state_dict(), first.state_dict())
        if before is None:
            assert judge(second, values[cut:], cut) == stop
        else:
            assert second.on_epoch_end(cut, 0.5)


WHY = [  # settings, values, what the line says
    ({"baseline": 1.0}, [3.0, 2.0], "epoch 1: the baseline of 1 was not beaten for 2 epochs, the best was 2"),
    ({"baseline": 1.0}, [0.5, 0.7, 0.7], "epoch 2: no improvement on 0.5 for 2 epochs"),
    ({"divergence_threshold": 9.0}, [9.5], "epoch 0: 9.5 is worse than divergence_threshold=9"),
    ({"stopping_threshold": 1.0}, [0.5], "epoch 0: 0.5 is better than stopping_threshold=1"),
]


@pytest.mark.parametrize(("kwargs", "values", "line"), WHY)
def test_it_says_why_it_stopped(caplog, kwargs, values, line):
    caplog.set_level("INFO")
    judge(quiet(**kwargs), values)
    assert line in caplog.text


@law
@given(values=VALUES, start=st.integers(0, 5))
def test_starting_later_is_not_having_seen_what_was_before(values, start):
    later, plain = quiet(start_from_epoch=start), quiet()
    assert judge(later, values) == judge(plain, values[start:], start)
    assert (later.best_loss, later.best_epoch, later.wait) == (plain.best_loss, plain.best_epoch, plain.wait)


@law
@given(values=VALUES)
def test_limits_that_no_value_reaches_change_nothing(values):
    plain = quiet()
    limited = quiet(baseline=INF, divergence_threshold=INF, stopping_threshold=-INF)
    assert judge(limited, values) == judge(plain, values)
    assert limited.state_dict().keys() == plain.state_dict().keys()
    assert limited.get_best_metrics() == plain.get_best_metrics()


CONTINUED = [  # settings that stopped a run, others with which it continues
    ({"divergence_threshold": 9.0}, {"divergence_threshold": 99.0}),
    ({"divergence_threshold": 9.0}, {}),
    ({"stopping_threshold": 10.5}, {"stopping_threshold": 1.0}),
]


@pytest.mark.parametrize(("before", "after"), CONTINUED)
def test_a_run_that_a_threshold_has_stopped_continues_with_another_one(caplog, before, after):
    caplog.set_level("INFO")
    stopped, same, more = quiet(**before), quiet(**before), quiet(**after)
    assert judge(stopped, [10.0]) == 0
    same.load_state_dict(stopped.state_dict())
    assert same.on_epoch_end(1, 5.0)
    more.load_state_dict(stopped.state_dict())
    assert not more.on_epoch_end(1, 5.0)
    assert "it had stopped at epoch 0; with patience 2" in caplog.text


def test_a_state_without_the_value_it_stopped_at_is_one_that_patience_has_stopped():
    stopped, resumed = quiet(), quiet()
    judge(stopped, [1.0, 2.0, 2.0])
    state = stopped.state_dict()
    del state["stopped_value"]
    resumed.load_state_dict(state)
    assert resumed.stopped_epoch == 2


def test_once_it_has_stopped_it_continues_to_ask():
    stopping = quiet()
    assert judge(stopping, [1.0, 2.0, 2.0]) == 2
    assert stopping.on_epoch_end(3, 0.0)
    assert (stopping.best_loss, stopping.stopped_epoch) == (1.0, 2)


@law
@given(values=VALUES)
def test_minimising_is_maximising_the_negative(values):
    smaller, larger = quiet(), quiet(mode="max")
    assert judge(smaller, values) == judge(larger, [-value for value in values])
    assert (smaller.best_loss, smaller.best_epoch) == (-larger.best_loss, larger.best_epoch)


@law
@given(values=VALUES.filter(bool))
def test_without_min_delta_the_best_is_the_first_minimum_of_what_it_saw(values):
    stopping = quiet(patience=4)
    stop = judge(stopping, values)
    seen = values if stop is None else values[: stop + 1]
    finite_minimum = min((value for value in seen if math.isfinite(value)), default=None)
    assert stopping.best_loss == (INF if finite_minimum is None else finite_minimum)
    assert stopping.best_epoch == (None if finite_minimum is None else seen.index(finite_minimum))


BAD_VALUES = [
    ("patience", 0),
    ("patience", -1),
    ("min_delta", -1e-9),
    ("min_delta", NAN),
    ("mode", "up"),
    ("start_from_epoch", -1),
    ("start_from_epoch", 1.5),
    ("baseline", NAN),
    ("baseline", "low"),
    ("divergence_threshold", NAN),
    ("stopping_threshold", NAN),
]


@pytest.mark.parametrize(("name", "value"), BAD_VALUES)
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=f"{name} must .*got {value!r}"):
        EarlyStopping(**{name: value})


@pytest.mark.parametrize(("mode", "good", "bad"), [("min", 2.0, 1.0), ("max", 1.0, 2.0)])
def test_thresholds_that_every_value_is_beyond_are_refused(mode, good, bad):
    with pytest.raises(ValueError, match=f"stopping_threshold must not be worse .*got {good:g} and {bad:g}"):
        quiet(mode=mode, stopping_threshold=good, divergence_threshold=bad)
    quiet(mode=mode, stopping_threshold=bad, divergence_threshold=good)


@pytest.mark.parametrize(("verbose", "lines"), [(True, 1), (False, 0)])
def test_prints_one_line_when_it_stops_and_nothing_before(capsys, verbose, lines):
    stopping = quiet(verbose=verbose)
    judge(stopping, [1.0, 2.0])
    assert capsys.readouterr().out == ""
    judge(stopping, [2.0], start=2)
    out = capsys.readouterr().out
    assert out.count("\n") == lines
    assert ("epoch 2" in out and "no improvement on 1 for 2 epochs" in out) == verbose


# The weights, by hand.


def a_net():
    return nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))


def train(model):
    """Change every weight and every buffer, as an epoch of training does."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
        model(torch.randn(5, 2))


def test_by_hand_the_best_epochs_weights_and_buffers_come_back(task):
    model = a_net()
    stopping = quiet(restore_best_weights=True)
    stopping.set_model(model)
    snapshots = []
    for epoch, loss in enumerate([3.0, 1.0, 2.0, NAN]):
        train(model)
        snapshots.append(task.weights(model))
        if stopping.on_epoch_end(epoch, loss):
            break
        assert task.same(task.weights(model), snapshots[epoch])
    assert epoch == 3
    assert task.same(task.weights(model), snapshots[1])
    assert model[1].num_batches_tracked == 2


def test_what_it_keeps_is_a_copy(task):
    model = a_net()
    stopping = quiet(restore_best_weights=True, patience=1)
    stopping.set_model(model)
    stopping.on_epoch_end(0, 1.0)
    best = task.weights(model)
    for epoch in (1, 2):  # also after the weights were given back once
        train(model)
        assert stopping.on_epoch_end(epoch, 2.0)
        assert task.same(task.weights(model), best)


def test_without_restoring_no_model_is_needed_and_none_is_touched(task):
    model = a_net()
    stopping = quiet()
    stopping.set_model(model)
    stopping.on_epoch_end(0, 1.0)
    train(model)
    last = task.weights(model)
    assert judge(stopping, [2.0, 2.0], start=1) == 2
    assert task.same(task.weights(model), last)
    assert stopping.state_dict()["best_weights"] is None


def test_without_a_model_it_monitors_and_stops_by_hand_and_says_once_that_it_restores_nothing(caplog):
    stopping = quiet(patience=2, restore_best_weights=True)
    assert [stopping.on_epoch_end(epoch=epoch, val_loss=1.0) for epoch in range(3)] == [False, False, True]
    assert [message for message in caplog.messages if "set_model(model)" in message] == [
        "EarlyStopping restores no weights: it has no model; call set_model(model) first"
    ]


def test_attached_without_a_model_to_restore_it_says_set_model():
    with pytest.raises(RuntimeError, match=r"set_model\(model\).*restore_best_weights=False"):
        quiet(restore_best_weights=True).attach(Engine(lambda engine, batch: None))


def test_a_run_that_had_stopped_continues_with_more_patience_and_says_so(task, caplog):
    caplog.set_level("INFO")
    trainer, longer = task.scripted([1.0, 2.0, 2.0]), task.scripted([2.0, 0.5, 2.0])
    stopped, more = quiet(patience=2).attach(trainer), quiet(patience=4).attach(longer)
    trainer.run(task.batches, max_epochs=9)
    more.load_state_dict(task.filed(stopped.state_dict()))
    longer.progress.start_after(3, 4)
    longer.run(task.batches, max_epochs=5)
    assert (more.best_loss, more.best_epoch, more.stopped_epoch) == (0.5, 5, None)
    assert "it had stopped at epoch 3; with patience 4 it continues" in caplog.text


def test_a_run_that_had_stopped_and_trains_no_further_says_so(task, caplog):
    trainer, again = task.scripted([1.0, 2.0]), task.scripted([])
    stopped, same = quiet(patience=1).attach(trainer), quiet(patience=1).attach(again)
    trainer.run(task.batches, max_epochs=9)
    same.load_state_dict(task.filed(stopped.state_dict()))
    again.progress.start_after(2, 4)
    again.run(task.batches, max_epochs=9)
    assert again.state.iteration == 8
    assert "the run stopped early at epoch 2: it does not train further" in caplog.text


def test_a_compiled_models_weights_are_kept_under_plain_names():
    model = a_net()
    wrapper = nn.Module()
    wrapper._orig_mod = model
    stopping = quiet(restore_best_weights=True)
    stopping.set_model(wrapper)
    stopping.on_epoch_end(0, 1.0)
    assert list(stopping.state_dict()["best_weights"]) == list(model.state_dict())


@law
@given(values=VALUES, cut=st.integers(0, 12))
def test_saving_and_loading_at_any_epoch_equals_never_stopping(task, values, cut):
    def play(values, start, state=None):
        model = nn.Linear(1, 1, bias=False)
        stopping = quiet(patience=3, restore_best_weights=True)
        stopping.set_model(model)
        if state is not None:
            stopping.load_state_dict(state)
        asked = []
        for epoch, value in enumerate(values, start):
            with torch.no_grad():
                model.weight.fill_(epoch)
            asked.append((stopping.on_epoch_end(epoch, value), model.weight.item()))
        return stopping, asked

    whole, asked = play(values, 0)
    first, before = play(values[:cut], 0)
    second, after = play(values[cut:], len(values[:cut]), task.filed(first.state_dict()))
    assert before + after == asked
    assert task.same(second.state_dict(), whole.state_dict())


# Attached.

RUNS = [  # what happens, values, epochs asked for, epochs trained, best epoch
    ("stops", [3.0, 1.0, 2.0, 2.0, 0.0], 5, 4, 2),
    ("ends by itself", [3.0, 1.0, 2.0], 3, 3, 2),
    ("ends at its best", [3.0, 2.0, 1.0], 3, 3, 3),
    ("stops with nothing ever measured", [NAN, NAN, 1.0], 3, 2, 2),
]


@pytest.mark.parametrize(("values", "asked", "trained", "best"), [r[1:] for r in RUNS], ids=[r[0] for r in RUNS])
def test_attached_the_best_weights_come_back_after_the_last_checkpoint(task, values, asked, trained, best):
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    trainer = task.scripted(values, model=model)
    at_end, at_checkpoint = [], []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: at_end.append(task.weights(model)))
    stopping = quiet(restore_best_weights=True).attach(trainer)
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: at_checkpoint.append(task.weights(model)))
    trainer.run(task.batches, max_epochs=asked)
    assert trainer.state.epoch == trained == len(at_end)
    assert task.same(at_checkpoint, at_end)
    assert task.same(task.weights(model), at_end[best - 1])
    assert not task.same(at_end[0], at_end[1])
    assert stopping.stopped_epoch == (trained if trained < asked else None)


def test_attached_without_restoring_the_last_weights_stay(task):
    trainer = task.scripted([1.0, 2.0, 2.0])
    quiet().attach(trainer)
    last = []
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: last.append(task.weights(trainer.model)))
    trainer.run(task.batches, max_epochs=9)
    assert task.same(task.weights(trainer.model), last[2])


def test_a_metric_that_is_computed_after_it_was_attached_is_still_seen(task):
    trainer = task.trainer()
    stopping = quiet(restore_best_weights=True).attach(trainer)
    Validation(_evaluator(task, trainer.model), task.batches).attach(trainer)
    history = History(["val_loss"]).attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert stopping.best_loss == min(history.epochs["val_loss"])


def _evaluator(task, model):
    evaluator = create_evaluator(model, task.loss_fn)
    EpochAverages().attach(evaluator)
    return evaluator


@pytest.mark.parametrize("events", [True, False])
def test_on_an_engine_of_ones_own_a_function_gives_the_metric(task, events):
    model = task.model()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1), events=events)
    values, snapshots = iter([3.0, 1.0, 2.0, 2.0, 0.0]), []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: snapshots.append(task.weights(model)))
    stopping = quiet(restore_best_weights=True).attach(engine, lambda engine: next(values), model=model)
    engine.run(task.batches, max_epochs=5)
    assert (engine.state.epoch, stopping.stopped_epoch, stopping.best_epoch) == (4, 4, 2)
    assert task.same(task.weights(model), snapshots[1])


def test_a_missing_metric_is_an_error_that_names_the_known_ones(task):
    trainer = task.scripted([1.0], metric="val_accuracy")
    trainer.state.metrics["train_loss"] = 0.5
    quiet().attach(trainer, "val_loss")
    with pytest.raises(RuntimeError, match=r"'val_loss'.*there are: .*train_loss, val_accuracy\. Attach"):
        trainer.run(task.batches, max_epochs=1)


def test_a_stopped_run_that_is_resumed_stops_at_once_and_returns_its_best_weights(task, tmp_path):
    def make():
        trainer = task.scripted([1.0, 2.0, 2.0])
        return trainer, quiet(restore_best_weights=True).attach(trainer)

    trainer, _ = make()
    trainer.add_event_handler(
        TrainEvents.CHECKPOINT_READY, lambda: write_checkpoint(run_state(trainer), tmp_path / "run.pt")
    )
    trainer.run(task.batches, max_epochs=9)
    resumed, stopping = make()
    restore_run(resumed, tmp_path / "run.pt")
    assert not task.same(task.weights(resumed.model), task.weights(trainer.model))  # the file has the last weights
    resumed.add_event_handler(Events.ITERATION_STARTED, lambda: pytest.fail("it continued to train"))
    resumed.run(task.batches, max_epochs=9)
    assert (resumed.state.epoch, stopping.stopped_epoch) == (3, 3)
    assert task.same(task.weights(resumed.model), task.weights(trainer.model))


CONFLICTS = [("max", "min", "val_loss"), ("min", "max", "val_loss"), ("min", "min", "train_loss")]


@pytest.mark.parametrize(("plateau_mode", "mode", "metric"), CONFLICTS)
@pytest.mark.parametrize("schedule_first", [True, False])
def test_a_plateau_schedule_that_disagrees_about_what_is_better_is_refused(
    task, plateau_mode, mode, metric, schedule_first
):
    trainer = task.trainer()
    schedule = LearningRateScheduler(trainer.optimizer, "plateau", mode=plateau_mode)
    attach = [lambda: schedule.attach(trainer, "val_loss"), lambda: quiet(mode=mode).attach(trainer, metric)]
    first, second = attach if schedule_first else attach[::-1]
    first()
    with pytest.raises(ValueError, match=r"same metric in the same direction.*independent=True"):
        second()


@pytest.mark.parametrize(("plateau_mode", "mode", "metric"), CONFLICTS)
@pytest.mark.parametrize("schedule_first", [True, False])
def test_one_that_is_said_to_be_independent_may_watch_something_else(task, plateau_mode, mode, metric, schedule_first):
    trainer = task.scripted([2.0, 1.0, 3.0])
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: trainer.state.metrics.update(train_loss=0.5))
    schedule = LearningRateScheduler(trainer.optimizer, "plateau", patience=0, factor=0.5, mode=plateau_mode)
    stopping = quiet(mode=mode)
    if schedule_first:
        schedule.attach(trainer, "val_loss")
        stopping.attach(trainer, metric, independent=True)
    else:
        schedule.attach(trainer, "val_loss", independent=True)
        stopping.attach(trainer, metric)
    trainer.run(task.batches, max_epochs=3)
    assert schedule.get_lr() == 0.05  # worse once: the second epoch for "max", the third for "min"
    assert stopping.best_loss == (0.5 if metric == "train_loss" else 3.0 if mode == "max" else 1.0)


def test_a_threshold_decides_on_its_metric_as_patience_does(task):
    trainer = task.trainer()
    LearningRateScheduler(trainer.optimizer, "plateau").attach(trainer)
    with pytest.raises(ValueError, match="same metric in the same direction"):
        quiet(patience=None, stopping_threshold=1.0).attach(trainer, "train_loss")
    quiet(patience=None).attach(trainer, "train_loss")  # which decides on nothing


@pytest.mark.parametrize(("kind", "mode"), [("plateau", "max"), ("cosine", "min")])
def test_a_schedule_that_agrees_or_watches_nothing_is_welcome(task, kind, mode):
    trainer = task.scripted([1.0, 2.0])
    LearningRateScheduler(trainer.optimizer, kind, mode=mode).attach(trainer)
    stopping = quiet(mode="max").attach(trainer)
    trainer.run(task.batches, max_epochs=2)
    assert stopping.best_loss == 2.0


def test_on_an_engine_of_ones_own_it_needs_no_event_of_ours_and_is_attached_once():
    trainer = Engine(lambda engine, batch: None)
    trainer.register_events(*TrainEvents)  # though it fires none of them
    stopping = EarlyStopping(1, restore_best_weights=False, verbose=False).attach(trainer, lambda engine: 1.0)
    with pytest.raises(RuntimeError, match="attached to an engine already"):
        stopping.attach(trainer, lambda engine: 1.0)
    assert trainer.run([0], max_epochs=5).epoch == 2


def long_run(task, epochs=6, pick=None):
    """A run of ours that hands its model over with the best weights, or only a part of it."""
    torch.manual_seed(5)
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    trainer = task.trainer(model, optimizer)
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED,
        lambda e: e.state.metrics.update(val_loss=[3.0, 1.0, 2.0, 2.5, 2.5, 0.5][e.state.epoch - 1]),
    )
    quiet(patience=None, restore_best_weights=True).attach(trainer, model=None if pick is None else model[pick])
    trainer.run(task.batches, max_epochs=epochs)
    return trainer


@pytest.mark.parametrize("end", [1, 3, 4])
@pytest.mark.parametrize("pick", [None, 0])
def test_a_run_that_continues_after_its_end_continues_from_the_trained_weights(task, end, pick):
    whole, parts = long_run(task, pick=pick), long_run(task, end, pick)
    for epochs in (end, 5, 6):  # the first of them is reached already
        parts.run(task.batches, max_epochs=epochs)
    assert task.same({**run_state(parts), "identity": whole.identity}, run_state(whole))
    assert task.same(task.weights(parts.model), task.weights(whole.model))


def test_a_checkpoint_that_is_taken_after_the_end_holds_the_trained_weights(task, tmp_path):
    whole, first, second = long_run(task), long_run(task, 4), long_run(task, 1)
    assert not task.same(dict(run_state(first)["model_state_dict"]), task.weights(first.model))
    write_checkpoint(run_state(first), tmp_path / "run.pt")
    restore_run(second, tmp_path / "run.pt")
    second.run(task.batches, max_epochs=6)
    assert task.same(run_state(second)["run"], run_state(whole)["run"])
    assert task.same(task.weights(second.model), task.weights(whole.model))


def test_on_an_engine_of_ones_own_too_a_second_run_continues_from_the_trained_weights(task):
    def make():
        model = task.model().eval()  # no dropout: the numbers drawn are the user's own business
        engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1))
        values = iter([3.0, 1.0, 2.0, 2.5])
        quiet(patience=None, restore_best_weights=True).attach(engine, lambda engine: next(values), model=model)
        ends = []
        engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: ends.append(task.weights(model)))
        return engine, model, ends

    (whole, expected, expected_ends), (parts, model, ends) = make(), make()
    whole.run(task.batches, max_epochs=4)
    parts.run(task.batches, max_epochs=3)
    assert task.same(task.weights(model), ends[1])
    parts.run(task.batches, max_epochs=4)
    assert task.same(ends, expected_ends)
    assert task.same(task.weights(model), task.weights(expected))

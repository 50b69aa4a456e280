"""What the average is, that it never changes the training, and who gets to see it when."""

import itertools
import weakref

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events
from support.models import perceptron
from torch import nn

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    MixedPrecisionTrainer,
    NonFiniteGuard,
    TrainEvents,
    Validation,
    create_evaluator,
    describe,
    load_checkpoint,
    restore_run,
    run_state,
    write_checkpoint,
)
from ignite_recipes.engine.weights import WeightSwap

law = settings(deadline=None, max_examples=60)
WEIGHTS = st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=8)
DECAYS = st.floats(0, 0.9990234375, width=32)


def scalar(start=0.0):
    model = nn.Linear(1, 1, bias=False)
    set_to(model, start)
    return model


@torch.no_grad()
def set_to(model, value):
    for parameter in model.parameters():
        parameter.fill_(value)


def average_of(model, **settings):
    ema = ExponentialMovingAverage(**settings)
    ema.set_model(model)
    return ema


def averages(ema):
    return {name: value.clone() for name, value in ema.state_dict()["weights"].items()}


def play(values, **settings):
    """The average after weights that were first ``values[0]`` and took the others step by step."""
    model = scalar(values[0])
    ema = average_of(model, **settings)
    for value in values[1:]:
        set_to(model, value)
        ema.update()
    return averages(ema)["weight"].item()


# What the average is.


@law
@given(values=WEIGHTS, warmup=st.booleans())
def test_without_decay_it_is_the_weights_themselves(values, warmup):
    assert play(values, decay=0.0, warmup=warmup) == values[-1]


@law
@given(value=st.floats(-8, 8, width=32), steps=st.integers(0, 9), decay=DECAYS, warmup=st.booleans())
def test_constant_weights_stay(value, steps, decay, warmup):
    assert play([value] * (steps + 1), decay=decay, warmup=warmup) == value


@law
@given(values=WEIGHTS, decay=DECAYS)
def test_without_warmup_the_weight_of_a_step_falls_off_geometrically(values, decay):
    last = len(values) - 1
    shares = [decay**last] + [(1 - decay) * decay ** (last - k) for k in range(1, last + 1)]
    expected = sum(share * value for share, value in zip(shares, values, strict=True))
    assert play(values, decay=decay, warmup=False) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@law
@given(values=WEIGHTS, decay=DECAYS)
def test_with_warmup_the_decay_of_a_step_rises_to_its_bound(values, decay):
    expected = values[0]
    for t, value in enumerate(values[1:]):
        d = min(decay, (1 + t) / (10 + t))
        expected = d * expected + (1 - d) * value
    assert play(values, decay=decay) == pytest.approx(expected, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("decay", [-0.1, 1.0, 1.5, float("nan")])
def test_a_decay_out_of_its_range_is_refused(decay):
    with pytest.raises(ValueError, match=rf"in \[0, 1\).*got {decay}"):
        ExponentialMovingAverage(decay)


def net():
    with torch.random.fork_rng():
        return perceptron(3, 4, seed=3, activation=nn.Tanh, batch_norm=True, dropout=0.2)


def test_buffers_are_copied_and_never_aliased(task):
    model = net()
    ema = average_of(model, decay=0.5)
    start = averages(ema)
    model(torch.randn(8, 3))
    assert task.same(averages(ema), start)
    ema.update()
    assert torch.equal(averages(ema)["1.running_mean"], model[1].running_mean)
    assert averages(ema)["1.num_batches_tracked"] == 1
    after = averages(ema)
    model(torch.randn(8, 3))
    assert task.same(averages(ema), after)
    with ema.averaged():
        model(torch.randn(8, 3))
    other = net()
    ema.copy_to(other)
    other(torch.randn(8, 3))
    assert task.same(averages(ema), after)
    ema.load_state_dict(task.filed(ema.state_dict()))
    model(torch.randn(8, 3))
    assert task.same(averages(ema), after)


def test_a_buffer_that_a_forward_pass_replaces_is_still_copied():
    model = scalar()
    model.register_buffer("seen", torch.zeros(()))
    ema = average_of(model)
    model.seen = model.seen + 1
    ema.update()
    assert averages(ema)["seen"] == 1
    with ema.averaged():
        model.seen = model.seen + 5
        assert model.seen == 6
    assert model.seen == 1


def test_a_buffer_that_is_in_no_file_stays_the_models():
    model = scalar(1.0)
    model.register_buffer("cache", torch.zeros(()), persistent=False)
    ema = average_of(model, decay=0.5)
    model.cache.fill_(7.0)
    ema.update()
    assert list(averages(ema)) == ["weight"]
    with ema.averaged():
        assert model.cache == 7.0


def test_tied_weights_are_averaged_once_and_stay_tied(task):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight = model[0].weight
    set_to(model, 0.0)
    ema = average_of(model, decay=0.5, warmup=False)
    set_to(model, 1.0)
    ema.update()
    kept = task.filed(ema.state_dict())["weights"]
    assert list(kept) == list(model.state_dict())
    assert kept["0.weight"].data_ptr() == kept["1.weight"].data_ptr()
    assert kept["0.weight"].unique() == 0.5
    with ema.averaged():
        assert model[1].weight.unique() == 0.5


def test_the_average_of_half_precision_weights_does_not_stand_still():
    model = scalar(1.0).to(torch.bfloat16)
    ema = average_of(model, decay=0.999, warmup=False)
    set_to(model, 1.5)
    for _ in range(1000):
        ema.update()
    assert averages(ema)["weight"].item() == pytest.approx(1.5 - 0.5 * 0.999**1000, rel=1e-3)
    with ema.averaged():
        assert model.weight.dtype == torch.bfloat16
        assert model.weight.item() == pytest.approx(1.3160, rel=0.01)


def test_complex_weights_are_averaged_and_whole_numbers_copied():
    model = nn.Module()
    model.waves = nn.Parameter(torch.zeros(2, dtype=torch.complex64))
    model.table = nn.Parameter(torch.zeros(2, dtype=torch.int64), requires_grad=False)
    ema = average_of(model, decay=0.75, warmup=False)
    with torch.no_grad():
        model.waves.fill_(1j)
        model.table.fill_(7)
    ema.update()
    assert averages(ema)["waves"].tolist() == [0.25j, 0.25j]
    assert averages(ema)["table"].tolist() == [7, 7]


def test_a_compiled_models_average_has_plain_names():
    wrapper = nn.Module()
    wrapper._orig_mod = net()
    ema = average_of(wrapper)
    assert list(averages(ema)) == list(wrapper._orig_mod.state_dict())
    ema.copy_to(wrapper)


def test_state_that_is_no_tensor_stays_the_models():
    class Counted(nn.Linear):
        calls = 0

        def get_extra_state(self):
            return {"calls": self.calls}

        def set_extra_state(self, state):
            self.calls = state["calls"]

    model = Counted(1, 1, bias=False)
    set_to(model, 0.0)
    ema = average_of(model, decay=0.5, warmup=False)
    set_to(model, 1.0)
    model.calls = 3
    ema.update()
    with ema.averaged():
        assert (model.weight.item(), model.calls) == (0.5, 3)
        model.calls = 9
    assert (model.weight.item(), model.calls) == (1.0, 3)


# By hand.


def test_by_hand_in_a_plain_loop(task):
    def train(ema=None):
        model = task.model()
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        torch.manual_seed(0)
        if ema is not None:
            ema.set_model(model)
        for inputs, targets in task.batches:
            optimizer.zero_grad()
            (model(inputs) - targets).square().mean().backward()
            optimizer.step()
            if ema is not None:
                ema.update()
                with ema.averaged():
                    assert task.same(task.weights(model), averages(ema))
        return model

    ema = ExponentialMovingAverage(0.9)
    plain, averaged = train(), train(ema)
    assert task.same(task.weights(averaged), task.weights(plain))
    assert ema.num_updates == 4
    assert not task.same(averages(ema), task.weights(plain))
    ema.copy_to(plain)
    assert task.same(averages(ema), task.weights(plain))


@pytest.mark.parametrize(
    "call",
    [
        lambda ema: ema.update(),
        lambda ema: ema.averaged().__enter__(),
        lambda ema: ema.copy_to(scalar()),
        lambda ema: ema.state_dict(),
        lambda ema: ema.load_state_dict({"weights": {}}),
    ],
)
def test_without_a_model_it_says_set_model(call):
    with pytest.raises(RuntimeError, match=r"set_model\(model\)"):
        call(ExponentialMovingAverage())


def test_what_was_in_the_model_comes_back_also_after_an_error_and_from_a_block_in_a_block():
    model = scalar(0.0)
    ema = average_of(model, decay=0.5, warmup=False)
    set_to(model, 1.0)
    ema.update()

    def fail():
        with ema.averaged():
            with ema.averaged():
                assert model.weight == 0.5
            assert model.weight == 0.5
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert model.weight == 1.0


def test_an_average_of_another_model_is_refused_and_changes_nothing():
    model = scalar(2.0)
    ema = average_of(model)
    for other in (nn.Linear(1, 1), nn.Linear(2, 1, bias=False)):
        with pytest.raises(ValueError, match="another model: "):
            ema.load_state_dict(average_of(other).state_dict())
    assert averages(ema)["weight"] == 2.0


def test_a_state_is_loaded_into_the_memory_that_is_there(task):
    ema = average_of(scalar(1.0))
    before = ema.state_dict()["weights"]["weight"]
    ema.load_state_dict(task.filed(average_of(scalar(4.0)).state_dict()))
    assert before.item() == 4.0


# Attached.


class Run:
    """A trainer of ours with an average, validation, and whatever else is asked for; and what was seen in it."""

    def __init__(self, task, *, ema=True, stopping=False, order=None, hostile=False, lr=0.1, **kwargs):
        self.task, self.model = task, net()
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=lr, momentum=0.9)
        steps = kwargs.pop("accumulation_steps", 1)
        self.trainer = task.trainer(self.model, self.optimizer, accumulation_steps=steps)
        self.ema = ExponentialMovingAverage(**{"decay": 0.8, **kwargs})
        self.stopping = EarlyStopping(None, 0.0, verbose=False)
        self.history = History(["val_loss"])
        self.evaluator = create_evaluator(self.model, task.loss_fn)
        EpochAverages().attach(self.evaluator)
        validation = Validation(self.evaluator, task.batches[:2])
        parts = [validation, *([self.ema] if ema else []), *([self.stopping] if stopping else [])]
        for k in order or range(len(parts)):
            parts[k].attach(self.trainer)
        if hostile:  # steps are dropped by the scaler and by the guard
            MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(self.trainer)
            GradientClipper(1.0).attach(self.trainer)
            NonFiniteGuard("skip").attach(self.trainer)
        self.history.attach(self.trainer)
        self.batches = [*task.batches, task.nan_batch] if hostile else task.batches
        self.validated, self.saved = [], []  # weights while validating, and when it is time to save
        self.evaluator.add_event_handler(Events.STARTED, lambda: self.validated.append(task.weights(self.model)))
        self.trainer.add_event_handler(
            TrainEvents.CHECKPOINT_READY, lambda: self.saved.append(task.weights(self.model))
        )

    def run(self, epochs=3):
        self.trainer.run(self.batches, max_epochs=epochs)
        return self

    def end(self):
        """All that two runs which are the same one have in common."""
        state = run_state(self.trainer)
        return {
            "model": self.task.weights(self.model),
            "run": {name: state[name] for name in ("model_state_dict", "optimizer_state_dict", "history", "run")},
            "ema": state.get("ema_model_state_dict"),
        }


def test_an_epoch_is_measured_on_the_averaged_weights_and_saved_with_the_trained_ones(task):
    run, averaged = Run(task), []
    run.trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: averaged.append(averages(run.ema)))
    run.run()
    assert task.same(run.validated, averaged)
    assert not any(task.same(a, b) for a, b in zip(run.validated, run.saved, strict=True))
    assert task.same(task.weights(run.model), averaged[-1])
    assert run.ema.num_updates == 12


def test_without_validate_only_the_model_that_is_handed_over_is_averaged(task):
    run = Run(task, validate=False).run()
    assert task.same(run.validated, run.saved)
    assert task.same(task.weights(run.model), averages(run.ema))


@pytest.mark.parametrize(
    "kwargs", [{}, {"hostile": True}, {"accumulation_steps": 3}], ids=["plain", "hostile", "windows"]
)
def test_the_training_is_the_same_to_the_last_bit(task, kwargs):
    without = Run(task, ema=False, **kwargs).run()
    for validate in (True, False):
        run = Run(task, validate=validate, **kwargs).run()
        assert task.same(run.saved, without.saved)
        assert task.same(run.optimizer.state_dict(), without.optimizer.state_dict())
        assert task.same(dict(run_state(run.trainer)["model_state_dict"]), task.weights(without.model))


def test_it_touches_neither_gradients_nor_the_parameters_themselves(task):
    run, gradients = Run(task), []
    before = [(id(p), p.data_ptr()) for p in run.model.parameters()]

    def note():
        gradients.append([p.grad.clone() for p in run.model.parameters()])

    run.trainer.add_event_handler(Events.ITERATION_COMPLETED(event_filter=lambda e, n: n % 4 == 0), note)
    run.trainer.add_event_handler(TrainEvents.METRICS_READY, note)
    run.run()
    assert [(id(p), p.data_ptr()) for p in run.model.parameters()] == before
    assert task.same(gradients[::2], gradients[1::2])


def test_taking_weights_out_gives_the_memory_of_the_copy_back():
    model = net()
    swap = WeightSwap(model)
    swap.put_in(net().state_dict())
    copies = [weakref.ref(value) for value in swap.own_weights().values()]
    assert all(copy() is not None for copy in copies)
    swap.take_out()
    assert all(copy() is None for copy in copies)


def test_what_comes_out_again_is_what_went_aside_also_after_a_conversion_and_of_any_kind():
    class Noted(nn.Linear):
        def get_extra_state(self):
            return self.notes

        def set_extra_state(self, state):
            self.notes = dict(state)

    model = Noted(1, 1, bias=False)
    other = {"weight": torch.ones(1, 1), "_extra_state": {"a": 2}}
    swap = WeightSwap(model.half())
    for dtype, value in ((torch.float16, 0.5), (torch.float32, 0.1)):
        model.to(dtype)
        model.notes = notes = {"a": 1}
        set_to(model, value)
        before = model.weight.clone()
        swap.put_in(other)
        notes["a"] = 9
        assert (model.weight.item(), model.notes) == (1.0, {"a": 2})
        swap.take_out()
        assert torch.equal(model.weight, before)
        assert model.notes == {"a": 1}


ORDERS = list(itertools.permutations(range(3)))


@pytest.mark.parametrize("order", ORDERS[1:])
def test_the_order_of_attachment_does_not_matter(task, order):
    first, other = Run(task, stopping=True).run(), Run(task, stopping=True, order=order).run()
    assert task.same(other.validated, first.validated)
    assert task.same(other.saved, first.saved)
    for part in ("model_state_dict", "history", "ema_model_state_dict"):
        assert task.same(run_state(other.trainer)[part], run_state(first.trainer)[part])
    assert task.same(task.weights(other.model), task.weights(first.model))


def test_the_drawing_shows_it_before_the_validation(task, capsys):
    run = Run(task)
    describe(run.trainer)
    lines = capsys.readouterr().out.splitlines()
    start = next(k for k, line in enumerate(lines) if "EPOCH_TRAINED" in line)
    assert [line.split() for line in lines[start : start + 2]] == [
        ["EPOCH_TRAINED", "ExponentialMovingAverage(0.8)"],
        ["EPOCH_COMPLETED", "Validation(prefix='val_')"],
    ]


@pytest.mark.parametrize("first", [True, False])
def test_the_last_window_of_an_epoch_is_in_the_average_that_is_measured(task, first):
    class Unsized:  # only the end of such an epoch shows that its last window is full
        def __iter__(self):
            return iter(task.batches)

    run = Run(task, accumulation_steps=3, order=[1, 0] if first else [0, 1])
    updates = []
    run.evaluator.add_event_handler(Events.STARTED, lambda: updates.append(run.ema.num_updates))
    run.trainer.run(Unsized(), max_epochs=2)
    assert updates == [2, 4]


def test_skipped_steps_do_not_count(task):
    run = Run(task, hostile=True).run()
    progress = run.trainer.progress
    assert (progress.iteration, progress.skipped_steps > 3) == (15, True)
    assert run.ema.num_updates == progress.optimizer_steps == 15 - progress.skipped_steps

    vetoed = Run(task)
    before = averages(vetoed.ema)
    vetoed.trainer.add_event_handler(
        TrainEvents.OPTIMIZER_STEP_STARTED, lambda e: setattr(e.updates.first, "veto", True)
    )
    vetoed.run()
    assert vetoed.ema.num_updates == 0
    assert task.same(averages(vetoed.ema), before)


def test_it_begins_with_the_weights_that_the_run_begins_with(task):
    run, seen = Run(task, decay=0.5, warmup=False), []
    set_to(run.model, 0.25)  # loaded after it was attached
    run.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append(averages(run.ema)))
    start = task.weights(run.model)
    run.run(1)
    assert task.same(seen, [start])


def test_it_does_so_too_when_a_resume_was_refused_before(task, tmp_path):
    run, contents, seen = Run(task), run_state(Run(task).run(1).trainer), []
    del contents["run"]["progress"]["iteration"]
    write_checkpoint(contents, tmp_path / "run.pt")
    with pytest.raises(RuntimeError, match="does not fit"):
        restore_run(run.trainer, tmp_path / "run.pt")
    set_to(run.model, 0.25)
    run.trainer.add_event_handler(Events.EPOCH_STARTED, lambda: seen.append(averages(run.ema)))
    start = task.weights(run.model)
    run.run(1)
    assert task.same(seen, [start])


def test_early_stopping_keeps_and_restores_the_averaged_weights_of_the_best_epoch(task):
    run = Run(task, stopping=True, lr=0.4).run(6)
    best = run.stopping.best_epoch
    assert best < 6
    assert run.stopping.best_loss == min(run.history.epochs["val_loss"])
    assert task.same(task.weights(run.model), run.validated[best - 1])
    assert task.same(dict(run.stopping.state_dict()["best_weights"]), run.validated[best - 1])
    run.evaluator.run(task.batches[:2])
    assert run.evaluator.state.metrics["loss"] == run.stopping.best_loss


FAILURES = {
    "before the validation": Events.EPOCH_COMPLETED,
    "a decision": TrainEvents.METRICS_READY,
    "a save": TrainEvents.CHECKPOINT_READY,
    "the end": Events.COMPLETED,
}


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", ["in the validation", *FAILURES])
def test_after_an_error_the_trained_weights_are_back_and_the_run_continues_exactly(task, place, error):
    whole, run = Run(task, stopping=True).run(), Run(task, stopping=True)
    failures, trained, raised = [error()], [], []

    def fail():
        if run.trainer.state.epoch == (3 if place == "the end" else 2) and failures:
            raise failures.pop()

    if place == "in the validation":
        run.evaluator.add_event_handler(Events.ITERATION_COMPLETED, fail)
    else:
        run.trainer.add_event_handler(FAILURES[place], fail)
    run.trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, lambda: trained.append(task.weights(run.model)))
    run.trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda e: raised.append(task.weights(run.model)))
    with pytest.raises(error):
        run.run()
    assert task.same(task.weights(run.model), trained[-1])
    assert task.same(raised, [trained[-1]])
    run.run()
    assert task.same(run.end(), whole.end())


def test_after_an_error_in_closing_an_epoch_again_the_trained_weights_are_back_too(task):
    whole, run, failures = Run(task).run(), Run(task), [ValueError("third"), ValueError("second"), ValueError("first")]

    @run.evaluator.on(Events.ITERATION_COMPLETED)
    def fail():
        if run.trainer.state.epoch == 2 and failures:
            raise failures.pop()

    ends = []
    for which in ("first", "second", "third"):
        with pytest.raises(ValueError, match=which):
            run.run()
        ends.append(task.weights(run.model))
    assert task.same(ends, [ends[0]] * 3)
    assert task.same(run.run().end(), whole.end())


@pytest.mark.parametrize("stopping", [True, False])
@pytest.mark.parametrize("ema", [True, False])
def test_a_run_that_continues_after_its_end_continues_from_the_trained_weights(task, ema, stopping):
    whole, parts = (Run(task, ema=ema, stopping=stopping, lr=0.4) for _ in range(2))
    whole.run(6)
    for epochs in (2, 2, 3, 3, 6):  # also to an end that is reached already
        parts.run(epochs)
        if ema and not stopping:
            assert task.same(task.weights(parts.model), averages(parts.ema))
    assert task.same(parts.saved, whole.saved)
    assert task.same(parts.end(), whole.end())


def test_a_run_that_was_stopped_inside_an_epoch_and_continues(task):
    whole, parts = Run(task).run(), Run(task)
    parts.trainer.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: parts.trainer.terminate())
    parts.run()
    assert task.same(task.weights(parts.model), averages(parts.ema))
    parts.run()
    assert task.same(parts.end(), whole.end())


@pytest.mark.parametrize(
    "kwargs",
    [{}, {"hostile": True}, {"accumulation_steps": 2, "stopping": True}, {"validate": False}],
    ids=["plain", "hostile", "windows", "validate=False"],
)
def test_a_resume_from_any_iteration_and_from_the_end_is_the_uninterrupted_run(task, tmp_path, kwargs):
    whole, first = Run(task, **kwargs).run(), Run(task, **kwargs)

    def save(trainer):
        write_checkpoint(run_state(trainer), tmp_path / f"{trainer.state.iteration}.pt")

    first.trainer.add_event_handler(TrainEvents.RESUME_POINT, save)
    for epochs in (2, 3):
        first.run(epochs)
        write_checkpoint(run_state(first.trainer), tmp_path / f"end of {epochs}.pt")
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2 + 3 * len(whole.batches) / kwargs.get("accumulation_steps", 1)
    for path in files:
        resumed = Run(task, **kwargs)
        restore_run(resumed.trainer, path)
        resumed.run()
        assert task.same(resumed.end(), whole.end()), path.name


def test_a_resume_before_the_first_step_that_was_taken(task, tmp_path):
    def make():
        run = Run(task)  # the statistics move, the weights do not
        run.trainer.add_event_handler(
            TrainEvents.OPTIMIZER_STEP_STARTED, lambda e: setattr(e.updates.first, "veto", True)
        )
        return run

    whole, first, second = make().run(), make().run(1), make()
    write_checkpoint(run_state(first.trainer), tmp_path / "run.pt")
    restore_run(second.trainer, tmp_path / "run.pt")
    assert task.same(second.run().end(), whole.end())


def test_restoring_into_a_trainer_that_has_handed_its_model_over(task, tmp_path):
    whole, run = Run(task).run(4), Run(task)
    run.trainer.add_event_handler(
        TrainEvents.CHECKPOINT_READY(once=2), lambda e: write_checkpoint(run_state(e), tmp_path / "run.pt")
    )
    run.run(3)
    restore_run(run.trainer, tmp_path / "run.pt")
    assert task.same(task.weights(run.model), run.saved[1])
    assert task.same(run.run(4).end(), whole.end())


def test_a_restore_that_fails_leaves_a_model_that_was_handed_over_as_it_was(task, tmp_path):
    run, other = Run(task).run(), Run(task).run(4)
    contents = run_state(other.trainer)
    del contents["run"]["parts"]["ema"]["num_updates"]
    write_checkpoint(contents, tmp_path / "run.pt")
    before = task.filed(run.end())
    with pytest.raises(RuntimeError, match="num_updates"):
        restore_run(run.trainer, tmp_path / "run.pt")
    assert task.same(task.filed(run.end()), before)


def test_a_checkpoint_holds_the_averaged_weights_once_and_for_everybody(task, tmp_path):
    run = Run(task)
    big = run.model[0] = nn.Linear(3, 4)
    big.register_buffer("ballast", torch.zeros(100_000))
    run.ema.set_model(run.model)
    run.run()
    path = write_checkpoint(run_state(run.trainer), tmp_path / "run.pt")
    contents = load_checkpoint(path, net_like(run.model))
    assert path.stat().st_size < 2.5 * 400_000  # trained and averaged
    model = net_like(run.model)
    model.load_state_dict(contents["ema_model_state_dict"])
    assert task.same(task.weights(model), averages(run.ema))
    assert task.same(dict(contents["model_state_dict"]), run.saved[-1])


def net_like(model):
    other = net()
    other[0].register_buffer("ballast", torch.ones_like(model[0].ballast))
    return other


def test_without_an_average_a_checkpoint_has_no_such_key(task):
    assert "ema_model_state_dict" not in run_state(Run(task, ema=False).run(1).trainer)


def test_a_step_reads_no_number_from_the_device(task, host_reads):
    model = net()
    ema = average_of(model)
    with host_reads as reads:
        ema.update()
        ema.update()
        with ema.averaged():
            pass
    assert reads.count == 0


# On an engine of one's own.


@pytest.mark.parametrize("events", [True, False])
def test_on_an_engine_of_ones_own_it_averages_and_writes_nothing(task, events):
    def train(ema=None):
        model, steps = task.model(), []
        torch.manual_seed(0)
        engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1), events=events)
        engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: steps.append(task.weights(model)))
        if ema is not None:
            assert ema.attach(engine, model) is ema
        engine.run(task.batches, max_epochs=2)
        return model, steps

    ema = ExponentialMovingAverage(0.5, warmup=False)
    (plain, steps), (model, _) = train(), train(ema)
    assert task.same(task.weights(model), task.weights(plain))
    assert ema.num_updates == 8
    expected = task.weights(task.model())
    for weights in steps:
        expected = {name: 0.5 * value + 0.5 * weights[name] for name, value in expected.items()}
    for name, value in averages(ema).items():
        torch.testing.assert_close(value, expected[name])
    with ema.averaged():
        assert task.same(task.weights(model), averages(ema))
    assert task.same(task.weights(model), task.weights(plain))


def test_on_an_engine_of_ones_own_a_step_that_was_not_taken_does_not_count(task):
    model, taken = task.model(), itertools.cycle([True, False])
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    engine = task.own_engine(model, optimizer, may_step=lambda: next(taken))
    ema = ExponentialMovingAverage().attach(engine, model)
    engine.run(task.batches)
    assert ema.num_updates == 2


def test_an_engine_of_ones_own_must_name_the_model_and_ours_has_its_own(task):
    with pytest.raises(RuntimeError, match=r"attach\(trainer, model\)"):
        ExponentialMovingAverage().attach(Engine(lambda engine, batch: None))
    with pytest.raises(ValueError, match="its own model, or of a part of it"):
        ExponentialMovingAverage().attach(task.trainer(), task.model())
    trainer = task.trainer()
    assert ExponentialMovingAverage().attach(trainer, trainer.model).num_updates == 0


@pytest.mark.parametrize("named", [True, False])
def test_an_average_that_was_begun_by_hand_continues_where_it_is_attached(task, named):
    model = task.model()
    ema = average_of(model)
    ema.update()
    engine = task.own_engine(model, torch.optim.SGD(model.parameters(), lr=0.1))
    ema.attach(engine, model if named else None)
    engine.run(task.batches)
    assert ema.num_updates == 5

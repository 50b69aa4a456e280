"""Runs that train together are each the run that it is alone.

Most tests run what is stacked one operation after the other (support/interpreted.py); compiled ones are marked slow.
"""

import logging
import signal

import pytest
import torch
from ignite.engine import Events
from support.stacking import note_calls
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    Checkpointing,
    ExponentialMovingAverage,
    GradientClipper,
    LearningRateScheduler,
    NonFiniteError,
    NonFiniteGuard,
    Rollback,
    SaveInside,
    StopOnSignal,
    Stopped,
    TrainEvents,
    create_trainer,
    restore_run,
    train_model_advanced,
)
from ignite_recipes.engine import steps_ahead
from ignite_recipes.engine.steps_ahead import StepsAhead
from ignite_recipes.handlers import EpochAverages
from ignite_recipes.programs.host_program import CompileError
from ignite_recipes.together import company, run_together, stacked

X = torch.randn(60, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()


@pytest.fixture(autouse=True)
def programs(monkeypatch, request):
    """How many runs each call of a program has computed; without a compiler, unless a test is marked ``slow``."""
    if "compiled" in request.node.name:
        monkeypatch.setattr(company, "_known", {})
        return None
    sizes = []
    note_calls(monkeypatch, sizes.append)
    return sizes


def network(seed, *extra, width=8):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(6, width), *(make() for make in extra), nn.ReLU(), nn.Linear(width, 2))


def advanced(seed, *extra, epochs=3, width=8, data=(X, Y), val=(X[:20], Y[:20]), **settings):
    """A call of ``train_model_advanced``, and what it has come to."""

    def call():
        model = network(seed, *extra, width=width)
        settings.setdefault("batch_size", 7)
        results = train_model_advanced(
            model, data, val, epochs=epochs, seed=seed, device="cpu", verbose=False, **settings
        )
        del results["training_time"]
        return results, model.state_dict()

    return call


def results_of(runs):
    for run in runs:
        if run.error is not None:
            raise run.error
    return [run.result for run in runs]


def check_as_alone(calls, tolerance=1e-5):
    together, alone = results_of(run_together(calls)), [call() for call in calls]
    for (results, weights), (expected, expected_weights) in zip(together, alone, strict=True):
        check_results(results, expected, tolerance)
        torch.testing.assert_close(weights, expected_weights, rtol=tolerance, atol=tolerance)
    return together


def check_results(results, expected, tolerance):
    histories = results.pop("history"), expected.pop("history")
    for one, other in (histories, (results, expected)):
        assert one.keys() == other.keys()
        for name, value in one.items():
            assert value == pytest.approx(other[name], rel=10 * tolerance, abs=tolerance, nan_ok=True), name


SETTINGS = {
    "plain": {},
    "one cycle": {"scheduler_type": "onecycle"},
    "cosine": {"scheduler_type": "cosine"},
    "noise": {"use_augmentation": True},
    "average": {"ema_decay": 0.9},
    "skip": {"non_finite": "skip"},
    "no clipping": {"gradient_clip": None},
    "metrics": {"metrics": ["f1"], "monitor": "val_f1", "mode": "max"},
    "stability": {"check_stability": True},
    "bfloat16": {"precision": "bfloat16"},
    "float16": {"precision": "float16"},
}


QUICK = ("one cycle", "noise", "skip")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in SETTINGS]
)
def test_each_run_is_the_one_that_it_is_alone(name, programs):
    tolerance = 1e-2 if name in ("bfloat16", "float16") else 1e-5
    check_as_alone([advanced(seed, **SETTINGS[name]) for seed in range(3)], tolerance)
    assert programs == [3] * 24  # of nine batches all but an epoch's last


@pytest.mark.parametrize(
    "layers",
    [[lambda: nn.Dropout(0.5)], [nn.ReLU, lambda: nn.BatchNorm1d(8)], [lambda: nn.LayerNorm(8), nn.GELU]],
    ids=["dropout", "batch norm", "layer norm"],
)
def test_so_it_is_of_models_that_draw_or_keep_statistics(layers, programs):
    check_as_alone([advanced(seed, *layers, data=(X[:56], Y[:56])) for seed in range(3)], 1e-3)
    assert set(programs) == {3}


def test_settings_that_are_numbers_may_differ(programs):
    settings = [
        {"learning_rate": rate, "gradient_clip": bound, "ema_decay": decay}
        for rate, bound, decay in [(1e-3, 1.0, 0.9), (1e-2, 0.1, 0.5), (3e-3, 10.0, 0.99)]
    ]
    check_as_alone([advanced(seed, **each) for seed, each in enumerate(settings)])
    assert set(programs) == {3}


def test_runs_of_other_shapes_are_other_groups(programs):
    check_as_alone([advanced(0), advanced(1), advanced(2, width=4), advanced(3, width=4), advanced(4, width=4)])
    assert sorted(programs) == [2] * 24 + [3] * 24


@pytest.mark.slow
def test_data_may_differ_and_so_may_the_lengths_of_epochs(programs):
    calls = [advanced(k, data=(X[: 60 - 14 * k], Y[: 60 - 14 * k])) for k in range(3)]
    check_as_alone(calls)
    assert max(programs) == 3


@pytest.mark.slow
def test_a_run_that_stops_early_leaves_the_others_alone(programs):
    calls = [advanced(seed, epochs=6, val=(X[:20], 1 - Y[:20]), early_stop_patience=seed + 1) for seed in range(3)]
    together = check_as_alone(calls, 1e-3)
    assert len({results["epochs_trained"] for results, _ in together}) > 1
    assert min(programs) < 3


def bits(weights):
    return {name: value.clone() for name, value in weights.items()}


def test_steps_whose_batches_are_fetched_at_once_are_the_same(programs, monkeypatch):
    sizes, fetch = [], StepsAhead.fetch_rows

    def noted(ahead, rows):
        sizes.append(len(rows))
        return fetch(ahead, rows)

    def trained(bytes_at_once):
        sizes.clear()
        monkeypatch.setattr(steps_ahead, "BYTES_AT_ONCE", bytes_at_once)
        results = results_of(run_together([advanced(seed, batch_size=8) for seed in range(3)]))
        return results, {size // 24 for size in sizes if size % 24 == 0}

    monkeypatch.setattr(StepsAhead, "fetch_rows", noted)
    of_a_step = 3 * (8 * 6 * 4 + 8 * 8)
    (one, steps), *others = (trained(count) for count in (1, 2 * of_a_step, 100 * of_a_step))
    assert [steps, *(at_once for _, at_once in others)] == [{1}, {2, 1}, {7}]  # of eight batches all but the last
    for other, _ in others:
        for (results, weights), (other_results, other_weights) in zip(one, other, strict=True):
            assert results == other_results
            assert all(map(torch.equal, weights.values(), other_weights.values()))


def test_a_run_does_not_depend_on_the_others(programs):
    two, five = (results_of(run_together([advanced(seed) for seed in range(count)])) for count in (2, 5))
    (alone,) = results_of(run_together([advanced(0)]))
    for (_, one), (_, other) in zip([*two, alone], [*five[:2], five[0]], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert set(programs) == {2, 5}


# A trainer with handlers of one's own.


def trained(seed, *handlers, epochs=2, optimizer=torch.optim.Adam, data=(X, Y), layers=(), resume=None, **settings):
    def call():
        model = network(seed, *layers)
        loss = nn.CrossEntropyLoss()
        trainer = create_trainer(
            model,
            optimizer(model.parameters(), lr=1e-2, **settings),
            lambda model, x, batch: {"loss": loss(model(x), batch[1])},
            seed=seed,
        )
        GradientClipper(1.0).attach(trainer)
        EpochAverages("train_").attach(trainer)
        made = [make(seed) for make in handlers]
        for handler in made:
            handler.attach(trainer)
        loader = DataLoader(TensorDataset(*data), 6, shuffle=True)
        if resume is not None:
            restore_run(trainer, resume(seed))
        trainer.run(loader, max_epochs=epochs)
        return trainer, made

    return call


def check_trainers(calls, tolerance=1e-5):
    together, alone = results_of(run_together(calls)), [call() for call in calls]
    for (trainer, _), (expected, _) in zip(together, alone, strict=True):
        torch.testing.assert_close(
            trainer.model.state_dict(), expected.model.state_dict(), rtol=tolerance, atol=tolerance
        )
        assert trainer.state.metrics == pytest.approx(expected.state.metrics, rel=1e-4)
        one, other = trainer.state_dict(), expected.state_dict()
        assert one == other  # where the run is, and how many steps it has taken
    return together, alone


@pytest.mark.parametrize(
    ("optimizer", "settings"),
    [
        pytest.param(torch.optim.SGD, {}, marks=pytest.mark.slow),
        (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
        (torch.optim.AdamW, {"amsgrad": True}),
        pytest.param(torch.optim.RMSprop, {"centered": True, "momentum": 0.5}, marks=pytest.mark.slow),
    ],
)
def test_so_it_is_with_each_optimizer(optimizer, settings, programs):
    check_trainers([trained(seed, optimizer=optimizer, **settings) for seed in range(2)])
    assert set(programs) == {2}


class Recorder:
    """A user's own handler, which looks at weights after each step."""

    def __init__(self, seed):
        self.seen = []

    def attach(self, trainer):
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self)

    def __call__(self, trainer):
        self.seen.append(
            (trainer.state.iteration, trainer.model[0].weight.sum().item(), trainer.state.output["loss"].item())
        )


def test_a_handler_of_ones_own_sees_each_step_as_ever(programs):
    together, alone = check_trainers([trained(seed, Recorder) for seed in range(2)])
    for (_, (one,)), (_, (other,)) in zip(together, alone, strict=True):
        assert [seen[0] for seen in one.seen] == [seen[0] for seen in other.seen] == [*range(1, 21)]
        assert [value for seen in one.seen for value in seen[1:]] == pytest.approx(
            [value for seen in other.seen for value in seen[1:]], abs=1e-5
        )
    assert set(programs) == {2}


class Changer:
    def __init__(self, seed):
        pass

    def attach(self, trainer):
        trainer.add_event_handler(self.event, self)

    def __call__(self, trainer):
        trainer.state.changed = True


class ChangesBatches(Changer):
    event = Events.ITERATION_STARTED


class ChangesGradients(Changer):
    event = TrainEvents.GRADIENTS_READY


@pytest.mark.parametrize("handler", [ChangesBatches, ChangesGradients])
def test_what_is_python_inside_the_step_trains_one_after_another_and_one_line_says_so(handler, programs, caplog):
    with caplog.at_level(logging.WARNING):
        check_trainers([trained(seed, handler) for seed in range(2)])
    assert programs == []
    (said,) = [record.message for record in caplog.records if "together" in record.message]
    assert said.startswith("runs train one after another, and not together: ")
    assert handler.__name__ in said


# What is not finite.

BAD = X.clone()
BAD[17] = float("nan")


@pytest.mark.parametrize(
    ("optimizer", "layers"),
    [(torch.optim.Adam, []), (torch.optim.SGD, []), (torch.optim.SGD, [lambda: nn.BatchNorm1d(8)])],
)
def test_a_step_that_is_dropped_is_dropped_for_its_run_only(optimizer, layers, programs):
    def guarded(seed):
        return NonFiniteGuard("skip")

    data = [(BAD if seed == 1 else X, Y) for seed in range(3)]
    calls = [trained(seed, guarded, epochs=3, optimizer=optimizer, data=data[seed], layers=layers) for seed in range(3)]
    together, alone = check_trainers_with_nan(calls)
    dropped = [guard.num_skipped for _, (guard,) in together]
    assert dropped == [guard.num_skipped for _, (guard,) in alone] == [0, 3, 0]
    assert set(programs) <= {2, 3}


def check_trainers_with_nan(calls):
    together, alone = results_of(run_together(calls)), [call() for call in calls]
    for (trainer, _), (expected, _) in zip(together, alone, strict=True):
        torch.testing.assert_close(trainer.model.state_dict(), expected.model.state_dict(), rtol=1e-5, atol=1e-5)
        assert trainer.state_dict() == expected.state_dict()
    return together, alone


def test_an_error_names_its_step_and_ends_its_run_only():
    def guarded(seed):
        return NonFiniteGuard()

    calls = [trained(seed, guarded, data=(BAD if seed == 1 else X, Y)) for seed in range(3)]
    runs = run_together(calls)
    assert [run.error is None for run in runs] == [True, False, True]
    with pytest.raises(NonFiniteError) as alone:
        calls[1]()
    assert str(runs[1].error) == str(alone.value)


def test_a_run_that_rolls_back_trains_again_with_the_others(programs):
    def call(seed):
        rate = 1.0 if seed == 1 else 1e-3  # too high, so that the loss overflows in the first epoch

        def run():
            model = network(seed)
            optimizer = torch.optim.SGD(model.parameters(), lr=rate)
            trainer = create_trainer(model, optimizer, lambda m, x, _: {"loss": 50 * m(x).square().mean()}, seed=seed)
            NonFiniteGuard().attach(trainer)
            rollback = Rollback(factor=1e-3).attach(trainer)
            trainer.run(DataLoader(TensorDataset(X), 6, shuffle=True), max_epochs=2)
            return trainer, rollback

        return run

    calls = [call(seed) for seed in range(3)]
    together, alone = results_of(run_together(calls)), [one() for one in calls]
    for (trainer, own), (expected, rollback) in zip(together, alone, strict=True):
        assert own.num_rollbacks == rollback.num_rollbacks
        torch.testing.assert_close(trainer.model.state_dict(), expected.model.state_dict(), rtol=1e-4, atol=1e-5)
    assert [own.num_rollbacks for _, own in together] == [0, 1, 0]


# Cuts.


@pytest.mark.parametrize(
    "cut", [pytest.param(1, marks=pytest.mark.slow), 4, pytest.param(9, marks=pytest.mark.slow), 10, 13]
)
def test_a_run_that_is_cut_and_resumed_has_the_same_bits(cut, tmp_path, programs):
    def saving(seed):
        return SaveInside(cut, lambda trainer: save(trainer, seed))

    def save(trainer, seed):
        folder = tmp_path / str(seed)
        if not (folder / "cut.pt").exists():
            Checkpointing(folder, "cut.pt").save(trainer)

    whole = results_of(run_together([trained(seed, saving, epochs=3) for seed in range(3)]))
    if cut == 10:  # an epoch's end, where nothing is saved inside
        assert not any(tmp_path.iterdir())
        return
    plain = results_of(run_together([trained(seed, epochs=3) for seed in range(3)]))
    resumed = results_of(
        run_together([trained(seed, epochs=3, resume=lambda seed: tmp_path / str(seed) / "cut.pt") for seed in (2, 0)])
    )
    for (trainer, _), (expected, _) in [
        *zip(whole, plain, strict=True),
        *zip(resumed, [whole[2], whole[0]], strict=True),
    ]:
        for name, value in trainer.model.state_dict().items():
            assert torch.equal(value, expected.model.state_dict()[name])
        assert trainer.state.metrics == expected.state.metrics


def test_a_signal_stops_all_after_the_same_block_and_each_saves(tmp_path):
    class Raise:
        def __init__(self, seed):
            self.seed = seed

        def attach(self, trainer):
            trainer.add_event_handler(TrainEvents.EPOCH_TRAINED, self)

        def __call__(self, trainer):
            if self.seed == 0 and trainer.state.epoch == 1:
                signal.raise_signal(signal.SIGTERM)

    def stops(seed):
        return StopOnSignal(lambda trainer: Checkpointing(tmp_path / str(seed), "stopped.pt").save(trainer))

    runs = run_together([trained(seed, stops, Raise) for seed in range(3)])
    assert all(isinstance(run.error, Stopped) for run in runs)
    resumed = results_of(
        run_together([trained(seed, resume=lambda seed: tmp_path / str(seed) / "stopped.pt") for seed in range(3)])
    )
    whole = results_of(run_together([trained(seed) for seed in range(3)]))
    for (trainer, _), (expected, _) in zip(resumed, whole, strict=True):
        for name, value in trainer.model.state_dict().items():
            assert torch.equal(value, expected.model.state_dict()[name])


def test_a_signal_for_which_nobody_listens_ends_all():
    class Raise:
        def __init__(self, seed):
            pass

        def attach(self, trainer):
            trainer.add_event_handler(TrainEvents.EPOCH_TRAINED, lambda: signal.raise_signal(signal.SIGINT))

    with pytest.raises(KeyboardInterrupt):
        run_together([trained(seed, Raise) for seed in range(2)])


@pytest.mark.slow
def test_fewer_runs_at_once_are_the_same_runs(programs):
    all_at_once = results_of(run_together([advanced(seed) for seed in range(5)]))
    two_at_once = results_of(run_together([advanced(seed) for seed in range(5)], at_once=2))
    for (_, one), (_, other) in zip(all_at_once, two_at_once, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)
    assert set(programs) == {2, 5}


def test_the_process_is_left_as_it_was():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    run_together([advanced(seed, deterministic=seed == 1) for seed in range(2)])
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_schedules_of_each_step_take_the_steps_that_the_optimizer_takes(programs):
    def scheduled(seed):
        class Attached:
            def attach(self, trainer):
                self.scheduler = LearningRateScheduler(trainer.optimizer, "onecycle", T_max=30)
                self.scheduler.attach(trainer)

        return Attached()

    def guarded(seed):
        return NonFiniteGuard("skip")

    calls = [trained(seed, guarded, scheduled, epochs=3, data=(BAD if seed else X, Y)) for seed in range(2)]
    together, alone = check_trainers_with_nan(calls)
    for (_, one), (_, other) in zip(together, alone, strict=True):
        assert one[1].scheduler.get_lr() == other[1].scheduler.get_lr()
        assert one[1].scheduler.state_dict()["scheduler"]["last_epoch"] == other[1].scheduler.scheduler.last_epoch
    assert set(programs) == {2}


@pytest.mark.slow
def test_averages_count_the_steps_that_are_taken():
    def average(seed):
        return ExponentialMovingAverage(0.9, warmup=True)

    together, alone = check_trainers([trained(seed, average) for seed in range(2)])
    for (_, (one,)), (_, (other,)) in zip(together, alone, strict=True):
        assert one.num_updates == other.num_updates
        torch.testing.assert_close(one.state_dict(), other.state_dict(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
def test_compiled_runs_are_those_that_they_are_alone():
    layers = [nn.ReLU, lambda: nn.BatchNorm1d(8), nn.Dropout]  # a bias before batch norm would have no gradient
    check_as_alone([advanced(seed, *layers, use_augmentation=True) for seed in range(3)], 1e-3)


def in_float64(seed):
    def call():
        model = network(seed).double()
        data = X.double(), Y
        results = train_model_advanced(
            model, data, data, epochs=8, batch_size=7, seed=seed, device="cpu", verbose=False, early_stop_patience=None
        )
        del results["training_time"]
        return results, model.state_dict()

    return call


def test_what_differs_from_a_run_that_is_alone_is_rounding_since_nothing_does_in_float64():
    check_as_alone([in_float64(seed) for seed in range(3)], 1e-13)


@pytest.mark.slow
def test_compiled_runs_differ_by_rounding_too():
    check_as_alone([in_float64(seed) for seed in range(3)], 1e-13)


@pytest.mark.slow
def test_compiled_runs_do_not_depend_on_the_others():
    two, five = (results_of(run_together([advanced(seed) for seed in range(count)])) for count in (2, 5))
    for (_, one), (_, other) in zip(two, five[:2], strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("max_iters", [1, 9, 11, 15])
def test_a_run_of_so_many_steps_takes_so_many(max_iters, programs):
    def call(seed):
        def run():
            model = network(seed)
            loss = nn.CrossEntropyLoss()
            optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
            trainer = create_trainer(model, optimizer, lambda m, x, batch: {"loss": loss(m(x), batch[1])}, seed=seed)
            trainer.run(DataLoader(TensorDataset(X, Y), 6, shuffle=True), max_iters=max_iters)
            return trainer

        return run

    calls = [call(seed) for seed in range(2)]
    for trainer, expected in zip(results_of(run_together(calls)), [one() for one in calls], strict=True):
        assert trainer.state.iteration == expected.state.iteration == max_iters
        torch.testing.assert_close(trainer.model.state_dict(), expected.model.state_dict(), rtol=1e-5, atol=1e-5)


def test_samples_that_are_counted_by_a_function_of_ones_own_are_counted_in_each_step(programs):
    def call(seed):
        def run():
            model = network(seed)
            trainer = create_trainer(
                model,
                torch.optim.SGD(model.parameters(), lr=1e-2),
                lambda m, x, batch: {"loss": m(x).square().mean()},
                batch_size=lambda batch: int(batch[1].sum()) + 1,
                seed=seed,
            )
            EpochAverages("train_").attach(trainer)
            return trainer.run(DataLoader(TensorDataset(X, Y), 6, shuffle=True), max_epochs=2).metrics

        return run

    calls = [call(seed) for seed in range(2)]
    assert results_of(run_together(calls)) == [one() for one in calls]
    assert programs == []


def test_where_no_program_can_be_made_one_line_says_so_and_the_next_runs_try_again(programs, monkeypatch, caplog):
    calls = [trained(seed) for seed in range(2)]

    def fail(graph, arguments, **_):
        raise CompileError("there is no C++ compiler that is called 'g++': install it, or name yours in CXX")

    monkeypatch.setattr(company, "_known", {})
    with monkeypatch.context() as without:
        without.setattr(stacked, "compile_for_host", fail)
        with caplog.at_level(logging.WARNING):
            check_trainers(calls)
    assert programs == []
    assert len([record for record in caplog.records if "install it, or name yours in CXX" in record.message]) == 1
    check_trainers(calls)
    assert set(programs) == {2}

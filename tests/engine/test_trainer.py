"""The step computes what a hand-written loop computes, in the order of the drawing, and can always continue."""

import contextlib
import copy
import gc
import threading
import weakref

import pytest
import torch
from ignite.engine import Engine, Events
from support.equality import equal, weights
from support.models import perceptron
from torch import nn
from torch.utils.data import DataLoader

from ignite_recipes import (
    BestCheckpoint,
    Checkpointing,
    EpochAverages,
    History,
    MixedPrecisionTrainer,
    TrainEvents,
    Validation,
    create_evaluator,
    create_trainer,
    read_checkpoint,
)
from ignite_recipes.engine.events import fire

X = torch.randn(23, 3, generator=torch.Generator().manual_seed(0))
Y = X @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3


def net(seed=0):
    return perceptron(3, 8, seed=seed, dropout=0.2)


def squared_error(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def loader(batch_size=4, shuffle=False):
    return DataLoader(torch.utils.data.TensorDataset(X, Y), batch_size, shuffle=shuffle)


def trainer_of(model=None, lr=0.05, **settings):
    model = model or net()
    settings = {"seed": 1, **settings}
    return create_trainer(model, torch.optim.SGD(model.parameters(), lr), squared_error, **settings)


def linear():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


def test_the_step_equals_the_plain_loop():
    ours, plain = linear(), linear()
    trainer_of(ours).run(loader(), max_epochs=3)
    optimizer = torch.optim.SGD(plain.parameters(), 0.05)
    for _ in range(3):
        for x, y in loader():
            optimizer.zero_grad()
            (plain(x) - y).square().mean().backward()
            optimizer.step()
    assert equal(weights(ours), weights(plain))


@pytest.mark.parametrize("batch_size", [4, 5, 23])
@pytest.mark.parametrize("steps", [2, 3, 100])
def test_accumulation_is_the_gradient_of_the_mean_over_the_windows_samples(batch_size, steps):
    # 23 rows: the last batch is short, and so is the last window of most epochs.
    ours, plain = linear(), linear()
    trainer = trainer_of(ours, accumulation_steps=steps)
    trainer.run(loader(batch_size), max_epochs=2)
    optimizer = torch.optim.SGD(plain.parameters(), 0.05)
    window = batch_size * steps
    for _ in range(2):
        for start in range(0, 23, window):
            optimizer.zero_grad()
            (plain(X[start : start + window]) - Y[start : start + window]).square().mean().backward()
            optimizer.step()
    for a, b in zip(weights(ours), weights(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert trainer.progress.optimizer_steps == 2 * -(-23 // window)


def test_accumulation_over_a_loader_without_a_length_flushes_the_last_window():
    class Endless:
        def __iter__(self):
            return iter(list(loader(4)))

    sized, unsized = linear(), linear()
    trainer_of(sized, accumulation_steps=4).run(list(loader(4)), max_epochs=2)
    trainer_of(unsized, accumulation_steps=4).run(Endless(), max_epochs=2)
    assert equal(weights(sized), weights(unsized))


def test_unusual_batches_are_counted_by_the_keyword():
    class Bag:
        def __init__(self, x, y):
            self.x, self.y = x, y

    model = linear()
    trainer = create_trainer(
        model,
        torch.optim.SGD(model.parameters(), 0.05),
        lambda model, inputs, bag: {"loss": (model(bag.x) - bag.y).square().mean()},
        accumulation_steps=2,
        batch_size=lambda bag: len(bag.x),
    )
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(trainer.state.num_samples))
    trainer.run([Bag(X[:4], Y[:4]), Bag(X[4:5], Y[4:5])])
    assert seen == [4, 1]
    expected = linear()
    (expected(X[:5]) - Y[:5]).square().mean().backward()
    torch.testing.assert_close(model.weight, linear().weight - 0.05 * expected.weight.grad)


def test_events_fire_in_the_order_of_the_drawing():
    trainer = trainer_of(accumulation_steps=2)
    fired: list[str] = []
    for event in (*TrainEvents, Events.ITERATION_STARTED, Events.ITERATION_COMPLETED, Events.EPOCH_COMPLETED):
        trainer.add_event_handler(event, lambda engine, name: fired.append(name), event.name)
    trainer.run(loader(6))
    batch = ["ITERATION_STARTED", "INPUTS_READY", "LOSSES_READY", "BACKWARD_COMPLETED"]
    update = ["GRADIENTS_READY", "OPTIMIZER_STEP_STARTED", "OPTIMIZER_STEP_COMPLETED"]
    epoch = ["EPOCH_TRAINED", "EPOCH_COMPLETED", "METRICS_READY", "EPOCH_DECIDED", "CHECKPOINT_READY", "RESUME_POINT"]
    first, second = [*batch, "ITERATION_COMPLETED"], [*batch, *update, "ITERATION_COMPLETED"]
    place = ["DECISION_POINT", "RESUME_POINT"]
    assert fired == [*first, *second, *place, *first, *second, *epoch, "RUN_TRAINED"]


def test_guarded_firing_reaches_the_same_handlers_as_fire_event():
    trainer = trainer_of()
    seen = []
    fire(trainer, TrainEvents.GRADIENTS_READY)
    handle = trainer.add_event_handler(TrainEvents.GRADIENTS_READY, lambda engine, word: seen.append(word), "a")
    fire(trainer, TrainEvents.GRADIENTS_READY)
    trainer.fire_event(TrainEvents.GRADIENTS_READY)
    handle.remove()
    fire(trainer, TrainEvents.GRADIENTS_READY)
    assert seen == ["a", "a"]


def test_an_epoch_is_closed_after_handlers_that_were_attached_later():
    trainer = trainer_of()
    order = []
    trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: order.append("decide"))
    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, lambda: order.append("save"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: order.append("measure"))
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=1), lambda: order.append("measure too"))
    trainer.run(loader())
    assert order == ["measure", "measure too", "decide", "save"]


def test_the_output_is_detached_and_the_graph_is_freed():
    trainer = trainer_of()
    trainer.run(loader())
    assert not trainer.state.output["loss"].requires_grad
    assert trainer.state.losses is None
    assert trainer.state.inputs is None


def test_a_vetoed_step_changes_nothing_and_is_counted():
    trainer = trainer_of()
    before = weights(trainer.model)

    @trainer.on(TrainEvents.OPTIMIZER_STEP_STARTED)
    def veto():
        trainer.updates.first.veto = True

    trainer.run(loader())
    assert equal(before, weights(trainer.model))
    assert (trainer.progress.optimizer_steps, trainer.progress.skipped_steps) == (0, 6)


def test_same_seed_same_weights_and_another_seed_others():
    def run(seed):
        trainer = trainer_of(seed=seed)
        trainer.run(loader(shuffle=True), max_epochs=2)
        return weights(trainer.model)

    assert equal(run(1), run(1))
    assert not equal(run(1), run(2))


def test_without_a_seed_it_is_drawn_from_the_global_generator_once():
    def run():
        torch.manual_seed(5)
        trainer = trainer_of(linear(), seed=None)
        after = torch.rand(())
        return trainer.state.seed, after

    assert run() == run()


def test_a_run_leaves_the_global_generators_as_it_found_them():
    trainer = trainer_of()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    trainer.run(loader(shuffle=True), max_epochs=2)
    assert torch.equal(torch.rand(3), expected)


def test_looking_does_not_change_the_training():
    def run(*extras):
        trainer = trainer_of()
        for extra in extras:
            extra(trainer)
        trainer.run(loader(shuffle=True), max_epochs=3)
        return weights(trainer.model)

    def validate(trainer):
        evaluator = create_evaluator(trainer.model, squared_error)
        EpochAverages().attach(evaluator)
        Validation(evaluator, loader(shuffle=True)).attach(trainer)

    def draw(trainer):
        for event in (Events.ITERATION_COMPLETED, Events.EPOCH_STARTED, *TrainEvents):
            trainer.add_event_handler(event, lambda: torch.rand(7))

    assert equal(run(), run(validate))
    assert equal(run(), run(draw))


@pytest.mark.parametrize("k", range(1, 12))
def test_stopped_after_any_step_and_run_again_it_ends_the_same(k):
    def new():
        trainer = trainer_of()
        EpochAverages("train_").attach(trainer)
        metrics = []
        trainer.add_event_handler(
            TrainEvents.METRICS_READY, lambda: metrics.append(trainer.state.metrics["train_loss"])
        )
        return trainer, metrics

    whole, expected = new()
    whole.run(loader(8, shuffle=True), max_epochs=4)
    stopped, metrics = new()
    stopped.add_event_handler(Events.ITERATION_COMPLETED(once=k), lambda: stopped.terminate())
    stopped.run(loader(8, shuffle=True), max_epochs=4)
    assert stopped.state.iteration == k
    stopped.run(loader(8, shuffle=True), max_epochs=4)
    assert equal(weights(whole.model), weights(stopped.model))
    assert metrics == expected


@pytest.mark.parametrize("event", [Events.ITERATION_STARTED, TrainEvents.GRADIENTS_READY, TrainEvents.INPUTS_READY])
@pytest.mark.parametrize("steps", [1, 2])
def test_after_an_exception_the_run_continues_with_the_step_that_failed(event, steps):
    whole, broken = trainer_of(accumulation_steps=steps), trainer_of(accumulation_steps=steps)
    whole.run(loader(4, shuffle=True), max_epochs=2)
    failures = [KeyboardInterrupt(), ValueError("once")]

    @broken.on(event)
    def fail():
        if broken.state.iteration == 8 and failures:
            raise failures.pop()

    for kind in (ValueError, KeyboardInterrupt):
        with pytest.raises(kind):
            broken.run(loader(4, shuffle=True), max_epochs=2)
    broken.run(loader(4, shuffle=True), max_epochs=2)
    assert equal(weights(whole.model), weights(broken.model))


def stopped_and_run_again(stop, steps=1, epochs=3, **arguments):
    """Weights, metrics and counts of a run that is stopped by ``stop(trainer)`` and run again."""
    trainer, metrics = trainer_of(accumulation_steps=steps), []
    EpochAverages("train_").attach(trainer)
    trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: metrics.append(trainer.state.metrics["train_loss"]))
    arguments = arguments or {"max_epochs": epochs}
    if stop is not None:
        stop(trainer)
        with contextlib.suppress(InterruptedError):
            trainer.run(loader(shuffle=True), **arguments)
    trainer.run(loader(shuffle=True), **arguments)
    return weights(trainer.model), metrics, trainer.state.iteration, trainer.progress.optimizer_steps


def terminate_at(k):
    times = [1]

    def terminate(trainer):
        if trainer.state.iteration == k and times:
            times.pop()
            trainer.terminate()

    return lambda trainer: trainer.add_event_handler(Events.ITERATION_COMPLETED, terminate)


def fail_at(k):
    failures = [InterruptedError()]

    def fail(trainer):
        if trainer.state.iteration == k and failures:
            raise failures.pop()

    return lambda trainer: trainer.add_event_handler(TrainEvents.LOSSES_READY, fail)


@pytest.mark.parametrize("steps", [2, 3, 4])
@pytest.mark.parametrize("k", range(1, 13))
@pytest.mark.parametrize("stop", [terminate_at, fail_at])
def test_stopped_inside_an_accumulation_window_it_begins_the_window_again(stop, k, steps):
    whole, again = stopped_and_run_again(None, steps), stopped_and_run_again(stop(k), steps)
    assert equal(whole[0], again[0])
    assert whole[1:] == again[1:]


def test_a_limit_in_iterations_can_be_moved_on():
    whole, parts = trainer_of(), trainer_of()
    whole.run(loader(shuffle=True), max_iters=14)
    parts.run(loader(shuffle=True), max_iters=7)
    parts.run(loader(shuffle=True), max_iters=14)
    assert parts.state.iteration == 14
    assert equal(weights(whole.model), weights(parts.model))


def test_an_epoch_ended_by_terminate_epoch_does_not_shorten_the_next():
    trainer, lengths = trainer_of(accumulation_steps=2), []
    trainer.add_event_handler(Events.ITERATION_COMPLETED(once=3), lambda: trainer.terminate_epoch())
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: lengths.append(trainer.progress.position))
    trainer.run(loader(), max_epochs=3)
    assert lengths == [3, 6, 6]
    assert trainer.progress.optimizer_steps == 2 + 3 + 3


def test_an_exception_in_the_first_epoch_of_a_loader_without_a_length_loses_nothing():
    class Unsized:
        def __iter__(self):
            return iter(loader())

    whole, broken = trainer_of(), trainer_of()
    whole.run(Unsized(), max_epochs=2)
    fail_at(4)(broken)
    with pytest.raises(InterruptedError):
        broken.run(Unsized(), max_epochs=2)
    broken.run(Unsized(), max_epochs=2)
    assert broken.state.iteration == 12
    assert equal(weights(whole.model), weights(broken.model))


def test_a_save_that_failed_is_made_when_the_run_continues(tmp_path):
    trainer, failures, saved = trainer_of(), [OSError("disk full")], []

    @trainer.on(TrainEvents.CHECKPOINT_READY)
    def save():
        if trainer.state.epoch == 2 and failures:
            raise failures.pop()
        saved.append(trainer.state.epoch)

    with pytest.raises(OSError, match="disk full"):
        trainer.run(loader(), max_epochs=2)
    trainer.run(loader(), max_epochs=2)
    assert saved == [1, 2]


@pytest.mark.parametrize("is_first", [True, False])
def test_a_file_holds_what_every_other_saver_of_its_epoch_has_decided_whenever_it_was_attached(tmp_path, is_first):
    trainer = trainer_of()
    latest, others = (
        Checkpointing(tmp_path, "latest.pt"),
        [
            BestCheckpoint(tmp_path / "best.pt", lambda trainer: -trainer.state.epoch),
            Checkpointing(tmp_path, "kept_{epoch}.pt", keep=2),
        ],
    )
    for handler in [latest, *others] if is_first else [*others, latest]:
        handler.attach(trainer)
    trainer.run(loader(), max_epochs=3)
    parts = read_checkpoint(tmp_path / "latest.pt")["run"]["parts"]
    assert parts["best_checkpoint"] == {"best": -3.0, "best_epoch": 3, "best_iteration": trainer.state.iteration}
    assert {"written": [2, 3]} in parts.values()


def test_a_decision_is_taken_once_in_an_epoch_also_when_another_one_fails():
    trainer, failures, history = trainer_of(), [OSError("disk full")], History(["train_loss"])
    EpochAverages("train_").attach(trainer)
    history.attach(trainer)

    @trainer.on(TrainEvents.METRICS_READY)
    def fail():
        if trainer.state.epoch == 2 and failures:
            raise failures.pop()

    with pytest.raises(OSError, match="disk full"):
        trainer.run(loader(), max_epochs=3)
    trainer.run(loader(), max_epochs=3)
    assert len(history.epochs["train_loss"]) == 3


def test_an_epoch_whose_end_failed_is_ended_again():
    trainer, metrics, failures = trainer_of(), [], [OSError("disk full")]
    EpochAverages("train_").attach(trainer)

    @trainer.on(Events.EPOCH_COMPLETED)
    def fail():
        if trainer.state.epoch == 2 and failures:
            raise failures.pop()

    trainer.add_event_handler(TrainEvents.METRICS_READY, lambda: metrics.append(trainer.state.metrics["train_loss"]))
    with pytest.raises(OSError, match="disk full"):
        trainer.run(loader(), max_epochs=3)
    trainer.run(loader(), max_epochs=3)
    assert len(metrics) == 3
    assert trainer.state.iteration == 18


def test_an_exception_reaches_the_caller_and_its_handlers_once():
    trainer = trainer_of()
    seen = []
    trainer.add_event_handler(Events.EXCEPTION_RAISED, lambda engine, error: seen.append(error))
    trainer.step.loss_fn = lambda model, inputs, batch: 1 / 0
    with pytest.raises(ZeroDivisionError):
        trainer.run(loader())
    assert len(seen) == 1


def test_a_finished_run_goes_straight_to_completed():
    trainer = trainer_of()
    trainer.run(loader(), max_epochs=2)
    before, events = weights(trainer.model), []
    trainer.add_event_handler(Events.COMPLETED, lambda: events.append("completed"))
    trainer.add_event_handler(Events.STARTED, lambda: events.append("started"))
    trainer.run(loader(), max_epochs=2)
    assert equal(before, weights(trainer.model))
    assert events == ["completed"]
    trainer.run(loader(), max_epochs=3)
    assert trainer.progress.optimizer_steps == 18


def test_a_resume_with_another_number_of_batches_is_refused():
    trainer = trainer_of()
    trainer.run(loader(4), max_epochs=2)
    with pytest.raises(ValueError, match="must have the 6 batches an epoch"):
        trainer.run(loader(5), max_epochs=3)


def test_epochs_shorter_than_the_loader_continue_its_pass_as_in_ignite():
    seen = []
    trainer = trainer_of()
    trainer.add_event_handler(TrainEvents.INPUTS_READY, lambda: seen.append(trainer.state.inputs[0, 0].item()))
    trainer.run(loader(4), max_epochs=2, epoch_length=2)
    assert seen == [X[4 * k, 0].item() for k in range(4)]


def test_modules_keep_their_modes_through_validation():
    model = nn.Sequential(nn.Linear(3, 1), nn.BatchNorm1d(1))
    model.train()
    model[1].eval()  # frozen on purpose
    evaluator = create_evaluator(model, squared_error)
    evaluator.run(loader())
    assert [m.training for m in model.modules()] == [True, True, False]


def test_a_model_that_arrives_in_evaluation_mode_is_trained_in_training_mode():
    model = net().eval()
    trainer_of(model).run(loader())
    assert model.training


def test_an_evaluator_draws_the_same_every_time_and_changes_nothing():
    model = net()
    evaluator = create_evaluator(model, lambda model, x, batch: {"loss": model(x).mean() + torch.randn(())}, seed=3)
    EpochAverages().attach(evaluator)
    before = weights(model)
    first = evaluator.run(loader(shuffle=True)).metrics["loss"]
    torch.rand(3)
    assert evaluator.run(loader(shuffle=True)).metrics["loss"] == first
    assert equal(before, weights(model))
    assert all(p.grad is None for p in model.parameters())


def test_an_evaluator_can_run_again_after_an_error():
    evaluator = create_evaluator(net(), squared_error)
    EpochAverages().attach(evaluator)
    with pytest.raises(RuntimeError):
        evaluator.run([(torch.ones(2, 5), Y[:2])])
    assert evaluator.run(loader()).metrics["loss"] > 0


@pytest.mark.parametrize(
    ("losses", "got"),
    [
        ({"loss": torch.ones(2)}, r"shape \(2,\)"),
        ({"cost": torch.ones(())}, "dict"),
        (torch.ones(()), "Tensor"),
        ({"loss": 1.0}, "dict"),
    ],
    ids=["vector", "no loss", "no dict", "a float"],
)
def test_a_loss_function_that_gives_no_single_loss_is_refused(losses, got):
    trainer = trainer_of()
    trainer.step.loss_fn = lambda model, inputs, batch: losses
    with pytest.raises(TypeError, match=got):
        trainer.run(loader())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"accumulation_steps": 0}, "a whole number of batches, at least 1; got 0"),
        ({"accumulation_steps": 2.5}, "a whole number of batches, at least 1; got 2.5"),
        ({"seed": "abc"}, "seed must be a whole number"),
        ({"device": "nowhere"}, "device must be"),
        ({"model": nn.Sequential(nn.ReLU(), nn.Linear(3, 1).requires_grad_(False))}, "a parameter to train"),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(settings, message):
    model = settings.pop("model", None) or linear()
    with pytest.raises(ValueError, match=message):
        create_trainer(model, torch.optim.SGD(model.parameters(), 0.1), squared_error, **settings)


def test_an_empty_loader_is_refused_and_what_is_no_loader():
    with pytest.raises(ValueError, match="at least one batch"):
        trainer_of().run([])
    with pytest.raises(TypeError, match="iterable of batches; got int"):
        trainer_of().run(3)


def test_no_step_reads_a_number_from_the_device():
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            self.count += "_local_scalar_dense" in str(function)
            return function(*args, **(kwargs or {}))

    trainer = trainer_of(accumulation_steps=2)
    EpochAverages("train_").attach(trainer)
    with Reads() as reads:
        trainer.add_event_handler(Events.EPOCH_STARTED, lambda: setattr(reads, "count", 0))
        trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(reads.count))
        seen = []
        trainer.run(list(loader()), max_epochs=2)
    assert seen == [0] * 12


def test_a_compiled_model_is_unwrapped():
    from ignite_recipes.engine.weights import unwrap

    model = linear()
    assert unwrap(torch.compile(model)) is model
    assert unwrap(model) is model


def test_a_model_is_left_as_it_was_when_its_copy_is_trained():
    model = linear()
    twin = copy.deepcopy(model)
    trainer_of(twin).run(loader())
    assert equal(weights(model), weights(linear()))


def test_the_engine_is_an_ignite_engine():
    assert isinstance(trainer_of(), Engine)


def test_an_engine_is_freed_with_its_last_reference():
    # In a reference cycle it would keep its loaders, and their workers, until the garbage collector comes.
    trainer = trainer_of()
    evaluator = create_evaluator(trainer.model, squared_error)
    EpochAverages().attach(evaluator)
    Validation(evaluator, loader()).attach(trainer)
    trainer.run(loader(), max_epochs=2)
    died = [weakref.ref(trainer), weakref.ref(evaluator)]
    gc.disable()
    try:
        del trainer, evaluator
        assert [reference() for reference in died] == [None, None]
    finally:
        gc.enable()


def test_a_run_leaves_no_gradients_behind_whose_memory_the_kept_weights_can_take():
    trainer = trainer_of()
    at_end = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: at_end.append(len(trainer.updates.first.gradients())))
    trainer.run(loader(), max_epochs=2)
    assert min(at_end) > 0
    assert trainer.updates.first.gradients() == []


@pytest.mark.parametrize("event", [TrainEvents.INPUTS_READY, TrainEvents.LOSSES_READY])
def test_every_step_draws_numbers_of_its_own_for_its_inputs_and_for_dropout(event):
    trainer, drawn = trainer_of(), []
    trainer.add_event_handler(event, lambda: drawn.append(torch.rand(()).item()))
    trainer.run(loader(), max_epochs=2)
    assert len(drawn) == len(set(drawn)) == 12


def test_a_batch_that_was_started_and_not_trained_is_trained_by_the_next_run():
    whole, stopped = trainer_of(), trainer_of()
    whole.run(loader(), max_epochs=2)
    handle = stopped.add_event_handler(Events.ITERATION_STARTED(once=3), stopped.terminate)
    stopped.run(loader(), max_epochs=2)
    handle.remove()
    assert stopped.progress.iteration == 2
    stopped.run(loader(), max_epochs=2)
    assert equal(weights(stopped.model), weights(whole.model))


def test_a_function_that_is_attached_twice_decides_twice():
    model = net()
    trainer = create_trainer(model, torch.optim.SGD(model.parameters(), lr=0.1), squared_error)
    calls = []
    decide = calls.append
    for number in (1, 2):
        trainer.add_event_handler(TrainEvents.METRICS_READY, decide, number)
    trainer.run([(X, Y)], max_epochs=2)
    assert len(calls) == 4


def test_a_second_training_in_another_thread_is_refused_and_the_first_is_not_disturbed():
    models, errors = [], []
    for with_another in (False, True):
        trainer, other = trainer_of(), trainer_of()

        def train_another(other=other):
            try:
                other.run(loader(), max_epochs=1)
            except RuntimeError as error:
                errors.append(str(error))

        if with_another:

            @trainer.on(Events.ITERATION_COMPLETED(once=2))
            def start():
                thread = threading.Thread(target=train_another)
                thread.start()
                thread.join()

        trainer.run(loader(), max_epochs=2)
        models.append(weights(trainer.model))
        other.run(loader(), max_epochs=1)  # one after the other
    assert equal(*models)
    assert len(errors) == 1
    assert "one run at a time must use the random generators of a process" in errors[0]


# Whoever calls.


def trained_weights(precision=None):
    torch.manual_seed(0)
    model = nn.Linear(4, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    trainer = create_trainer(
        model, optimizer, lambda model, x, batch: {"loss": (model(x).float() - 1).square().mean()}, seed=0
    )
    if precision is not None:
        MixedPrecisionTrainer(device="cpu", dtype=precision).attach(trainer)
    data = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
    trainer.run(data.split(8), max_epochs=3)
    return model.weight.detach().clone()


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize(
    "outside",
    [
        lambda: torch.autocast("cpu", torch.bfloat16),
        lambda: torch.autocast("cpu", torch.float16),
        torch.no_grad,
        lambda: torch.set_grad_enabled(False),
    ],
    ids=["bfloat16", "float16", "no_grad", "set_grad_enabled"],
)
def test_a_training_has_the_same_bits_whatever_its_caller_has_switched_on(precision, outside):
    expected = trained_weights(precision)
    with outside():
        modes = torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()
        found = trained_weights(precision)
        assert (torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()) == modes
    assert torch.equal(found, expected)


def test_an_evaluator_computes_in_float32_whatever_its_caller_has_switched_on():
    seen = []

    def loss_fn(model, x, batch):
        seen.append(model(x).dtype)
        return {"loss": x.mean()}

    with torch.autocast("cpu", torch.bfloat16):
        create_evaluator(nn.Linear(2, 1), loss_fn).run([torch.ones(3, 2)])
    assert seen == [torch.float32]

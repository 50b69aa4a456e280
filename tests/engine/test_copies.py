"""A trainer and its handlers can be copied, and the copy continues as the original does; or a line says why not."""

import copy
import functools
import pickle
import weakref
from types import SimpleNamespace

import pytest
import torch
from ignite.engine import Events
from support.copied import BATCHES, WAYS, CopyAt, loss_fn, network, weights_after, weights_after_there, whole_trainer
from support.handlers_table import HANDLERS
from support.timm_like import TimmLike
from torch.optim import lr_scheduler as torchs

from ignite_recipes import (
    EarlyStopping,
    LearningRateScheduler,
    TrainingStability,
    create_evaluator,
    create_trainer,
)

every_handler = pytest.mark.parametrize("name", HANDLERS)
every_way = pytest.mark.parametrize("way", WAYS)


def parts(folder):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01, fused=True)
    task = SimpleNamespace(loss_fn=loss_fn, batches=BATCHES)
    return SimpleNamespace(model=model, optimizer=optimizer, folder=folder, task=task)


@every_way
@every_handler
def test_a_handler_alone_is_copied_and_the_copy_can_be_attached(tmp_path, name, way):
    t = parts(tmp_path)
    handler = WAYS[way](HANDLERS[name].build(t))
    assert repr(handler) == repr(HANDLERS[name].build(t))
    if name != "LearningRateScheduler":  # which belongs to an optimizer, and is copied with it
        weights_after(whole_trainer(t.model, t.optimizer, handler), 1)


@every_way
@every_handler
def test_a_copy_of_a_trainer_between_and_inside_its_epochs_continues_as_the_original(tmp_path, name, way):
    t = parts(tmp_path)
    trainer = whole_trainer(t.model, t.optimizer, HANDLERS[name].build(t))
    inside = CopyAt(6, way)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, inside)
    weights_after(trainer, 2)
    between = WAYS[way](trainer)
    expected = weights_after(trainer, 4)
    assert weights_after(between, 4) == expected
    assert weights_after(inside.copy, 4) == expected
    assert inside.copy.state.iteration == 16


def warmed_up(optimizer):
    parts = [torchs.LinearLR(optimizer, 0.1, total_iters=4), torchs.CosineAnnealingLR(optimizer, 20)]
    return torchs.SequentialLR(optimizer, parts, [4])


@every_way
@pytest.mark.parametrize(
    ("make", "per"),
    [(warmed_up, "step"), (lambda o: TimmLike(o, 20, 4, t_in_epochs=False), None)],
    ids=["torch", "timm"],
)
def test_a_copy_with_a_schedule_per_step_continues_as_the_original(tmp_path, make, per, way):
    t = parts(tmp_path)
    schedule = LearningRateScheduler(t.optimizer, make(t.optimizer), per=per)
    trainer = whole_trainer(t.model, t.optimizer, schedule)
    weights_after(trainer, 2)
    copied = WAYS[way](trainer)
    assert weights_after(copied, 4) == weights_after(trainer, 4)
    assert copied.optimizer.param_groups[0]["lr"] == trainer.optimizer.param_groups[0]["lr"] != 0.01


@every_way
def test_a_part_of_a_copy_is_attached_to_it(way, tmp_path):
    t = parts(tmp_path)
    trainer = WAYS[way](whole_trainer(t.model, t.optimizer))
    with pytest.raises(RuntimeError, match="attached to an engine already"):
        trainer.parts["history"].attach(trainer)


@every_way
def test_a_copied_engine_ends_with_its_last_reference(way, tmp_path):
    """A cycle would keep its loader's workers until the garbage collector comes."""
    t = parts(tmp_path)
    trainer = WAYS[way](whole_trainer(t.model, t.optimizer, HANDLERS["Rollback"].build(t)))
    weights_after(trainer, 1)
    gone = weakref.ref(trainer)
    del trainer
    assert gone() is None


def test_a_compiled_step_is_copied_with_its_own_loss(monkeypatch, tmp_path):
    made = []
    monkeypatch.setattr(
        "ignite_recipes.engine.updates.compiled", lambda fn, mode, device: made.append((fn, mode)) or fn
    )
    t = parts(tmp_path)
    trainer = create_trainer(t.model, t.optimizer, loss_fn, seed=0, compile=True)
    copied = pickle.loads(pickle.dumps(trainer))
    assert made == [(loss_fn, True)] * 2
    assert copied.updates.first.losses is loss_fn


def local_function():
    def loss(model, inputs, batch):
        return loss_fn(model, inputs, batch)

    return loss


def with_handler(trainer, event, handler):
    trainer.add_event_handler(event, handler)
    return trainer


REFUSED = {
    "a lambda as loss": (lambda t: create_trainer(t.model, t.optimizer, lambda *a: loss_fn(*a)), "its loss_fn"),
    "a local loss": (lambda t: create_trainer(t.model, t.optimizer, local_function()), "its loss_fn"),
    "a partial of a local loss": (
        lambda t: create_trainer(t.model, t.optimizer, functools.partial(local_function())),
        "its loss_fn",
    ),
    "inputs": (lambda t: create_trainer(t.model, t.optimizer, loss_fn, get_inputs=lambda b: b), "its get_inputs"),
    "batch size": (lambda t: create_trainer(t.model, t.optimizer, loss_fn, batch_size=lambda b: 4), "its batch_size"),
    "preparing a batch": (
        lambda t: create_trainer(
            t.model, t.optimizer, loss_fn, prepare_batch=lambda batch, device, non_blocking: batch
        ),
        "its prepare_batch",
    ),
    "an evaluator's loss": (lambda t: create_evaluator(t.model, local_function()), "its loss_fn"),
    "a handler": (
        lambda t: with_handler(whole_trainer(t.model, t.optimizer), Events.EPOCH_STARTED, lambda: None),
        "a handler of EPOCH_STARTED does not",
    ),
    "a filter": (
        lambda t: with_handler(whole_trainer(t.model, t.optimizer), Events.EPOCH_STARTED(every=2), print),
        "while a handler has a filter; print of EPOCH_STARTED has one",
    ),
    "a metric": (
        lambda t: whole_trainer(
            t.model, t.optimizer, SimpleNamespace(attach=lambda e: EarlyStopping().attach(e, lambda e: 1.0))
        ),
        "the metric that it watches does not",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_pickled_is_named_with_what_to_do(tmp_path, case):
    make, named = REFUSED[case]
    engine = make(parts(tmp_path))
    for way in ("pickle", "torch.save"):
        with pytest.raises(TypeError, match=named) as told:
            WAYS[way](engine)
        assert str(told.value).endswith("save the run with run_state and write_checkpoint")
        assert "\n" not in str(told.value)
    copy.deepcopy(engine)


def test_a_step_that_several_ranks_share_is_refused(tmp_path):
    t = parts(tmp_path)
    trainer = create_trainer(t.model, t.optimizer, loss_fn)
    trainer.step.exchange.world_size = 2
    for way in WAYS.values():
        with pytest.raises(TypeError, match=r"is shared by 2 ranks: save the run with run_state"):
            way(trainer)


def test_a_filter_counts_the_epochs_of_the_copy(tmp_path):
    t = parts(tmp_path)
    trainer = whole_trainer(t.model, t.optimizer)
    seen = []
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda engine: seen.append((engine, engine.state.epoch)))
    weights_after(trainer, 1)
    other = copy.deepcopy(trainer)
    weights_after(other, 5)
    assert seen == [(other, 2), (other, 4)]


def test_checks_of_every_few_epochs_stay_so(tmp_path):
    t = parts(tmp_path)
    epochs = []

    class Noted(TrainingStability):
        def __call__(self, trainer):
            epochs.append(trainer.state.epoch)

    weights_after(whole_trainer(t.model, t.optimizer, Noted(every=2)), 5)
    assert epochs == [2, 4]


@pytest.mark.slow
def test_a_trainer_continues_in_a_process_that_was_spawned(tmp_path):
    t = parts(tmp_path)
    trainer = whole_trainer(t.model, t.optimizer, HANDLERS["ExponentialMovingAverage"].build(t))
    weights_after(trainer, 1)
    with torch.multiprocessing.get_context("spawn").Pool(1) as pool:  # as bytes: torch would share the weights' memory
        there = pool.apply(weights_after_there, (pickle.dumps(trainer), 3))
    assert there == weights_after(trainer, 3)

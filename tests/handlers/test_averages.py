"""The mean over samples, exact in float64, read once an epoch, whole again after a resume anywhere in it."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ignite.engine import Engine, Events

from ignite_recipes import EpochAverages, create_evaluator

NAN = math.nan
# Batches of a scripted engine are lists of equal numbers: the loss is the number, the samples are the list's length.
batches_drawn = st.lists(st.tuples(st.floats(-100, 100, width=32), st.integers(1, 9)), min_size=1, max_size=20)
law = settings(deadline=None, max_examples=60)


def averaged(batches, **kwargs):
    """state.metrics after an epoch over (loss, samples) pairs on an Engine of one's own."""
    engine = Engine(lambda engine, batch: {"loss": batch[0], "twice": 2 * batch[0]})
    EpochAverages(**kwargs).attach(engine)
    return engine.run([torch.full((samples,), loss) for loss, samples in batches]).metrics


def mean(batches):
    return math.fsum(loss * samples for loss, samples in batches) / sum(samples for _, samples in batches)


@law
@given(batches=batches_drawn)
def test_every_loss_is_averaged_over_samples_and_not_over_batches(batches):
    expected = mean(batches)
    assert averaged(batches, prefix="train_") == pytest.approx(
        {"train_loss": expected, "train_twice": 2 * expected}, rel=1e-12, abs=1e-12
    )


@pytest.mark.parametrize("count", [255, 256, 257, 700])
def test_long_epochs_are_summed_as_exactly_as_short_ones(count):
    batches = [(1e6 if step % 2 else 1e-3 * step, 1 + step % 3) for step in range(count)]
    batches = [(torch.tensor(loss).item(), samples) for loss, samples in batches]
    metrics = averaged(batches)
    assert metrics["loss"] == pytest.approx(mean(batches), rel=1e-14)
    assert type(metrics["loss"]) is float


CASES = [  # what, (loss, samples) pairs, with skip_nonfinite, without
    ("all finite", [(1.0, 3), (5.0, 1)], 2.0, 2.0),
    ("one NaN", [(1.0, 3), (NAN, 8), (5.0, 1)], 2.0, NAN),
    ("one infinity", [(1.0, 3), (math.inf, 8), (5.0, 1)], 2.0, math.inf),
    ("nothing but NaN", [(NAN, 3), (NAN, 1)], NAN, NAN),
]


@pytest.mark.parametrize(
    ("batches", "skipping", "honest"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_nonfinite_batches_spoil_the_mean_unless_they_are_left_out(batches, skipping, honest):
    assert averaged(batches)["loss"] == pytest.approx(honest, nan_ok=True)
    assert averaged(batches, skip_nonfinite=True)["loss"] == pytest.approx(skipping, nan_ok=True)


def test_a_batch_is_left_out_of_all_losses_when_one_is_not_finite():
    engine = Engine(lambda engine, batch: {"loss": batch[0], "other": batch[1]})
    EpochAverages(skip_nonfinite=True).attach(engine)
    assert engine.run([torch.tensor([1.0, 2.0]), torch.tensor([9.0, NAN])]).metrics == {"loss": 1.0, "other": 2.0}


def test_every_epoch_starts_anew(task):
    epochs = iter([1.0, 5.0, NAN, 3.0])
    engine = Engine(lambda engine, batch: {"loss": torch.tensor(engine.state.value)})
    engine.add_event_handler(Events.EPOCH_STARTED, lambda: setattr(engine.state, "value", next(epochs)))
    EpochAverages().attach(engine)
    seen = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: seen.append(engine.state.metrics["loss"]))
    engine.run([torch.zeros(2)] * 3, max_epochs=4)
    assert seen == pytest.approx([1.0, 5.0, NAN, 3.0], nan_ok=True)


def test_on_a_trainer_it_is_the_mean_of_what_the_steps_lost(task):
    trainer = task.trainer()
    EpochAverages("train_").attach(trainer)
    lost = []
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED,
        lambda engine: lost.append((engine.state.output["loss"].item(), len(engine.state.batch[0]))),
    )
    trainer.run(task.batches, max_epochs=2)
    assert trainer.state.metrics["train_loss"] == pytest.approx(mean(lost[4:]), rel=1e-12)
    assert [samples for _, samples in lost[:4]] == [4, 4, 4, 2]


def test_on_an_evaluator_it_is_the_loss_over_the_whole_set(task):
    model = task.model()
    evaluator = create_evaluator(model, task.loss_fn)
    EpochAverages().attach(evaluator)
    inputs, targets = (torch.cat(tensors) for tensors in zip(*task.batches, strict=True))
    whole = task.loss_fn(model.eval(), inputs, (inputs, targets))["loss"].item()
    for _ in range(2):
        assert evaluator.run(task.batches).metrics == {"loss": pytest.approx(whole, rel=1e-6)}


def test_no_batch_makes_the_host_wait_only_the_end_of_the_epoch_does(task, host_reads):
    trainer = task.trainer()
    EpochAverages().attach(trainer)
    seen = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: seen.append(host_reads.count))
    with host_reads:
        trainer.run(task.batches * 70, max_epochs=1)  # 280 batches: summed up once within the epoch
    assert seen == [0] * 280
    assert host_reads.count > 0


@pytest.mark.parametrize("cut", [1, 3, 255, 256, 270])
def test_saving_and_loading_inside_an_epoch_changes_no_bit(task, cut):
    losses = torch.rand(280, generator=torch.Generator().manual_seed(2)) * 1e3

    def feed(averages, steps, state=None):
        engine = Engine(lambda engine, batch: None)
        if state is not None:
            averages.load_state_dict(state)
        for step in steps:
            engine.state.batch, engine.state.output = torch.zeros(1 + step % 3), {"loss": losses[step]}
            averages(engine)
        return engine, averages

    def metrics(engine, averages):
        averages._read(engine)
        return engine.state.metrics

    whole = metrics(*feed(EpochAverages(), range(280)))
    _, first = feed(EpochAverages(), range(cut))
    second = feed(EpochAverages(), range(cut, 280), task.filed(first.state_dict()))
    assert metrics(*second) == whole


@pytest.mark.parametrize("output", [0.5, torch.tensor(0.5), None])
def test_an_update_function_that_returns_no_dict_is_told_what_to_return(output):
    engine = Engine(lambda engine, batch: output)
    EpochAverages().attach(engine)
    with pytest.raises(TypeError, match=r"a dict of losses.*'loss'.*got (float|Tensor|NoneType)"):
        engine.run([torch.zeros(2)])

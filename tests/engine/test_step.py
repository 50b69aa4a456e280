"""The step is an update function: on an Engine of Ignite's it does what it does in a trainer of ours."""

import pytest
import torch
from ignite.engine import Engine, Events
from torch import nn

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    History,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    TrainEvents,
    TrainingStep,
    create_trainer,
    parts_of,
    restore_run,
    run_state,
    write_checkpoint,
)

INPUTS = torch.randn(22, 3, generator=torch.Generator().manual_seed(0))
TARGETS = INPUTS.sum(1, keepdim=True)
BATCHES = list(zip(INPUTS.split(4), TARGETS.split(4), strict=True))  # the last one is short


def loss_fn(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def parts():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.3), nn.Linear(4, 1))
    return model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)


def on_an_engine(**settings):
    model, optimizer = parts()
    step = TrainingStep(model, optimizer, loss_fn, **settings)
    engine = Engine(step)
    engine.state.seed = 1
    return engine, step


def in_a_trainer(**settings):
    return create_trainer(*parts(), loss_fn, seed=1, **settings)


def weights(model):
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


class Unsized:
    def __iter__(self):
        return iter(BATCHES)


@pytest.mark.parametrize("data", [BATCHES, Unsized()], ids=["sized", "unsized"])
@pytest.mark.parametrize("accumulation_steps", [1, 4])
def test_it_trains_to_the_same_bits_as_in_a_trainer(accumulation_steps, data):
    engine, step = on_an_engine(accumulation_steps=accumulation_steps)
    trainer = in_a_trainer(accumulation_steps=accumulation_steps)
    engine.run(data, max_epochs=3)
    trainer.run(data, max_epochs=3)
    assert torch.equal(weights(step.model), weights(trainer.model))
    assert step.progress.optimizer_steps == 3 * -(-len(BATCHES) // accumulation_steps)


def test_handlers_find_in_it_what_they_find_in_a_trainer():
    def attach(engine):
        GradientClipper(0.1).attach(engine)
        ExponentialMovingAverage(0.9).attach(engine)
        NonFiniteGuard().attach(engine)
        NoiseAugmentation(0.1, None, None).attach(engine)
        EpochAverages("train_").attach(engine)
        EarlyStopping(5, verbose=False, restore_best_weights=False).attach(engine, "train_loss")
        return History(["train_loss"]).attach(engine)

    (engine, step), trainer = on_an_engine(), in_a_trainer()
    ours, theirs = attach(trainer), attach(engine)
    engine.run(BATCHES, max_epochs=3)
    trainer.run(BATCHES, max_epochs=3)
    trainer.weights.take_out()  # it leaves a run with the averaged ones
    assert torch.equal(weights(step.model), weights(trainer.model))
    assert theirs.epochs == ours.epochs
    assert list(parts_of(engine)) == list(trainer.parts)


def test_mixed_precision_and_the_guard_act_in_it():
    engine, step = on_an_engine()
    MixedPrecisionTrainer(device="cpu", dtype=torch.bfloat16).attach(engine)
    dtypes = []
    step.model[2].register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    NonFiniteGuard().attach(engine)
    bad = (torch.full((4, 3), float("nan")), TARGETS[:4])
    with pytest.raises(NonFiniteError, match="epoch 1, iteration 2"):
        engine.run([BATCHES[0], bad])
    assert set(dtypes) == {torch.bfloat16}
    assert weights(step.model).isfinite().all()


def test_the_events_of_a_step_fire_in_their_order():
    engine, step = on_an_engine(accumulation_steps=2)
    step.attach(engine)
    fired = []
    order = ["INPUTS_READY", "LOSSES_READY", "BACKWARD_COMPLETED", "GRADIENTS_READY"]
    order += ["OPTIMIZER_STEP_STARTED", "OPTIMIZER_STEP_COMPLETED"]
    for event in (TrainEvents[name] for name in reversed(order)):
        engine.add_event_handler(event, lambda engine, name: fired.append(name), event.name)
    engine.run(BATCHES[:2])
    assert fired == [*order[:3], *order]


def test_a_second_run_of_the_engine_counts_from_its_start():
    engine, step = on_an_engine(accumulation_steps=4)
    engine.run(BATCHES, max_epochs=2)
    engine.run(BATCHES, max_epochs=2)  # Ignite starts again, with the trained weights
    assert (engine.state.iteration, step.progress.optimizer_steps) == (12, 4)


def test_without_a_seed_it_draws_from_the_generators_as_they_are():
    found = []
    for _ in range(2):
        engine, step = on_an_engine()
        engine.state.seed = None
        torch.manual_seed(len(found))
        engine.run(BATCHES)
        found.append(weights(step.model))
    assert not torch.equal(*found)


def test_the_last_look_before_the_weights_change_can_drop_the_step():
    engine, step = on_an_engine()
    step.attach(engine)
    before = weights(step.model)
    engine.add_event_handler(TrainEvents.OPTIMIZER_STEP_STARTED, lambda: setattr(step.updates.first, "veto", True))
    skipped = []
    engine.add_event_handler(TrainEvents.OPTIMIZER_STEP_SKIPPED, lambda: skipped.append(engine.state.iteration))
    engine.run(BATCHES)
    assert torch.equal(weights(step.model), before)
    assert skipped == [1, 2, 3, 4, 5, 6] == list(range(1, 1 + step.progress.skipped_steps))


def test_a_failure_leaves_no_open_window_for_the_next_run():
    trainer = in_a_trainer(accumulation_steps=3)
    failures = [RuntimeError("once")]

    @trainer.on(Events.ITERATION_COMPLETED(once=2))
    def fail():
        if failures:
            raise failures.pop()

    with pytest.raises(RuntimeError, match="once"):
        trainer.run(BATCHES)
    assert not trainer.updates.first.window.is_open
    assert trainer.state.iteration == trainer.progress.iteration == 0


@pytest.mark.parametrize("accumulation_steps", [1, 2, 5])
@pytest.mark.parametrize("places", [(0,), (2,), (5,), (0, 1, 6, 7)])
def test_a_batch_without_a_sample_changes_nothing(places, accumulation_steps):
    empty, results = (INPUTS[:0], TARGETS[:0]), []
    with_empty = list(BATCHES)
    for place in places:
        with_empty.insert(place, empty)
    for data in (BATCHES, with_empty):
        model, optimizer = parts()
        model[1].p = 0.0  # what dropout draws depends on the position, which is another one
        trainer = create_trainer(model, optimizer, loss_fn, accumulation_steps=accumulation_steps)
        NonFiniteGuard().attach(trainer)
        EpochAverages("train_").attach(trainer)
        trainer.run(data, max_epochs=1)
        results.append((model.state_dict(), trainer.state.metrics, trainer.progress.optimizer_steps))
    assert results[0][1:] == results[1][1:]
    assert all(torch.equal(a, b) for a, b in zip(results[0][0].values(), results[1][0].values(), strict=True))


@pytest.mark.parametrize("event", [TrainEvents.INPUTS_READY, TrainEvents.LOSSES_READY, TrainEvents.GRADIENTS_READY])
def test_an_error_leaves_no_activations_behind(event):
    model, optimizer = parts()
    trainer = create_trainer(model, optimizer, loss_fn, seed=0)
    trainer.add_event_handler(event, lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        trainer.run(BATCHES, max_epochs=1)
    assert trainer.state.inputs is None
    assert trainer.state.losses is None
    assert not trainer.updates.first.window.losses


def test_a_batch_that_the_loss_function_changes_in_place_is_no_other_batch_on_a_resume(tmp_path, caplog):
    def changing(model, inputs, batch):
        batch[1].mul_(2.0)
        return loss_fn(model, inputs, batch)

    def a_trainer():
        model, optimizer = parts()
        return create_trainer(model, optimizer, changing, seed=0)

    def fresh():  # as a loader that collates gives them
        return [(inputs.clone(), targets.clone()) for inputs, targets in BATCHES]

    whole, cut, resumed = a_trainer(), a_trainer(), a_trainer()
    whole.run(fresh(), max_epochs=1)
    cut.add_event_handler(
        Events.ITERATION_COMPLETED(once=3), lambda: (write_checkpoint(run_state(cut), tmp_path / "run.pt"), 1 / 0)
    )
    with pytest.raises(ZeroDivisionError):
        cut.run(fresh(), max_epochs=1)
    restore_run(resumed, tmp_path / "run.pt")
    resumed.run(fresh(), max_epochs=1)
    assert "gives another batch" not in caplog.text
    for a, b in zip(whole.model.state_dict().values(), resumed.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)

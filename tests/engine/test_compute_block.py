"""Steps that are computed in blocks, of one batch or of several, are those that a run computes one by one.

What is traced runs one operation after the other (support/interpreted.py), except in tests of compiled runs.
"""

import itertools
import math
import signal
import weakref

import pytest
import torch
from ignite.engine import Events
from support.cuts import check_cuts
from support.equality import equal, weights
from support.interpreted import interpreted
from support.models import perceptron
from support.runs import evaluator_of
from support.whole_steps import BATCH_SIZE, loader_of, loss_fn, regression, regressor

from ignite_recipes import (
    Checkpointing,
    EpochAverages,
    ExponentialMovingAverage,
    GradientClipper,
    LearningRateScheduler,
    MixedPrecisionTrainer,
    NoiseAugmentation,
    NonFiniteError,
    NonFiniteGuard,
    ProgramPart,
    Rollback,
    SaveInside,
    StopOnSignal,
    Stopped,
    TrainEvents,
    Update,
    Validation,
    create_trainer,
    restore_run,
    run_state,
)
from ignite_recipes.checkpoint.resume_check import first_difference
from ignite_recipes.engine import step_program, whole_step
from ignite_recipes.engine.blocks import with_numbers_only
from ignite_recipes.together import run_together

BATCHES, EPOCHS = 10, 2
ROWS, TARGETS = regression(BATCHES)


@pytest.fixture(autouse=True)
def blocks(monkeypatch, request):
    """How many steps each block was asked for."""
    sizes, compute = [], whole_step.compute_block

    def noted(ahead, count, *programs):
        sizes.append(count)
        return compute(ahead, count, *programs)

    monkeypatch.setattr(whole_step, "compute_block", noted)
    if "compiled" not in request.node.name:
        monkeypatch.setattr(step_program, "compile_for_host", interpreted)
    return sizes


def cases(*values, quick):
    """All combinations of values; those that are not ``quick`` are marked slow."""
    return [
        pytest.param(*case, marks=[] if case in quick else [pytest.mark.slow]) for case in itertools.product(*values)
    ]


def loader(bad=None, *, shuffle=True):
    return loader_of((ROWS, TARGETS), bad=bad, shuffle=shuffle)


def trainer_of(length, *attach, optimizer=None, **layers):
    trainer = regressor(optimizer=optimizer, layers=layers, accumulation_steps=length)
    EpochAverages("train_", skip_nonfinite=True).attach(trainer)
    for each in attach:
        each(trainer)
    return trainer


def looks(trainer):
    """A handler of one's own, which may look at whatever it likes: each batch is computed by itself."""
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: None)


def check_same(first, second):
    assert first_difference(run_state(first), run_state(second)) is None
    # A dropped batch of a window may leave NaN nowhere.
    assert {k: str(v) for k, v in first.state.metrics.items()} == {k: str(v) for k, v in second.state.metrics.items()}
    assert first.state.iteration == second.state.iteration


def clipped(trainer):
    GradientClipper(0.5).attach(trainer)


def skips(trainer):
    NonFiniteGuard("skip").attach(trainer)


def raises(trainer):
    NonFiniteGuard().attach(trainer)


def averaged(trainer):
    ExponentialMovingAverage(0.9).attach(trainer)


def noisy(trainer):
    NoiseAugmentation(0.1, None, None).attach(trainer)


def half(trainer):
    MixedPrecisionTrainer(device="cpu", dtype=torch.float16).attach(trainer)


def scheduled(trainer):
    LearningRateScheduler(trainer.optimizer, "exp", gamma=0.9, per="step").attach(trainer)


def one_cycle(trainer):
    LearningRateScheduler(trainer.optimizer, "onecycle", T_max=20).attach(trainer)


SETTINGS = {
    "plain": ([], {}),
    "sgd": ([clipped], {"optimizer": lambda w: torch.optim.SGD(w, lr=0.05, momentum=0.9)}),
    "dropout, noise, average": ([noisy, averaged], {"dropout": 0.3}),
    "batch norm": ([clipped, skips], {"batch_norm": True}),
    "schedules": ([scheduled, one_cycle], {}),
    "float16": ([half, clipped, skips, averaged], {"batch_norm": True}),
    "all": ([noisy, clipped, skips, averaged, scheduled], {"dropout": 0.3, "batch_norm": True}),
}


@pytest.mark.parametrize(("name", "length"), cases(SETTINGS, [1, 3], quick=[("all", 3)]))
def test_a_run_is_the_one_in_which_somebody_looks_after_each_batch(name, length, blocks):
    attach, settings = SETTINGS[name]
    one_by_one = trainer_of(length, *attach, looks, **settings)
    one_by_one.run(loader(), max_epochs=EPOCHS)
    assert blocks == []
    trainer = trainer_of(length, *attach, **settings)
    trainer.run(loader(), max_epochs=EPOCHS)
    check_same(one_by_one, trainer)
    if half not in attach:  # a scale that is too large ends blocks
        assert blocks == [(BATCHES - 1) // length] * EPOCHS


@pytest.mark.slow
def test_compiled_a_run_is_the_one_in_which_somebody_looks_after_each_batch(blocks):
    runs = [trainer_of(3, *SETTINGS["all"][0], *extra, dropout=0.3, batch_norm=True) for extra in ([looks], [])]
    for trainer in runs:
        trainer.run(loader(17), max_epochs=EPOCHS)
    check_same(*runs)
    assert blocks


BAD = range(0, BATCH_SIZE * BATCHES, BATCH_SIZE)


@pytest.mark.parametrize(("bad", "length"), cases(BAD, [1, 3], quick=[(20, 3)]))
def test_so_it_is_where_any_batch_of_a_window_is_not_finite_and_dropped(bad, length):
    runs = []
    for extra in ([looks], []):
        trainer = trainer_of(length, noisy, clipped, skips, averaged, scheduled, *extra, batch_norm=True)
        trainer.run(loader(bad, shuffle=False), max_epochs=EPOCHS)
        runs.append(trainer)
    check_same(*runs)
    assert runs[0].progress.skipped_steps == EPOCHS


@pytest.mark.parametrize(("bad", "length"), cases(BAD, [1, 3], quick=[(20, 3)]))
def test_an_error_names_the_same_iteration_and_leaves_the_same_state(bad, length):
    runs, said = [], []
    for extra in ([looks], []):
        trainer = trainer_of(length, clipped, raises, averaged, *extra, batch_norm=True)
        with pytest.raises(NonFiniteError) as error:
            trainer.run(loader(bad, shuffle=False), max_epochs=EPOCHS)
        said.append(str(error.value))
        runs.append(trainer)
    check_same(*runs)
    if bad // 4 % length == length - 1 or bad // 4 == BATCHES - 1:  # of a window's last batch it is looked for
        assert "its inputs are not finite" in said[0]
    assert said[0] == said[1]
    assert f"iteration {min(BATCHES, (bad // 4 // length + 1) * length)}:" in said[0]


@pytest.mark.parametrize("length", cases([1, 2, 3], quick=[(2,)]))
def test_in_float16_a_bad_batch_is_dropped_too(length):
    runs = []
    for extra in ([looks], []):
        trainer = trainer_of(length, half, skips, *extra)
        trainer.run(loader(13), max_epochs=EPOCHS)
        runs.append(trainer)
    check_same(*runs)
    assert runs[0].parts["nonfinite_guard"].num_skipped == EPOCHS


class Numbers:
    """Notes what its handlers are told."""

    def __init__(self):
        self.seen = []

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, self.step)
        trainer.add_event_handler(Events.ITERATION_COMPLETED, self.batch)

    @with_numbers_only
    def step(self, trainer):
        self._note("step", trainer)

    @with_numbers_only
    def batch(self, trainer):
        self._note("batch", trainer)

    def _note(self, event, trainer):
        output = {name: value.item() for name, value in (trainer.state.output or {}).items()}
        self.seen.append((event, trainer.state.iteration, output))


class Columns:
    """Notes the columns that it is given of a block, and what it is told of other steps."""

    def __init__(self):
        self.losses = []

    @with_numbers_only
    def __call__(self, trainer):
        output = trainer.state.output
        self.losses.append(None if output is None else output["loss"].item())

    def of_block(self, engine, losses):
        assert list(losses) == ["loss", "size"]
        self.losses += losses["loss"].tolist()


@pytest.mark.parametrize("length", cases([1, 2, 3], quick=[(3,)]))
def test_handlers_are_called_for_each_batch_and_each_step_as_in_the_ordinary_loop(length, blocks):
    found = []
    for extra in ([looks], []):
        numbers = Numbers()
        trainer_of(length, numbers.attach, skips, *extra).run(loader(13), max_epochs=EPOCHS)
        found.append(numbers.seen)
    assert blocks
    assert str(found[0]) == str(found[1])  # NaN is not equal to itself
    assert sum(event == "batch" for event, *_ in found[1]) == EPOCHS * BATCHES
    assert sum(event == "step" for event, *_ in found[1]) == EPOCHS * (math.ceil(BATCHES / length) - 1)


@pytest.mark.parametrize("length", cases([1, 2, 3], quick=[(3,)]))
def test_of_a_block_handlers_are_given_the_columns_of_their_event(length, blocks):
    numbers, of_batches, of_steps = Numbers(), Columns(), Columns()
    trainer = trainer_of(length, numbers.attach)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, of_batches)
    trainer.add_event_handler(TrainEvents.OPTIMIZER_STEP_COMPLETED, of_steps)
    trainer.run(loader(), max_epochs=1)
    losses = [output["loss"] for event, _, output in numbers.seen if event == "batch"]
    assert of_batches.losses == losses
    steps = (BATCHES - 1) // length - 1  # the block's last step, and the epoch's, are told one by one
    assert of_steps.losses[:steps] == losses[length - 1 :: length][:steps]
    assert blocks == [steps + 1]


class Growing(ProgramPart):
    """Multiplies the inputs by a number that depends on the batch."""

    def __init__(self):
        self.state = None

    def __getstate__(self):
        return {}  # no constant of a program

    def attach(self, trainer):
        self.state = weakref.ref(trainer.state)
        trainer.add_event_handler(TrainEvents.INPUTS_READY, self)

    def __call__(self, trainer):
        trainer.state.inputs = trainer.state.inputs * self.numbers_in_program()[0]

    def in_program(self, values, carried, numbers):
        values.inputs = values.inputs * numbers[0].to(values.inputs.dtype)

    def numbers_in_program(self):
        return [1 + 0.1 * self.state().iteration]

    def numbers_ahead(self, count):
        return [[1 + 0.1 * (self.state().iteration + 1 + k)] for k in range(count)]


class Sums(ProgramPart):
    """Notes the sum of the losses of each step's window."""

    def __init__(self):
        self.found = []

    def attach(self, trainer):
        trainer.add_event_handler(TrainEvents.GRADIENTS_READY, self)

    def __call__(self, trainer):
        self.found.append(torch.stack(trainer.state.update.window.losses).sum().item())

    def in_program(self, values, carried, numbers):
        pass

    def after_program(self, engine, values):
        self.found.append(values.loss.item())

    def after_block(self, engine, values, count):
        assert len(values.loss) == count
        self.found += values.loss.tolist()


@pytest.mark.parametrize("length", cases([1, 2, 3, 4], quick=[(3,)]))
def test_parts_of_ones_own_have_numbers_for_each_batch_and_the_loss_of_each_window(length, blocks):
    runs, sums = [], []
    for extra in ([looks], []):
        sums.append(Sums())
        runs.append(trainer_of(length, lambda trainer: Growing().attach(trainer), sums[-1].attach, *extra))
        runs[-1].run(loader(), max_epochs=EPOCHS)
    assert blocks
    check_same(*runs)
    assert sums[0].found == sums[1].found


@pytest.mark.parametrize(("max_iters", "length"), cases([1, 2, 3, 7, 9, 10, 11, 12, 19, 20], [1, 3], quick=[(7, 3)]))
def test_so_it_is_with_any_number_of_iterations(max_iters, length):
    runs = [trainer_of(length, clipped, averaged, *extra) for extra in ([looks], [])]
    for trainer in runs:
        trainer.run(loader(), max_iters=max_iters)
    assert equal(*(weights(trainer.model) for trainer in runs))
    assert runs[0].state_dict() == runs[1].state_dict()
    assert runs[0].state.iteration == max_iters


@pytest.mark.parametrize(("every", "length"), cases([1, 2, 3, 5, 6], [1, 2, 3], quick=[(2, 3)]))
def test_a_validation_inside_a_window_or_at_its_end_sees_and_changes_the_same(length, every):
    runs = []
    for extra in ([looks], []):
        found = []

        def validated(trainer, found=found):
            validation = Validation(evaluator_of(trainer.model), [(ROWS[:4], TARGETS[:4])], every_iterations=every)
            validation.attach(trainer)
            note = lambda trainer: found.append((trainer.state.iteration, trainer.state.metrics["val_loss"]))  # noqa: E731
            trainer.add_event_handler(Events.ITERATION_COMPLETED(every=every), note)

        trainer = trainer_of(length, noisy, averaged, validated, *extra)
        trainer.run(loader(), max_epochs=EPOCHS)
        runs.append((trainer, found))
    check_same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert len(runs[0][1]) == EPOCHS * BATCHES // every


# Where a run saves, and where it is left.


@pytest.mark.parametrize(("every", "length"), cases([1, 2, 3, 4, 5, 7, 11], [1, 2, 3], quick=[(4, 1), (4, 3)]))
def test_blocks_end_where_a_run_saves(length, every, blocks):
    saved, runs = [], []
    for extra in ([looks], []):
        places = []
        save = SaveInside(every, lambda trainer, places=places: places.append(run_state(trainer)))
        runs.append(trainer_of(length, noisy, clipped, averaged, save.attach, *extra))
        runs[-1].run(loader(), max_epochs=EPOCHS)
        saved.append(places)
    check_same(*runs)
    assert len(saved[0]) == len(saved[1])
    assert all(first_difference(one, other) is None for one, other in zip(*saved, strict=True))
    ends = [end for end in range(length, BATCHES, length) if end // every > (end - length) // every]
    inner = (BATCHES - 1) // length * length
    cuts = [0, *ends, *([] if inner in ends else [inner])]
    if every > 1 or length > 1:  # otherwise there is no block of more than one batch
        assert blocks[: len(cuts) - 1] == [(b - a) // length for a, b in itertools.pairwise(cuts)]


def test_a_checkpoint_inside_epochs_lets_the_steps_between_be_blocks(tmp_path, blocks):
    trainer = trainer_of(1, lambda trainer: Checkpointing(tmp_path, every_iterations=4).attach(trainer))
    trainer.run(loader(), max_epochs=1)
    assert blocks == [4, 4, 1]


@pytest.mark.parametrize(("bad", "length"), cases([None, 17], [1, 2, 3], quick=[(17, 3)]))
def test_a_run_cut_after_any_batch_is_resumed_to_the_bit(tmp_path, length, bad, blocks):
    def make():
        attach = [noisy, clipped, skips, averaged, scheduled]
        return trainer_of(length, *attach, dropout=0.3, batch_norm=True), loader(bad)

    trainer = check_cuts(make, tmp_path, EPOCHS)
    assert trainer.progress.skipped_steps == (0 if bad is None else EPOCHS)
    assert blocks


@pytest.mark.parametrize("length", cases([1, 2, 3], quick=[(2,)]))
def test_a_signal_ends_the_run_after_the_block_and_it_is_resumed_to_the_bit(length, tmp_path, monkeypatch):
    monkeypatch.setattr(whole_step, "MOST_STEPS", 4)
    whole = trainer_of(length, noisy, averaged)
    whole.run(loader(), max_epochs=EPOCHS)

    @with_numbers_only
    def interrupt(trainer):
        if trainer.state.iteration == 2:
            signal.raise_signal(signal.SIGTERM)

    trainer = trainer_of(length, noisy, averaged)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, interrupt)
    saves = Checkpointing(tmp_path, "stopped.pt")
    StopOnSignal(saves.save).attach(trainer)
    with pytest.raises(Stopped):
        trainer.run(loader(), max_epochs=EPOCHS)
    assert trainer.state.iteration == max(1, 4 // length) * length
    resumed = trainer_of(length, noisy, averaged)
    restore_run(resumed, tmp_path / "stopped.pt")
    resumed.run(loader(), max_epochs=EPOCHS)
    check_same(whole, resumed)


@pytest.mark.parametrize(
    ("fails_at", "length", "error"),
    cases(
        range(1, BATCHES),
        [1, 2, 3],
        [RuntimeError, KeyboardInterrupt],
        quick=[(4, 1, RuntimeError), (5, 3, RuntimeError)],
    ),
)
def test_a_run_that_fails_inside_a_block_knows_what_is_in_its_weights_and_continues_to_the_same_bits(
    fails_at, length, error, monkeypatch
):
    settings = [noisy, clipped, averaged, scheduled]
    whole = trainer_of(length, *settings, batch_norm=True)
    whole.run(loader(), max_epochs=EPOCHS)
    compute, calls = step_program.StepProgram.compute, iter(range(1, 100))

    def failing(*args):
        if next(calls) == fails_at:
            raise error("the disk is gone")
        return compute(*args)

    trainer = trainer_of(length, *settings, batch_norm=True)
    monkeypatch.setattr(step_program.StepProgram, "compute", failing)
    with pytest.raises(error, match="the disk is gone"):
        trainer.run(loader(), max_epochs=EPOCHS)
    if fails_at <= (BATCHES - 1) // length * length:  # in the first epoch
        assert trainer.state.iteration == (fails_at - 1) // length * length
    trainer.run(loader(), max_epochs=EPOCHS)
    check_same(whole, trainer)


@pytest.mark.parametrize("length", [1, 3])
def test_after_a_rollback_the_steps_have_the_lower_rate(length, blocks):
    def rolls_back(trainer):
        NonFiniteGuard().attach(trainer)
        Rollback(factor=1e-11).attach(trainer)

    runs = []
    for extra in ([looks], []):
        trainer = trainer_of(length, rolls_back, *extra, optimizer=lambda w: torch.optim.SGD(w, lr=1e9))
        trainer.run(loader(), max_epochs=EPOCHS)
        runs.append(trainer)
    check_same(*runs)
    assert runs[0].parts["rollback"].num_rollbacks == 1
    assert blocks


# When there are none.


def test_batches_of_other_sizes_are_computed_one_by_one(blocks):
    trainer = trainer_of(2)
    trainer.run([(ROWS[:4], TARGETS[:4]), (ROWS[4:7], TARGETS[4:7])] * 3, max_epochs=EPOCHS)
    assert blocks == []
    assert trainer.progress.optimizer_steps == EPOCHS * 3


def test_an_epoch_of_one_window_has_no_block(blocks):
    trainer = trainer_of(BATCHES)
    trainer.run(loader(), max_epochs=EPOCHS)
    assert blocks == []
    assert trainer.progress.optimizer_steps == EPOCHS


def test_runs_with_accumulated_gradients_do_not_train_together_and_one_line_says_so(caplog):
    def call():
        trainer = trainer_of(2)
        trainer.run(loader(), max_epochs=EPOCHS)
        return trainer

    for run in run_together([call, call]):
        check_same(run.result, call())
    assert [record.message for record in caplog.records if "together" in record.message] == [
        "runs train one after another, and not together: gradients are accumulated over several batches"
    ]


def test_an_update_that_accumulates_is_computed_in_blocks_too(blocks):
    def run(*extra):
        model = perceptron(3, 4, seed=3)
        update = Update(torch.optim.SGD(model.parameters(), 0.1), loss_fn, accumulation_steps=3)
        trainer = create_trainer(model, updates=[update], seed=1, compile="step")
        for attach in extra:
            attach(trainer)
        trainer.run(loader(), max_epochs=EPOCHS)
        return weights(model)

    assert equal(run(), run(looks))
    assert blocks == [3] * EPOCHS

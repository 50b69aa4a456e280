"""Where a run is: one object, one state, and from where a run that was cut continues."""

import pytest
from ignite.engine import State

from ignite_recipes.engine.progress import Progress, Stage, StepCount

LENGTH = 4


def after(batches, *, updated=None, stage=Stage.TRAINING):
    """A run of epochs of four batches, after so many of them."""
    state = State()
    state.seed, state.epoch_length, state.max_epochs = 7, LENGTH, 5
    progress = Progress(state)
    for batch in range(batches):
        if batch % LENGTH == 0:
            progress.stage = Stage.SAVED
            state.epoch += 1
            progress.start_epoch({"optimizer": 0.1 * state.epoch})
        state.iteration += 1
        if updated is None or state.iteration <= updated:
            progress.note_update()
    progress.stage = stage
    return progress


def test_before_the_first_epoch_nothing_is_done():
    progress = Progress(State())
    assert (progress.completed_epochs, progress.position, progress.is_inside_epoch, progress.is_trained) == (
        0,
        0,
        False,
        False,
    )


@pytest.mark.parametrize(
    ("batches", "stage", "completed", "inside", "trained"),
    [
        (1, Stage.TRAINING, 0, True, False),
        (3, Stage.TRAINING, 0, True, False),
        (4, Stage.TRAINING, 0, False, True),  # a failure between the last batch and the end of its epoch
        (4, Stage.TRAINED, 0, False, True),
        (4, Stage.DECIDED, 1, False, False),
        (4, Stage.SAVED, 1, False, False),
        (6, Stage.TRAINING, 1, True, False),
        (8, Stage.SAVED, 2, False, False),
    ],
)
def test_how_far_the_epoch_is(batches, stage, completed, inside, trained):
    progress = after(batches, stage=stage)
    found = progress.completed_epochs, progress.is_inside_epoch, progress.is_trained
    assert found == (completed, inside, trained)


@pytest.mark.parametrize("batches", range(1, 9))
@pytest.mark.parametrize("updated", range(1, 9))
def test_a_run_continues_after_the_last_batch_that_is_in_the_weights(batches, updated):
    progress = after(batches, updated=updated)
    begun = progress.epoch_start  # an epoch begins with all batches before it in the weights
    progress.rewind()
    assert progress.state.iteration == max(begun, min(batches, updated))
    assert progress.state.epoch == (batches - 1) // LENGTH


@pytest.mark.parametrize("batches", range(9))
def test_its_state_brings_another_one_to_the_same_place(batches):
    progress, other = after(batches), Progress(State())
    progress.counts["critic"], other.counts["critic"] = StepCount(5, 2, 1), StepCount()
    other.load_state_dict(progress.state_dict())
    progress.rewind()
    assert other.state_dict() == progress.state_dict()
    assert (other.optimizer_steps, other.skipped_steps) == (5, 2)
    for name in ("iteration", "epoch", "epoch_length", "max_epochs", "seed"):
        assert getattr(other.state, name) == getattr(progress.state, name)


def test_an_epoch_that_is_in_a_file_counts_as_saved():
    assert after(4, stage=Stage.DECIDED).state_dict()["stage"] == Stage.SAVED
    assert after(4, stage=Stage.TRAINED).state_dict()["stage"] == Stage.TRAINED


@pytest.mark.parametrize("name", ["epoch", "iteration", "epoch_start"])
def test_a_state_that_is_none_is_refused(name):
    state = after(3).state_dict()
    with pytest.raises(ValueError, match=name):
        Progress(State()).load_state_dict({**state, name: "three"})
    del state[name]
    with pytest.raises(KeyError, match=name):
        Progress(State()).load_state_dict(state)


def test_weights_from_elsewhere_may_have_been_trained_already():
    progress = Progress(State())
    progress.start_after(3, LENGTH)
    assert (progress.state.epoch, progress.state.iteration, progress.completed_epochs) == (3, 12, 3)

"""Which epochs are written, which one is the best, and what is refused before the first hour."""

import math
import os
from itertools import product

import pytest
import torch
from ignite.engine import Engine, Events

from ignite_recipes import (
    BestCheckpoint,
    Checkpointing,
    EarlyStopping,
    ExponentialMovingAverage,
    NonFiniteGuard,
    SaveInside,
    TrainEvents,
    Validation,
    check_resume,
    read_checkpoint,
    restore_run,
    run_state,
    write_checkpoint,
)
from ignite_recipes.checkpoint.resume_check import first_difference

NAN = math.nan


def files(folder):
    return sorted(path.name for path in folder.iterdir())


WRITTEN = [  # every, epochs, epoch after which something stops the run, epochs written
    (1, 3, None, [1, 2, 3]),
    (2, 5, None, [2, 4, 5]),
    (2, 4, None, [2, 4]),
    (10, 3, None, [3]),
    (2, 9, 3, [2, 3]),
    (2, 9, 4, [2, 4]),
]


@pytest.mark.parametrize(("every", "epochs", "stop", "written"), WRITTEN)
def test_writes_every_so_many_epochs_and_the_last_and_removes_nothing(task, tmp_path, every, epochs, stop, written):
    (tmp_path / "checkpoint_epoch_99.pt").touch()
    trainer = task.trainer()
    checkpointing = Checkpointing(tmp_path, every=every)
    assert checkpointing.attach(trainer) is checkpointing
    trainer.add_event_handler(
        Events.EPOCH_COMPLETED, lambda engine: engine.terminate() if engine.state.epoch == stop else None
    )
    trainer.run(task.batches, max_epochs=epochs)
    assert files(tmp_path) == sorted(f"checkpoint_epoch_{epoch}.pt" for epoch in [*written, 99])
    assert [read_checkpoint(tmp_path / f"checkpoint_epoch_{epoch}.pt")["epoch"] for epoch in written] == written


def run_with(task, *handlers, resume_from=None, max_epochs=2):
    trainer = task.scripted([3.0, 2.0, 1.0, 0.5])
    for handler in handlers:
        handler.attach(trainer)
    if resume_from is not None:
        restore_run(trainer, resume_from)
    trainer.run(task.batches, max_epochs=max_epochs)
    return trainer


def test_a_new_run_says_which_files_of_an_earlier_one_it_replaces_and_what_to_do_instead(task, tmp_path, caplog):
    def both():
        return Checkpointing(tmp_path, "run[1]_{epoch:02d}.pt"), BestCheckpoint(tmp_path / "{best}.pt")

    run_with(task, *both())
    assert not caplog.text
    (tmp_path / "run1_01.pt").touch()  # of somebody else
    run_with(task, *both())
    assert [message.split(" of an earlier run")[0] for message in caplog.messages] == [
        f"{tmp_path} holds 2 checkpoints",
        f"{tmp_path} holds 1 checkpoint",
    ]
    assert all("restore_newest(trainer, folder)" in said and "another folder" in said for said in caplog.messages)


def test_a_run_that_is_resumed_continued_or_starts_in_an_empty_folder_has_nothing_to_say(task, tmp_path, caplog):
    trainer = run_with(task, Checkpointing(tmp_path), BestCheckpoint(tmp_path / "best.pt"))
    trainer.run(task.batches, max_epochs=3)
    path = tmp_path / "checkpoint_epoch_3.pt"
    run_with(task, Checkpointing(tmp_path), BestCheckpoint(tmp_path / "best.pt"), resume_from=path, max_epochs=4)
    assert not caplog.text


def test_the_epoch_at_which_early_stopping_decides_is_written_with_that_decision(task, tmp_path):
    trainer = task.scripted([1.0, 2.0, 3.0])
    EarlyStopping(patience=1, verbose=False).attach(trainer)
    Checkpointing(tmp_path, every=5).attach(trainer)
    trainer.run(task.batches, max_epochs=9)
    assert files(tmp_path) == ["checkpoint_epoch_2.pt"]
    assert read_checkpoint(tmp_path / "checkpoint_epoch_2.pt")["run"]["parts"]["early_stopping"]["stopped_epoch"] == 2


def test_a_filename_without_an_epoch_holds_the_last_one(task, tmp_path):
    trainer = task.trainer()
    Checkpointing(tmp_path / "new" / "folder", "latest.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert files(tmp_path / "new" / "folder") == ["latest.pt"]
    assert read_checkpoint(tmp_path / "new" / "folder" / "latest.pt")["epoch"] == 3


@pytest.mark.parametrize("every", [1, 3])
def test_saving_changes_nothing_about_the_training(task, tmp_path, every):
    trainer, plain = task.trainer(), task.trainer()
    Checkpointing(tmp_path, every=every).attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    plain.run(task.batches, max_epochs=3)
    assert task.same(task.weights(trainer.model), task.weights(plain.model))


@pytest.mark.parametrize("every", [0, -2])
def test_an_impossible_rhythm_is_refused_by_the_name_of_its_argument(tmp_path, every):
    with pytest.raises(ValueError, match=f"^every must be a whole number of epochs, at least 1; got {every}"):
        Checkpointing(tmp_path, every=every)


BEST = [  # what, mode, values, epochs in which the file is written
    ("falling", "min", [3.0, 2.0, 1.0], [1, 2, 3]),
    ("rising", "min", [1.0, 2.0, 3.0], [1]),
    ("equal is not better", "min", [1.0, 1.0, 0.5], [1, 3]),
    ("NaN is never best", "min", [NAN, 2.0, NAN, 1.0], [2, 4]),
    ("nothing but NaN", "min", [NAN, NAN], []),
    ("infinity is never best", "min", [math.inf, NAN, 2.0], [3]),
    ("larger is better", "max", [0.5, 0.4, NAN, 0.6], [1, 4]),
    ("minus infinity is never best", "max", [-math.inf, -5.0], [2]),
    ("the smallest change counts", "min", [1.0, math.nextafter(1.0, 0.0)], [1, 2]),
]


@pytest.mark.parametrize(("mode", "values", "written"), [case[1:] for case in BEST], ids=[case[0] for case in BEST])
def test_the_best_is_written_on_improvement_only(task, tmp_path, mode, values, written):
    trainer = task.scripted(values)
    path = tmp_path / "best.pt"
    best = BestCheckpoint(path, mode=mode)
    assert best.attach(trainer) is best
    epochs, weights = [], {}

    @trainer.on(Events.EPOCH_STARTED)
    def remove(engine):
        path.unlink(missing_ok=True)

    @trainer.on(Events.EPOCH_COMPLETED)
    def remember(engine):
        weights[engine.state.epoch] = task.weights(engine.model)

    def look(engine):
        if path.exists():
            contents = read_checkpoint(path)
            epochs.append(contents["epoch"])
            assert task.same(dict(contents["model_state_dict"]), weights[engine.state.epoch])
            assert contents["val_loss"] == values[engine.state.epoch - 1]

    trainer.add_event_handler(TrainEvents.CHECKPOINT_READY, look)
    trainer.run(task.batches, max_epochs=len(values))
    assert epochs == written
    assert best.best_epoch == (written[-1] if written else None)
    assert best.best == (values[written[-1] - 1] if written else None)


def test_a_resumed_run_does_not_replace_a_better_file(task, tmp_path):
    first, second = task.scripted([1.0, 2.0]), task.scripted([3.0, 0.5])
    BestCheckpoint(tmp_path / "best.pt").attach(first)
    Checkpointing(tmp_path).attach(first)
    first.run(task.batches, max_epochs=2)
    best = BestCheckpoint(tmp_path / "best.pt").attach(second)
    restore_run(second, tmp_path / "checkpoint_epoch_2.pt")
    second.run(task.batches, max_epochs=3)
    assert (best.best, best.best_epoch, read_checkpoint(tmp_path / "best.pt")["epoch"]) == (1.0, 1, 1)
    second.run(task.batches, max_epochs=4)
    assert (best.best, best.best_epoch, read_checkpoint(tmp_path / "best.pt")["epoch"]) == (0.5, 4, 4)


def test_the_metric_may_be_a_function_and_a_missing_one_names_the_known(task, tmp_path):
    trainer = task.scripted([5.0, 5.0], metric="other")
    best = BestCheckpoint(tmp_path / "best.pt", lambda engine: -engine.state.epoch).attach(trainer)
    trainer.run(task.batches, max_epochs=2)
    assert (best.best, best.best_epoch) == (-2.0, 2)
    trainer = task.scripted([5.0], metric="other")
    BestCheckpoint(tmp_path / "best.pt").attach(trainer)
    with pytest.raises(RuntimeError, match=r"'val_loss'.*there are: .*other\. "):
        trainer.run(task.batches, max_epochs=1)


def test_an_unknown_mode_is_refused(tmp_path):
    with pytest.raises(ValueError, match="'min' or 'max'; got 'up'"):
        BestCheckpoint(tmp_path / "best.pt", mode="up")


MAKERS = [Checkpointing, lambda folder: BestCheckpoint(folder / "best.pt")]
both = pytest.mark.parametrize("make", MAKERS, ids=["Checkpointing", "BestCheckpoint"])


@both
def test_an_engine_of_ones_own_is_refused_with_the_remedy_and_nothing_is_made(tmp_path, make):
    with pytest.raises(
        RuntimeError, match=r"create_trainer.*save_checkpoint\(\.\.\.\) in a handler of EPOCH_COMPLETED"
    ):
        make(tmp_path / "new").attach(Engine(lambda engine, batch: None))
    assert files(tmp_path) == []


@both
def test_a_folder_that_cannot_be_made_is_refused_when_it_is_attached(task, tmp_path, make):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file"):
        make(tmp_path / "file").attach(task.trainer())


@both
def test_a_folder_that_cannot_be_written_to_is_refused_when_it_is_attached(task, tmp_path, monkeypatch, make):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)  # root may write anywhere
    with pytest.raises(PermissionError, match=r"must be written to .*read-only"):
        make(tmp_path).attach(task.trainer())


@pytest.mark.parametrize("keep", [1, 2])
def test_a_name_that_repeats_never_removes_the_file_just_written(task, tmp_path, keep):
    trainer = task.trainer()
    Checkpointing(tmp_path, "last.pt", keep=keep).attach(trainer)
    trainer.run(task.batches, max_epochs=4)
    assert files(tmp_path) == ["last.pt"]
    assert read_checkpoint(tmp_path / "last.pt")["epoch"] == 4


def test_a_file_that_is_a_link_stays_one(task, tmp_path):
    (tmp_path / "disk").mkdir()
    (tmp_path / "last.pt").symlink_to(tmp_path / "disk" / "real.pt")
    trainer = task.trainer()
    Checkpointing(tmp_path, "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert (tmp_path / "last.pt").is_symlink()
    assert read_checkpoint(tmp_path / "disk" / "real.pt")["epoch"] == 1


def test_a_tilde_is_the_users_home(task, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    trainer = task.trainer()
    Checkpointing("~/runs", "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert read_checkpoint("~/runs/last.pt")["epoch"] == 1
    assert files(tmp_path / "runs") == ["last.pt"]


def test_a_state_with_a_tensor_of_another_class_is_written_so_that_it_can_be_read(task, tmp_path):
    class Marked(torch.Tensor):
        pass

    trainer = task.trainer()
    trainer.metadata = {"marked": torch.ones(2).as_subclass(Marked)}
    Checkpointing(tmp_path, "last.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=1)
    assert type(read_checkpoint(tmp_path / "last.pt")["metadata"]["marked"]) is torch.Tensor


@pytest.mark.parametrize("ends_by", ["max_iters", "terminate"])
def test_a_run_that_ends_inside_an_epoch_is_saved_there_and_can_be_resumed(task, tmp_path, ends_by):
    whole, first, second = task.trainer(), task.trainer(), task.trainer()
    whole.run(task.batches, max_epochs=3)
    Checkpointing(tmp_path, "last.pt").attach(first)
    if ends_by == "terminate":
        first.add_event_handler(Events.ITERATION_COMPLETED(once=6), lambda: first.terminate())
        first.run(task.batches, max_epochs=3)
    else:
        first.run(task.batches, max_iters=6)
    restore_run(second, tmp_path / "last.pt")
    assert second.progress.iteration == 6
    second.run(task.batches, max_epochs=3)
    assert task.same(task.weights(second.model), task.weights(whole.model))


def test_an_end_may_be_given_in_epochs_and_then_in_iterations(task):
    whole, other = task.trainer(), task.trainer()
    whole.run(task.batches, max_epochs=4)
    other.run(task.batches, max_epochs=2)
    other.run(task.batches, max_iters=11)
    assert other.state.iteration == 11
    other.run(task.batches, max_epochs=4)
    assert task.same(task.weights(other.model), task.weights(whole.model))


@pytest.mark.parametrize("accumulation_steps", [1, 4])
@pytest.mark.parametrize(("iterations", "epoch"), [(4, 1), (6, 2), (7, 2), (12, 3)])
def test_a_run_that_ends_by_a_number_of_iterations_is_saved_at_its_end(
    task, tmp_path, iterations, epoch, accumulation_steps
):
    trainer = task.trainer(accumulation_steps=accumulation_steps)
    Checkpointing(tmp_path, every=9).attach(trainer)
    trainer.run(task.batches, max_iters=iterations)
    assert files(tmp_path) == [f"checkpoint_epoch_{epoch}.pt"]
    resumed, whole = (task.trainer(accumulation_steps=accumulation_steps) for _ in range(2))
    restore_run(resumed, tmp_path / f"checkpoint_epoch_{epoch}.pt")
    resumed.run(task.batches, max_epochs=4)
    whole.run(task.batches, max_epochs=4)
    assert task.same(task.weights(resumed.model), task.weights(whole.model))


def test_a_trainer_that_starts_anew_does_not_replace_the_best_of_the_run_before(task, tmp_path):
    trainer = task.scripted([1.0, 2.0, 5.0, 4.0])
    best = BestCheckpoint(tmp_path / "best.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=2)
    written = best.path.read_bytes()
    trainer.state.max_epochs = None
    trainer.run(task.batches, max_epochs=2)
    assert best.best == 1.0
    assert best.path.read_bytes() == written


# Inside epochs.


def by_iteration(trainer, values, every):
    """Validates every so many iterations, and finds the value of the iteration."""
    evaluator = Engine(lambda engine, batch: None)
    evaluator.add_event_handler(
        Events.COMPLETED, lambda: evaluator.state.metrics.update(loss=values[trainer.state.iteration])
    )
    return Validation(evaluator, [0], every_iterations=every)


INSIDE = [  # what, settings, iterations from one validation to the next, values by iteration, iterations written
    ("each is better", {}, 1, range(12, 0, -1), range(1, 13)),
    ("each is worse", {}, 1, range(12), [1]),
    ("the best is inside an epoch", {}, 1, [9, 9, 9, 9, 9, 3, 9, 9, 9, 9, 9, 9], [1, 6]),
    ("the best is at the end of an epoch", {}, 1, [9, 9, 9, 9, 9, 9, 9, 3, 9, 9, 9, 9], [1, 8]),
    ("what is not measured is not judged", {}, 3, [0, 0, 9, 0, 0, 8, 0, 0, 7, 0, 0, 6], [3, 6, 9, 12]),
    ("an epoch's last value is not judged at its end again", {}, 3, [0, 0, 9, 0, 0, 8, 0, 0, 9, 0, 0, 9], [3, 6]),
    ("NaN is never best", {}, 1, [NAN, 5, NAN, NAN, 4, *[NAN] * 7], [2, 5]),
    ("larger is better", {"mode": "max"}, 2, range(12), [2, 4, 6, 8, 10, 12]),
    ("too small a change", {"min_delta": 2.5}, 1, range(12, 0, -1), [1, 4, 7, 10]),
]


def inside(task, folder, values, every, **settings):
    """A trainer of ours, the best of its validations, and the iterations and weights of what was written."""
    trainer, written = task.trainer(), {}
    best = BestCheckpoint(folder / "best.pt", every_validation=True, **settings).attach(trainer)
    by_iteration(trainer, dict(enumerate(values, 1)), every).attach(trainer)

    def look(engine):
        if best.path.exists():
            contents = read_checkpoint(best.path)
            written[contents["run"]["progress"]["iteration"]] = dict(contents["model_state_dict"])

    trainer.add_event_handler(TrainEvents.RESUME_POINT, look)
    return trainer, best, written


@pytest.mark.parametrize(
    ("settings", "every", "values", "expected"), [c[1:] for c in INSIDE], ids=[c[0] for c in INSIDE]
)
def test_inside_epochs_the_best_is_written_on_improvement_only(task, tmp_path, settings, every, values, expected):
    trainer, best, written = inside(task, tmp_path, list(map(float, values)), every, **settings)
    weights = {}
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: weights.update({trainer.state.iteration: task.weights(trainer.model)})
    )
    trainer.run(task.batches, max_epochs=3)
    assert list(written) == list(expected)
    assert all(task.same(written[iteration], weights[iteration]) for iteration in written)
    last = list(expected)[-1]
    assert (best.best, best.best_iteration) == (values[last - 1], last)
    assert best.best_epoch == (last + 3) // 4


def test_without_being_asked_it_judges_epochs_only(task, tmp_path):
    trainer = task.trainer()
    by_iteration(trainer, dict(enumerate([1.0, 9.0, 8.0, 7.0] * 3, 1)), 1).attach(trainer)
    best = BestCheckpoint(tmp_path / "best.pt").attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert (best.best, best.best_epoch, best.best_iteration) == (7.0, 1, 4)


def test_inside_an_accumulation_window_it_is_written_at_the_windows_end(task, tmp_path):
    trainer = task.trainer(accumulation_steps=2)
    by_iteration(trainer, {iteration: 9.0 - iteration for iteration in range(1, 9)}, 3).attach(trainer)
    best = BestCheckpoint(tmp_path / "best.pt", every_validation=True).attach(trainer)
    files = []
    trainer.add_event_handler(
        TrainEvents.RESUME_POINT, lambda: files.append(best.path.exists() and read_checkpoint(best.path)["run"])
    )
    trainer.run(task.batches, max_epochs=2)
    assert [file and file["progress"]["iteration"] for file in files] == [False, 4, 6, 6]


def test_the_metric_is_read_once_for_each_validation_and_each_epoch(task, tmp_path):
    trainer, reads = task.trainer(), []

    def metric(engine):
        reads.append(engine.state.iteration)
        return -len(reads)

    BestCheckpoint(tmp_path / "best.pt", metric, every_validation=True).attach(trainer)
    by_iteration(trainer, dict.fromkeys(range(1, 13), 1.0), 3).attach(trainer)
    trainer.run(task.batches, max_epochs=3)
    assert reads == [3, 4, 6, 8, 9, 12]


def test_without_validations_inside_epochs_it_says_so_when_the_run_starts(task, tmp_path):
    trainer = task.scripted([1.0])
    BestCheckpoint(tmp_path / "best.pt", every_validation=True).attach(trainer)
    with pytest.raises(RuntimeError, match=r"needs validations inside epochs.*every_iterations=n.*leave every_valid"):
        trainer.run(task.batches, max_epochs=1)


@pytest.mark.parametrize("min_delta", [None, 0.0])
def test_an_epoch_before_the_start_of_early_stopping_is_never_the_best(task, tmp_path, min_delta):
    for every_validation in (True, False):
        trainer = task.trainer()
        by_iteration(trainer, dict(enumerate([1.0] * 4 + [9.0, 8.0, 7.0, 7.5] + [9.0] * 4, 1)), 1).attach(trainer)
        stopping = EarlyStopping(5, 0.0, verbose=False, start_from_epoch=2).attach(trainer)
        settings = {"min_delta": min_delta, "every_validation": every_validation}
        best = BestCheckpoint(tmp_path / "best.pt", **settings).attach(trainer)
        trainer.run(task.batches, max_epochs=3)
        assert (best.best, best.best_iteration) == ((7.0, 7) if every_validation else (7.5, 8))
        assert (stopping.best_loss, stopping.best_epoch) == (7.5, 2)  # it judges epochs


VALUES = [9, 7, 8, NAN, 6, 1, 5, 8, 4, 4, 3, 3, 4, 4, 2, 2]  # of four epochs: who forgets the 1 finds others later


@pytest.mark.parametrize("every", [1, 2, 3])
@pytest.mark.parametrize("accumulation_steps", [1, 2, 3])
@pytest.mark.parametrize("saver_first", [True, False])
def test_a_run_that_is_resumed_anywhere_ends_with_the_same_best_file(
    task, tmp_path, every, accumulation_steps, saver_first
):
    path = tmp_path / "best.pt"
    values = {iteration: float(value) for iteration, value in enumerate(VALUES, 1)}

    def make(saver=None):
        trainer = task.trainer(accumulation_steps=accumulation_steps)
        saver = None if saver is None else SaveInside(1, saver)
        if saver is not None and saver_first:
            saver.attach(trainer)
        NonFiniteGuard("skip").attach(trainer)
        BestCheckpoint(path, every_validation=True).attach(trainer)
        by_iteration(trainer, values, every).attach(trainer)
        EarlyStopping(9, 0.0, verbose=False).attach(trainer)
        if saver is not None and not saver_first:
            saver.attach(trainer)
        return trainer

    places = {}  # the run, and what the best file was when all of the place was saved

    def save(trainer):
        write_checkpoint(run_state(trainer), tmp_path / f"{trainer.state.iteration}.pt")

    def note(trainer):
        if trainer.progress.is_inside_epoch:
            places[trainer.state.iteration] = path.read_bytes() if path.exists() else None

    batches = [*task.batches[:3], task.nan_batch]
    whole = make(save)
    whole.add_event_handler(TrainEvents.RESUME_POINT, note)
    whole.run(batches, max_epochs=4)
    expected, expected_best = run_state(whole), read_checkpoint(path)
    assert len(places) >= 4
    for (iteration, best), same in product(places.items(), [False, True]):
        path.unlink(missing_ok=True)
        if best is not None:
            path.write_bytes(best)
        resumed = whole if same else make()
        restore_run(resumed, tmp_path / f"{iteration}.pt")
        resumed.run(batches, max_epochs=4)
        assert first_difference(expected["run"]["parts"], run_state(resumed)["run"]["parts"]) is None, iteration
        assert first_difference(expected_best, read_checkpoint(path)) is None, iteration


@pytest.mark.parametrize("end", [1, 2, 3, 5, 6, 7, 9, 10, 11, 13, 14, 15])
@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_a_run_that_ends_inside_a_window_judges_its_validations_when_they_are_repeated(
    task, tmp_path, end, accumulation_steps
):
    values = {iteration: float(value) for iteration, value in enumerate(VALUES, 1)}

    def make(folder):
        trainer = task.trainer(accumulation_steps=accumulation_steps)
        best = BestCheckpoint(folder / "best.pt", every_validation=True).attach(trainer)
        by_iteration(trainer, values, 1).attach(trainer)
        Checkpointing(folder, "last.pt").attach(trainer)
        return trainer, best

    (whole, expected), (first, _), (second, best) = make(tmp_path / "a"), make(tmp_path / "b"), make(tmp_path / "b")
    whole.run(task.batches, max_epochs=4)
    stop = first.add_event_handler(Events.ITERATION_COMPLETED(once=end), lambda: first.terminate())
    first.run(task.batches, max_epochs=4)
    restore_run(second, tmp_path / "b" / "last.pt")
    second.run(task.batches, max_epochs=4)
    assert best.state_dict() == expected.state_dict()
    assert first_difference(read_checkpoint(expected.path), read_checkpoint(best.path)) is None
    stop.remove()
    first.run(task.batches, max_epochs=4)  # and where the same trainer continues
    assert first.parts["best_checkpoint"].state_dict() == expected.state_dict()


@pytest.mark.parametrize("accumulation_steps", [1, 3])
def test_with_it_every_cut_is_resumed_exactly_also_with_averaged_weights(task, tmp_path, accumulation_steps):
    def make_run():
        trainer = task.trainer(accumulation_steps=accumulation_steps)
        ExponentialMovingAverage(0.9).attach(trainer)
        values = {iteration: float(value) for iteration, value in enumerate(VALUES, 1)}
        by_iteration(trainer, values, 2).attach(trainer)
        BestCheckpoint(tmp_path / "best.pt", every_validation=True).attach(trainer)
        EarlyStopping(9, 0.0, verbose=False).attach(trainer)
        return trainer, task.batches

    cuts = [(epoch, batch) for epoch in (1, 2, 3, 4) for batch in (1, 2, 3, 4)][:-1]
    report = check_resume(make_run, max_epochs=4, cuts=cuts)
    assert report.is_exact, str(report)

"""On an Engine of one's own what decides or records comes after what measures, or is refused; elsewhere both work."""

import pytest
import torch
from ignite.engine import Engine, Events
from ignite.metrics import Average

from ignite_recipes import (
    EarlyStopping,
    EpochAverages,
    History,
    LearningRateScheduler,
    TensorBoardLog,
    TrainingLog,
    Validation,
    make_resumable,
    parts_of,
)

MEASURES = {
    "EpochAverages": lambda: EpochAverages("train_"),
    "Validation": lambda: Validation(Engine(lambda engine, batch: None), [0]),
    "Validation of some epochs": lambda: Validation(Engine(lambda engine, batch: None), [0], every=2),
}
DECIDES = {
    "History": lambda optimizer, folder: History(["train_loss"]),
    "EarlyStopping": lambda optimizer, folder: EarlyStopping(2, restore_best_weights=False),
    "LearningRateScheduler": lambda optimizer, folder: LearningRateScheduler(optimizer, "plateau"),
    "TrainingLog": lambda optimizer, folder: TrainingLog(folder / "log.csv"),
    "TensorBoardLog": lambda optimizer, folder: TensorBoardLog(folder),
}
every_measure = pytest.mark.parametrize("measures", MEASURES)
every_decision = pytest.mark.parametrize("decides", DECIDES)


@pytest.fixture
def optimizer():
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)


def own_engine():
    return Engine(lambda engine, batch: {"loss": torch.tensor(float(batch[0]))})


@every_measure
@every_decision
def test_what_measures_is_refused_after_what_decides(decides, measures, optimizer, tmp_path):
    engine, measure = own_engine(), MEASURES[measures]()
    decide = DECIDES[decides](optimizer, tmp_path).attach(engine)
    before = {event: list(entries) for event, entries in engine._event_handlers.items() if entries}
    parts = list(parts_of(engine))
    with pytest.raises(RuntimeError) as told:
        measure.attach(engine)
    assert str(told.value).startswith(f"{measure!r} must be attached before {decide!r}: ")
    assert str(told.value).endswith(f"Attach {measure!r} first, then {decide!r}")
    assert {event: list(entries) for event, entries in engine._event_handlers.items() if entries} == before
    assert list(parts_of(engine)) == parts
    measure.attach(own_engine())  # it is as it was


@every_measure
@every_decision
def test_the_order_that_the_refusal_names_works(decides, measures, optimizer, tmp_path):
    engine = own_engine()
    EpochAverages("train_").attach(engine)
    MEASURES[measures]().attach(engine)
    DECIDES[decides](optimizer, tmp_path).attach(engine)


@every_measure
@every_decision
def test_on_a_trainer_of_ours_every_order_works(decides, measures, task, tmp_path):
    trainer = task.trainer()
    DECIDES[decides](trainer.optimizer, tmp_path).attach(trainer)
    MEASURES[measures]().attach(trainer)


def test_all_that_decide_already_are_named():
    engine = own_engine()
    History(["train_loss"]).attach(engine)
    EarlyStopping(2, restore_best_weights=False).attach(engine)
    with pytest.raises(RuntimeError, match=r"before History\(train_loss\), EarlyStopping\(.*\): on an engine"):
        EpochAverages("train_").attach(engine)


def test_a_schedule_without_a_metric_and_a_validation_inside_epochs_have_no_order(optimizer):
    engine = own_engine()
    LearningRateScheduler(optimizer, "cosine").attach(engine)
    EpochAverages("train_").attach(engine)
    History(["train_loss"]).attach(engine)
    Validation(Engine(lambda engine, batch: None), [0], every_iterations=1).attach(engine)


def test_what_was_removed_is_in_nobodys_way():
    engine = own_engine()
    history = History(["train_loss"]).attach(engine)
    engine.remove_event_handler(history, Events.EPOCH_COMPLETED)
    EpochAverages("train_").attach(engine)


def average_of_losses():
    return Average(output_transform=lambda output: output["loss"])


@every_decision
def test_a_metric_of_ignites_that_would_be_read_before_it_is_computed_is_refused_at_the_start(
    decides, optimizer, tmp_path
):
    engine = own_engine()
    decide = DECIDES[decides](optimizer, tmp_path).attach(engine)
    average_of_losses().attach(engine, "train_loss")
    trained = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: trained.append(0))
    with pytest.raises(RuntimeError) as told:
        engine.run([[1.0]])
    assert str(told.value).startswith(f"Average must be attached before {decide!r}")
    assert not trained


def test_a_metric_of_ignites_may_be_attached_before_what_reads_it_and_to_a_trainer_of_ours_anywhere(optimizer):
    engine = own_engine()
    average_of_losses().attach(engine, "train_loss")
    history = History(["train_loss"]).attach(engine)
    engine.run([[1.0], [3.0]])
    assert history.epochs["train_loss"] == [2.0]
    model = torch.nn.Linear(1, 1)
    trainer = make_resumable(
        own_engine(), {"model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1)}, seed=0
    )
    history = History(["train_loss"]).attach(trainer)
    average_of_losses().attach(trainer, "train_loss")
    trainer.run([[1.0], [3.0]])
    assert history.epochs["train_loss"] == [2.0]

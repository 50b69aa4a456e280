"""The Trainer: an experiment with all its files, that stops early, resumes exactly and forks."""

import math
import os
from pathlib import Path

import pytest
import torch
import yaml
from ignite.engine import Events
from support.commands import latest
from support.equality import equal, weights
from support.experiments import FILES, files_of
from support.models import perceptron
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ignite_recipes import (
    BaseDataset,
    CheckpointError,
    CheckpointManager,
    ExperimentBusyError,
    ExperimentManager,
    LearningRateScheduler,
    NonFiniteError,
    Trainer,
    read_checkpoint,
    read_training_log,
)

pytestmark = pytest.mark.usefixtures("in_an_empty_folder", "no_pictures")

DRAW = torch.Generator().manual_seed(1)
IMAGES = torch.rand(70, 1, 8, 8, generator=DRAW)
LABELS = (IMAGES[:, 0, :4].mean((1, 2)) > IMAGES[:, 0, 4:].mean((1, 2))).long()
TRAIN, VAL = TensorDataset(IMAGES[:50], LABELS[:50]), TensorDataset(IMAGES[50:], LABELS[50:])


def net(num_classes=2, dropout=0.1):
    return nn.Sequential(nn.Flatten(), *perceptron(64, 8, num_classes, seed=5, dropout=dropout))


def trainer(experiment=None, *, manager=True, model=None, schedule=None, lr=0.05, **settings):
    experiment = ExperimentManager() if experiment is None else experiment
    model = net() if model is None else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr)
    loaders = DataLoader(TRAIN, 8, shuffle=True), DataLoader(VAL, 8)
    settings = {"seed": 3, "checkpoint_manager": None, **settings}
    if manager:
        settings["checkpoint_manager"] = CheckpointManager(experiment.checkpoints_dir, 2)
    scheduler = None if schedule is None else schedule(optimizer)
    return Trainer(
        model,
        *loaders,
        nn.CrossEntropyLoss(),
        optimizer,
        torch.device("cpu"),
        experiment,
        scheduler=scheduler,
        **settings,
    )


def test_results_are_the_documented_ones_and_agree_with_each_other():
    t = trainer()
    results = t.train(5)
    assert list(results) == [
        "epochs_trained",
        "best_accuracy",
        "training_time",
        "history",
        "experiment_dir",
        "stopped_early",
        "best_epoch",
    ]
    history = results["history"]
    assert list(history) == ["train_loss", "train_accuracy", "val_loss", "val_accuracy", "learning_rate"]
    assert all(len(values) == 5 for values in history.values())
    assert results["best_accuracy"] == max(history["val_accuracy"]) == t.best_accuracy
    assert history["val_accuracy"].index(results["best_accuracy"]) + 1 == results["best_epoch"] == t.best_epoch
    assert t.epochs_without_improvement == 5 - t.best_epoch
    assert (results["epochs_trained"], results["stopped_early"]) == (5, False)
    assert results["experiment_dir"] == t.experiment_manager.experiment_dir == "runs/exp1"
    assert results["training_time"] > 0
    assert t.history == history


def test_the_model_comes_back_with_its_best_weights():
    t = trainer(lr=0.3)
    results = t.train(8)
    assert results["best_epoch"] < 8  # or there is nothing to see
    best = read_checkpoint("runs/exp1/checkpoints/best_model.pt")
    assert best["epoch"] == results["best_epoch"]
    assert equal(t.model.state_dict().values(), best["model_state_dict"].values())
    metrics, speed = t.validate()
    assert metrics["accuracy"] == results["best_accuracy"] == best["accuracy"]
    assert metrics["loss"] == best["loss"]
    assert metrics["total_samples"] == 20
    assert speed > 0


@pytest.mark.draws
def test_an_experiment_made_by_hand_has_all_its_files():
    trainer(seed=3, patience=4).train(4)
    assert files_of(Path("runs/exp1")) - {".lock"} == {*FILES, "checkpoints/epoch_2.pt", "checkpoints/epoch_4.pt"}
    config = yaml.safe_load(Path("runs/exp1/config.yaml").read_text())
    assert config["seed"] == 3
    assert config["patience"] == 4
    assert config["optimizer"] == "AdamW"
    assert config["optimizer_settings"]["lr"] == 0.05
    assert config["epochs"] == 4
    checkpoint = latest("exp1")
    documented = {"epoch", "model_state_dict", "optimizer_state_dict", "loss", "accuracy", "model_config"}
    assert documented <= set(checkpoint)
    assert read_training_log("runs/exp1/training_log.csv")["val_accuracy"] == checkpoint["history"]["val_accuracy"]


def test_settings_that_the_experiment_was_made_with_stay():
    trainer(ExperimentManager(settings={"colour": "red"})).train(1)
    assert yaml.safe_load(Path("runs/exp1/config.yaml").read_text()) == {"colour": "red"}


@pytest.mark.parametrize("manager", [True, False])
def test_it_stops_early_with_and_without_a_checkpoint_manager(manager):
    t = trainer(manager=manager, patience=2, lr=0.0)
    results = t.train(50)
    assert results["stopped_early"]
    assert (results["epochs_trained"], results["best_epoch"], t.epochs_without_improvement) == (3, 1, 2)
    assert t.train(60)["epochs_trained"] == 0
    assert bool(os.listdir("runs/exp1/checkpoints")) == manager


SCHEDULES = {
    "none": None,
    "per step": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.05, total_steps=6 * 7),
    "per epoch": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 6),
    "plateau": lambda o: torch.optim.lr_scheduler.ReduceLROnPlateau(o, "max", patience=0),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda epoch: 0.9**epoch),
    "ours": lambda o: LearningRateScheduler(o, "exp", gamma=0.8),
    "in a row": lambda o: torch.optim.lr_scheduler.SequentialLR(
        o,
        [torch.optim.lr_scheduler.ConstantLR(o, 0.5, 2), torch.optim.lr_scheduler.ExponentialLR(o, 0.5)],
        milestones=[2],
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in")  # torch's SequentialLR of its own parts
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_a_resumed_experiment_equals_the_uninterrupted_run(schedule):
    whole = trainer(schedule=schedule, patience=5)
    expected = whole.train(6)
    trainer(schedule=schedule, patience=5).train(3)
    resumed = trainer(ExperimentManager(resume_exp="exp2"), schedule=schedule, patience=5, seed=None)
    results = resumed.train(6, start_epoch=3)
    assert results["epochs_trained"] == expected["epochs_trained"] - 3
    for name in ("best_accuracy", "history", "stopped_early", "best_epoch"):
        assert results[name] == expected[name]
    assert equal(weights(resumed.model), weights(whole.model))
    first, second = latest("exp1"), latest("exp2")
    assert equal(first["model_state_dict"].values(), second["model_state_dict"].values())
    assert read_training_log("runs/exp1/training_log.csv")["train_loss"] == second["history"]["train_loss"]


def test_the_learning_rate_per_step_and_per_epoch_is_torchs():
    for name, steps in (("per step", 7), ("per epoch", 1)):
        optimizer = torch.optim.SGD(net().parameters(), lr=0.05)
        reference, expected = SCHEDULES[name](optimizer), []
        for _ in range(4):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            for _ in range(steps):
                reference.step()
        assert trainer(schedule=SCHEDULES[name]).train(4)["history"]["learning_rate"] == expected


def test_a_start_after_the_checkpoint_is_corrected_and_said(caplog):
    expected = trainer().train(4)["history"]
    trainer().train(2)
    results = trainer(ExperimentManager(resume_exp="exp2")).train(4, start_epoch=3)  # the log was ahead of a kill
    assert results["history"] == expected
    assert "continues after epoch 2" in caplog.text


def test_a_second_call_continues_after_the_first():
    whole = trainer()
    whole.train(4)
    t = trainer()
    assert t.train(2)["epochs_trained"] == 2
    assert t.train(4)["epochs_trained"] == 2
    assert t.history == whole.history
    assert equal(weights(t.model), weights(whole.model))


def test_a_finished_experiment_returns_its_result_and_trains_nothing():
    expected = trainer().train(3)
    t = trainer(ExperimentManager(resume_exp="exp1"))
    results = t.train(3)
    assert results["epochs_trained"] == 0
    assert results["history"] == expected["history"]
    assert results["best_epoch"] == expected["best_epoch"]
    with pytest.raises(ValueError, match="must be at least 3"):
        trainer(ExperimentManager(resume_exp="exp1")).train(2)


def test_without_checkpoints_epochs_are_counted_from_the_start_that_is_given():
    t = trainer(manager=False)
    results = t.train(5, start_epoch=3)
    assert results["epochs_trained"] == 2
    assert read_training_log("runs/exp1/training_log.csv")["epoch"] == [4, 5]
    assert results["best_epoch"] in (4, 5)


def test_the_history_is_loaded_from_the_log():
    assert trainer().load_history_from_log() == 0
    results = trainer(ExperimentManager(resume_exp="exp1")).train(4)
    t = trainer(ExperimentManager(resume_exp="exp1"))
    assert t.load_history_from_log() == 4
    assert t.history == results["history"]
    assert (t.best_accuracy, t.best_epoch) == (results["best_accuracy"], results["best_epoch"])
    assert t.train(5)["history"]["val_loss"][:4] == results["history"]["val_loss"]


def test_a_fork_begins_with_the_best_weights_and_with_settings_of_its_own():
    source = trainer(lr=0.3)
    source.train(4)
    t = trainer(ExperimentManager(fork_exp="exp1"), lr=0.0, seed=9, model=net(dropout=0.0))
    results = t.train(2)
    assert results["experiment_dir"] == "runs/exp2"
    assert results["epochs_trained"] == 2
    assert equal(weights(t.model), weights(source.model))
    assert results["best_accuracy"] == source.best_accuracy
    config = yaml.safe_load(Path("runs/exp2/config.yaml").read_text())
    assert (config["forked_from"], config["seed"], config["epochs"]) == ("exp1", 9, 2)
    assert config["optimizer_settings"]["lr"] == 0.0
    with pytest.raises(CheckpointError, match="another architecture"):
        trainer(ExperimentManager(fork_exp="exp1"), model=net(num_classes=3)).train(1)


def test_resuming_or_forking_what_has_no_checkpoint_yet_starts_from_the_beginning():
    expected = trainer().train(2)["history"]
    ExperimentManager()
    assert trainer(ExperimentManager(resume_exp="exp2")).train(2)["history"] == expected
    ExperimentManager()
    assert trainer(ExperimentManager(fork_exp="exp3")).train(2)["history"] == expected


def test_an_experiment_is_trained_by_one_at_a_time():
    t = trainer()
    other = trainer(ExperimentManager(resume_exp="exp1"))

    @t.engine.on(Events.EPOCH_COMPLETED)
    def try_to_train_it():
        with pytest.raises(ExperimentBusyError):
            other.train(2)

    t.train(1)
    assert other.train(2)["epochs_trained"] == 1


class Transforms:
    """Counts what the Trainer asks of a data set."""

    def __init__(self):
        self.epochs = []

    def reapply_transforms(self, epoch):
        self.epochs.append(epoch)


def test_the_data_set_draws_new_transforms_before_every_epoch():
    dataset = Transforms()
    t = trainer(dataset=dataset)
    t.train(3)
    t.train_epoch(7)
    assert dataset.epochs == [1, 2, 3, 7]
    with pytest.raises(TypeError, match="reapply_transforms"):
        trainer(dataset=VAL)


def test_new_transforms_every_epoch_are_reproducible_and_resume_exactly():
    def run(experiment, epochs, reapply=True):
        images = (IMAGES * 255).to(torch.uint8)
        dataset = BaseDataset(images[:50], LABELS[:50], images[50:], LABELS[50:], transform="affine", name="halves")
        model = net()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        t = Trainer(
            model,
            *dataset.get_dataloaders(8),
            nn.CrossEntropyLoss(),
            optimizer,
            "cpu",
            experiment,
            CheckpointManager(experiment.checkpoints_dir),
            dataset=dataset if reapply else None,
            seed=1,
        )
        return t.train(epochs)["history"]

    whole = run(ExperimentManager(), 4)
    assert run(ExperimentManager(), 2)["train_loss"] == whole["train_loss"][:2]
    assert run(ExperimentManager(resume_exp="exp2"), 4) == whole
    assert run(ExperimentManager(), 4, reapply=False) != whole


def test_by_hand_an_epoch_and_a_validation_give_metrics_and_speed():
    t = trainer()
    losses = []
    for epoch in range(4):
        metrics, speed = t.train_epoch(epoch)
        assert set(metrics) == {"loss", "accuracy", "total_samples"}
        assert metrics["total_samples"] == 50
        assert speed > 0
        losses.append(metrics["loss"])
    assert losses[-1] < losses[0]
    other = trainer()
    assert [other.train_epoch(epoch)[0]["loss"] for epoch in range(4)] == losses
    assert t.history["train_loss"] == []
    assert not os.listdir("runs/exp1/checkpoints")


def test_validation_is_a_mean_over_samples_of_the_model_in_evaluation_mode():
    t = trainer(model=net(dropout=0.9))
    t.model.train()
    metrics, _ = t.validate()
    assert t.model.training
    t.model.eval()
    outputs = t.model(VAL.tensors[0])
    assert metrics["loss"] == pytest.approx(nn.functional.cross_entropy(outputs, VAL.tensors[1]).item(), rel=1e-6)
    assert metrics["accuracy"] == 100 * (outputs.argmax(1) == VAL.tensors[1]).sum().item() / 20


def test_looking_changes_nothing():
    alone = trainer(manager=False)
    alone.train(3)
    watched = trainer(verbose=True, progress=True, save_every_iterations=2)
    watched.train(3)
    assert equal(weights(alone.model), weights(watched.model))
    assert alone.history == watched.history


def test_a_plateau_that_contradicts_early_stopping_is_refused():
    def falling(optimizer):
        return torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, "min")

    with pytest.raises(ValueError, match="same metric in the same direction"):
        trainer(schedule=falling, patience=3)
    trainer(schedule=falling).train(1)


def test_a_plateau_of_mode_max_keeps_the_rate_while_accuracy_rises_or_stays(monkeypatch):
    seen = []
    step = torch.optim.lr_scheduler.ReduceLROnPlateau.step
    monkeypatch.setattr(
        torch.optim.lr_scheduler.ReduceLROnPlateau,
        "step",
        lambda self, value: (seen.append(value), step(self, value))[1],
    )
    t = trainer(schedule=SCHEDULES["plateau"])
    t.train(4)
    assert seen == t.history["val_accuracy"]


MISTAKES = {
    "no epochs": (lambda: trainer().train(0), "epochs must be a whole number"),
    "an end before the start": (lambda: trainer().train(2, start_epoch=3), "must be at least start_epoch, 3; got 2"),
    "a negative start": (lambda: trainer().train(2, start_epoch=-1), "start_epoch must be"),
    "negative patience": (lambda: trainer(patience=-1), "patience must be"),
    "a precision there is none of": (lambda: trainer(precision="float8"), "precision must be one of"),
    "too few outputs": (lambda: trainer(model=net(num_classes=1)).train(1), "class labels must be from 0 to 0"),
    "another policy": (lambda: trainer(non_finite="hope"), "non_finite must be one of"),
    "a device there is none of": (
        lambda: Trainer(net(), [], [], nn.CrossEntropyLoss(), None, "abacus", ExperimentManager()),
        "device must be",
    ),
    "another run's seed": (
        lambda: (trainer().train(1), trainer(ExperimentManager(resume_exp="exp1"), seed=4).train(2)),
        "seed must be that of the run",
    ),
    "another patience": (
        lambda: (trainer().train(1), trainer(ExperimentManager(resume_exp="exp1"), patience=4).train(2)),
        "patience is 4, the run's is 0",
    ),
}


@pytest.mark.parametrize("make", [make for make, _ in MISTAKES.values()], ids=MISTAKES)
def test_mistakes_are_named(make):
    message = next(message for known, message in MISTAKES.values() if known is make)
    with pytest.raises(ValueError, match=message):
        make()


def test_a_nan_in_the_data_is_an_error_and_the_weights_stay_finite():
    t = trainer()
    bad = TensorDataset(torch.full((8, 1, 8, 8), math.nan), torch.zeros(8, dtype=torch.int64))
    t.train_loader = DataLoader(bad, 8)
    with pytest.raises(NonFiniteError):
        t.train(1)
    assert all(value.isfinite().all() for value in weights(t.model))


class Centres(nn.Module):
    """Cross-entropy and a pull towards a learned centre of each class (Wen et al., 2016)."""

    def __init__(self):
        super().__init__()
        self.centres = nn.Parameter(torch.zeros(2, 2))

    def forward(self, outputs, labels):
        return nn.functional.cross_entropy(outputs, labels) + (outputs - self.centres[labels]).square().mean()


def test_a_criterion_with_parameters_must_be_the_optimizers_too():
    def a_trainer(name, *, together, resume=None):
        model, criterion = net(), Centres()
        optimizer = torch.optim.SGD([*model.parameters(), *(criterion.parameters() if together else ())], lr=0.1)
        experiment = ExperimentManager(base_dir=name, resume_exp=resume)
        manager = CheckpointManager(experiment.checkpoints_dir)
        loaders = DataLoader(TRAIN, 8, shuffle=True), DataLoader(VAL, 8)
        return criterion, Trainer(model, *loaders, criterion, optimizer, "cpu", experiment, manager, seed=3)

    with pytest.raises(ValueError, match="the optimizer must train the criterion's parameters too; got 1"):
        a_trainer("refused", together=False)
    centres, whole = a_trainer("whole", together=True)
    whole.train(4)
    assert centres.centres.abs().sum() > 0
    a_trainer("cut", together=True)[1].train(2)
    resumed_centres, resumed = a_trainer("cut", together=True, resume="exp1")
    resumed.train(4)
    assert torch.equal(resumed_centres.centres, centres.centres)


def test_a_second_trainer_on_an_experiment_with_results_is_refused_and_nothing_is_lost():
    first = trainer()
    first.train(2)
    folder = Path(first.experiment_manager.experiment_dir)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.name != "run.log"}
    with pytest.raises(ExperimentBusyError, match=r"holds the results of a run already.*resume_exp='exp1'"):
        trainer(first.experiment_manager).train(2)
    assert {path: path.read_bytes() for path in before} == before


def saved_by_a_loop(folder, kind):
    """What a loop by hand has left in an experiment: by the documented manager, by other code, or as a state dict."""
    experiment = ExperimentManager()
    model = net()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05)
    for _ in range(3):
        nn.CrossEntropyLoss()(model(IMAGES), LABELS).backward()
        optimizer.step()
    path = Path(experiment.checkpoints_dir) / "latest_checkpoint.pt"
    if kind == "manager":
        CheckpointManager(experiment.checkpoints_dir).save_latest_checkpoint(model, optimizer, 3, 0.5, 80.0)
    elif kind == "other code":
        torch.save({"epoch": 3, "model_state_dict": model.state_dict(), "accuracy": 80.0}, path)
    else:
        torch.save(model.state_dict(), path)
    return path, model


@pytest.mark.parametrize("kind", ["manager", "other code", "state dict"])
def test_weights_of_a_loop_by_hand_are_trained_on_by_the_documented_calls(tmp_path, kind, caplog):
    path, trained = saved_by_a_loop(tmp_path, kind)
    experiment, model = ExperimentManager(resume_exp="exp1"), net()
    manager = CheckpointManager(experiment.checkpoints_dir)
    manager.load_checkpoint(path, model)
    assert equal(weights(model), weights(trained))
    results = trainer(experiment, model=model).train(epochs=5, start_epoch=3)
    assert results["epochs_trained"] == 2
    assert read_training_log("runs/exp1/training_log.csv")["epoch"] == [4, 5]
    assert "after epoch 3" in caplog.text


def test_without_a_word_where_to_start_weights_alone_are_no_run_to_resume(tmp_path):
    saved_by_a_loop(tmp_path, "manager")
    with pytest.raises(CheckpointError, match=r"none of the 1 checkpoints.*is of a whole run.*load_checkpoint"):
        trainer(ExperimentManager(resume_exp="exp1")).train(5)

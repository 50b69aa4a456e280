"""A mistake is refused where it is made: the message says what must be true and was got, and nothing is touched."""

import numpy as np
import pandas as pd
import pytest
import torch
from ignite.engine import Engine
from torch import nn
from torch.optim import SGD
from torch.utils.data import TensorDataset

import ignite_recipes as recipes
from ignite_recipes import (
    BaseDataset,
    CheckpointError,
    CheckpointManager,
    DataAugmentation,
    ExperimentManager,
    LearningRateScheduler,
    VariationalAutoencoder,
    create_evaluator,
    create_trainer,
    getDefaultModelParams,
    load_checkpoint,
    load_traffic_csv,
    make_traffic_windows,
    restore_run,
    run_state,
    save_checkpoint,
    send_on_delta,
    split_train_val,
    train_model_advanced,
    train_variational_autoencoder,
    trainModel,
)

DRAW = torch.Generator().manual_seed(0)
ROWS = torch.rand(12, 6, generator=DRAW).round()
INPUTS = torch.randn(12, 4, generator=DRAW)
TARGETS = INPUTS.sum(1, keepdim=True)
CLASSES = (TARGETS[:, 0] > 0).long()
IMAGES, LABELS = torch.rand(24, 1, 8, 8, generator=DRAW), torch.arange(24) % 2
WINDOWS = make_traffic_windows(torch.rand(40, 2, generator=DRAW), torch.ones(40), 6, 3)
NAN = float("nan")


class WithoutParameters(nn.Module):
    def forward(self, x):
        return x


def net(outputs=1):
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, outputs))


def adam_of(model):
    return torch.optim.Adam(model.parameters())


def squared(model, inputs, batch):
    return {"loss": (model(inputs) - batch[1]).square().mean()}


def a_trainer(loss_fn=squared, outputs=1, **settings):
    model = net(outputs)
    return create_trainer(model, SGD(model.parameters(), lr=0.1), loss_fn, **{"seed": 1, **settings})


def run(handler=None, loss_fn=squared, batches=((INPUTS, TARGETS),), **settings):
    trainer = a_trainer(loss_fn)
    if handler is not None:
        handler.attach(trainer, **settings)
    trainer.run(list(batches), max_epochs=1)


def an_evaluator():
    return create_evaluator(net(), squared)


def written(path, contents):
    path.write_bytes(contents) if isinstance(contents, bytes) else path.write_text(contents)
    return path


def weights_of(model, folder):
    save_checkpoint(model, None, 1, 0.0, 0.0, folder / "weights.pt")
    return folder / "weights.pt"


def run_of(trainer, folder):
    recipes.write_checkpoint(run_state(trainer), folder / "run.pt")
    return folder / "run.pt"


def optimizer():
    return SGD(nn.Linear(1, 1).parameters(), lr=0.1)


# The recipes: what is handed over instead of what is right, by the name of the argument.

VAE = {
    "epochs in words": ({"num_epochs": "3"}, ValueError, "num_epochs must be a whole number.*got '3'"),
    "rate in words": ({"learning_rate": "0.1"}, ValueError, "learning_rate must be a positive.*got '0.1'"),
    "no rate": ({"learning_rate": None}, ValueError, "learning_rate must be a positive.*got None"),
    "infinite rate": ({"learning_rate": float("inf")}, ValueError, "learning_rate must be .*got inf"),
    "noise in words": ({"noise_std": "0.1"}, ValueError, "noise_std must not be negative.*got '0.1'"),
    "no noise": ({"noise_std": None}, ValueError, "noise_std must not be negative.*got None"),
    "a device that is none": ({"device": "gpu"}, ValueError, "device must be 'cpu'.*got 'gpu'"),
    "a number for a device": ({"device": 3.5}, ValueError, "device must be 'cpu'.*got 3.5"),
    "seed in words": ({"seed": "lucky"}, ValueError, "seed must be a whole number.*got 'lucky'"),
    "half a seed": ({"seed": 1.5}, ValueError, "seed must be a whole number.*got 1.5"),
    "half an epoch of patience": ({"patience": 1.5}, ValueError, "patience must be a whole number.*got 1.5"),
    "norm in words": ({"max_grad_norm": "1"}, ValueError, "max_norm must be positive.*got '1'"),
    "window in words": ({"accumulation_steps": "2"}, ValueError, "accumulation_steps must be a whole.*got '2'"),
    "a dtype for its name": ({"precision": torch.float16}, ValueError, "precision must be one of.*torch.float16"),
    "an average that never moves": ({"ema_decay": 1.0}, ValueError, r"decay must be in \[0, 1\).*got 1.0"),
    "decay in words": ({"ema_decay": "0.9"}, ValueError, r"decay must be in \[0, 1\).*got '0.9'"),
    "decay nan": ({"ema_decay": NAN}, ValueError, r"decay must be in \[0, 1\).*got nan"),
    "no policy": ({"non_finite": None}, ValueError, "non_finite must be one of.*got None"),
    "a handler's class": (
        {"handlers": [recipes.EpochAverages]},
        TypeError,
        "must be an object; got the class EpochAverages: call it",
    ),
    "one handler for a list": (
        {"handlers": recipes.EpochAverages("x_")},
        TypeError,
        "must be a list of handlers; got EpochAverages",
    ),
    "no list of handlers": ({"handlers": None}, TypeError, "must be a list of handlers; got None"),
    "a function for a handler": (
        {"handlers": [print]},
        TypeError,
        r"must have a method attach\(trainer\); got <built-in",
    ),
    "no loader": ({"train_loader": None}, TypeError, "train_loader must be .*got None"),
    "a number for a loader": ({"train_loader": 3}, TypeError, "must be a loader.*got int"),
    "an iterator": ({"train_loader": iter([ROWS])}, TypeError, "again for every epoch; got a list_iter"),
    "an iterator to validate on": ({"val_loader": iter([ROWS])}, TypeError, "again for every epoch; got a list_iter"),
    "a number to validate on": ({"val_loader": 3}, TypeError, "val_loader must be a loader.*got int"),
    "arrays": ({"train_loader": [ROWS.numpy()]}, ValueError, "must be a tensor of shape.*got ndarray"),
    "words": ({"train_loader": [["a"]]}, ValueError, "must be a tensor of shape.*got str"),
    "counts": ({"train_loader": [(ROWS * 3).long()]}, ValueError, r"must be in \[0, 1\]; got 3"),
    "a narrow second batch": ({"train_loader": [ROWS[:, :4]]}, ValueError, "the model's 6 features; got 4"),
}

ADVANCED = {
    "inputs alone": ({"train_loader": [INPUTS]}, ValueError, r"must be \(inputs, targets\).*got Tensor"),
    "targets in a list": ({"train_loader": [(INPUTS, [1, 2])]}, ValueError, "targets a tensor; got"),
    "two columns for one": (
        {"train_loader": [(INPUTS, TARGETS.repeat(1, 2))]},
        ValueError,
        r"must have one.*\(12, 2\)",
    ),
    "fewer targets": ({"train_loader": [(INPUTS, TARGETS[:5])]}, ValueError, r"must have one shape.*\(5, 1\)"),
    "labels above": ({"train_loader": [(INPUTS, CLASSES + 9)]}, ValueError, "labels must be from 0 to 0.*got 9 to 10"),
    "labels below": ({"train_loader": [(INPUTS, CLASSES - 1)]}, ValueError, "labels must be from 0 to 0.*got -1"),
    "labels of another rank": (
        {"train_loader": [(INPUTS, CLASSES[:, None] * 0)]},
        ValueError,
        r"labels \(N, ...\); got \(12, 1\) and \(12, 1\)",
    ),
    "NaN in the inputs": ({"train_loader": [(INPUTS * NAN, TARGETS)]}, recipes.NonFiniteError, "the loss is nan"),
    "a device of numbers": ({"device": [0.5] * 20_000}, ValueError, "device must be .*got .0.5, 0.5, 0.5, 0.5, ...."),
    "a criterion's class": ({"criterion": nn.MSELoss}, TypeError, "criterion must be called.*got <class"),
    "a criterion's name": ({"criterion": "mse"}, TypeError, "criterion must be called.*got 'mse'"),
    "a loss a sample": (
        {"criterion": nn.MSELoss(reduction="none")},
        TypeError,
        r"a single number.*got shape \(12, 1\)",
    ),
    "a loss that is a float": ({"criterion": lambda a, b: 0.5}, TypeError, "a single number.*got float"),
    "a detached loss": ({"criterion": lambda a, b: a.detach().mean()}, TypeError, "must depend on the model's weights"),
    "no schedule of that name": (
        {"scheduler_type": "linear"},
        ValueError,
        "scheduler_type must be one of.*got 'linear'",
    ),
    "a negative norm": ({"gradient_clip": -1.0}, ValueError, "max_norm must be positive.*got -1.0"),
    "no patience": ({"early_stop_patience": 0}, ValueError, "patience must be a whole.*got 0"),
    "epochs nan": ({"epochs": NAN}, ValueError, "epochs must be a whole number.*got nan"),
    "an abacus": ({"device": "abacus"}, ValueError, "device must be.*got 'abacus'"),
    "nothing to train on": ({"train_loader": []}, ValueError, "at least one batch; got an empty one"),
    "nothing to validate on": ({"val_loader": []}, ValueError, "at least one batch; got an empty one"),
}

TRAFFIC = {
    "a misspelt name": (
        {"learing_rate": 1},
        ValueError,
        "unknown parameter 'learing_rate'; did you mean 'learning_rate'",
    ),
    "batches of none": ({"batch_size": 0}, ValueError, "batch_size must be a whole number.*got 0"),
    "rate nan": ({"learning_rate": NAN}, ValueError, "learning_rate must be a positive number; got nan"),
    "dropout above 1": ({"dropout_rate": 1.5}, ValueError, "dropout_rate must be a probability.*got 1.5"),
    "dropout in words": ({"dropout_rate": "a"}, ValueError, "dropout_rate must be a probability.*got 'a'"),
    "a step of no epoch": ({"scheduler_step_size": 0}, ValueError, "scheduler_step_size must be a whole.*got 0"),
    "a negative weight": ({"lambda_context": -1.0}, ValueError, "lambda_context must be a number.*got -1.0"),
    "a weight nan": ({"lambda_context": NAN}, ValueError, "lambda_context must be a number.*got nan"),
    "decay in words": ({"weight_decay": "a"}, ValueError, "weight_decay must be a number.*got 'a'"),
    "another window": ({"len_source": 7}, ValueError, "must be .*got .*7"),
    "no class": ({"num_classes": 2}, ValueError, "num_classes at least one more; got 3 and 2"),
    "clip in words": ({"gradient_clip": "a"}, ValueError, "max_norm must be positive.*got 'a'"),
}

IMAGE = {
    "an optimizer's class": ({"optimizer": SGD}, TypeError, "optimizer must be a torch.optim.Optimizer.*the class SGD"),
    "an optimizer's name": ({"optimizer": "sgd"}, TypeError, "optimizer must be a torch.optim.Optimizer.*got str"),
    "another model's optimizer": ({"optimizer": optimizer()}, ValueError, "must have parameters of the model"),
    "a device of numbers": ({"device": [0.5] * 20_000}, ValueError, "device must be .*got .0.5, 0.5, 0.5, 0.5, ...."),
    "a criterion's class": ({"criterion": nn.CrossEntropyLoss}, TypeError, "criterion must be called.*got <class"),
    "no loader": ({"train_loader": None}, TypeError, "train_loader must be.*got None"),
    "nothing to validate with": ({"val_loader": None}, TypeError, "val_loader must be.*got None"),
    "a folder for an experiment": ({"experiment_manager": "runs"}, TypeError, "ExperimentManager; got 'runs'"),
    "a folder for a manager": ({"checkpoint_manager": "x"}, TypeError, "CheckpointManager, or None; got 'x'"),
    "a schedule's class": (
        {"scheduler": torch.optim.lr_scheduler.StepLR},
        TypeError,
        "scheduler_type must be one of.*got the class StepLR: make one",
    ),
    "a data set without transforms": (
        {"dataset": TensorDataset(IMAGES)},
        TypeError,
        "reapply_transforms.*TensorDataset",
    ),
    "negative patience": ({"patience": -1}, ValueError, "patience must be.*got -1"),
    "labels above": ({"train_loader": [(IMAGES, LABELS + 1)]}, ValueError, "labels must be from 0 to 1.*got 1 to 2"),
    "an iterator": ({"train_loader": iter([(IMAGES, LABELS)])}, TypeError, "again for every epoch; got a list_iter"),
}


def unchanged(model, call, error, message):
    """Check that ``call`` is refused with this message and the model is as it was, to the last bit."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(error, match=f"(?s){message}"):
        call()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize(("settings", "error", "message"), VAE.values(), ids=VAE)
def test_the_vae_recipe_refuses(settings, error, message):
    model = VariationalAutoencoder(6, 2, 4)
    arguments = {"train_loader": [ROWS], "val_loader": [ROWS], "num_epochs": 1, "seed": 1, **settings}
    unchanged(model, lambda: train_variational_autoencoder(model, **arguments), error, message)


@pytest.mark.parametrize(("settings", "error", "message"), ADVANCED.values(), ids=ADVANCED)
def test_the_supervised_recipe_refuses(settings, error, message):
    model = net()
    data = {"train_loader": [(INPUTS, TARGETS)], "val_loader": None, "epochs": 1, "seed": 1, "verbose": False}
    unchanged(model, lambda: train_model_advanced(model, **{**data, **settings}), error, message)


def test_labels_beyond_the_outputs_are_found_in_validation_too():
    with pytest.raises(ValueError, match=r"labels must be from 0 to 1.*got 1 to 2"):
        train_model_advanced(net(2), [(INPUTS, CLASSES)], [(INPUTS, CLASSES + 1)], epochs=1, verbose=False)


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int32])
def test_labels_of_every_whole_type_are_welcome(kind):
    result = train_model_advanced(net(2), [(INPUTS, CLASSES.to(kind))], epochs=1, verbose=False, seed=1)
    assert len(result["history"]["train_accuracy"]) == 1


@pytest.mark.parametrize(("changed", "error", "message"), TRAFFIC.values(), ids=TRAFFIC)
def test_the_traffic_recipe_refuses(changed, error, message):
    parameters = getDefaultModelParams(6, 3, WINDOWS, batch_size=16)
    parameters |= {"hidden_size": 4, "num_layers": 1, "num_epochs": 1, "save_checkpoints": False, **changed}
    with pytest.raises(error, match=f"(?s){message}"):
        trainModel(parameters, WINDOWS, WINDOWS, False)


@pytest.mark.parametrize(("settings", "error", "message"), IMAGE.values(), ids=IMAGE)
def test_the_trainer_refuses(tmp_path, settings, error, message):
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 2))
    given = {
        "train_loader": [(IMAGES, LABELS)],
        "val_loader": [(IMAGES, LABELS)],
        "criterion": nn.CrossEntropyLoss(),
        "optimizer": SGD(model.parameters(), lr=0.1),
        "device": "cpu",
        "experiment_manager": ExperimentManager(str(tmp_path)),
        **settings,
    }
    unchanged(model, lambda: recipes.Trainer(model, **given).train(1), error, message)


MODELS = {
    "a number": (3, TypeError, "model must be a torch.nn.Module; got int"),
    "a class": (VariationalAutoencoder, TypeError, "got the class VariationalAutoencoder: call it"),
    "no parameter": (WithoutParameters(), ValueError, "must have a parameter to train; got none"),
    "all frozen": (net().requires_grad_(False), ValueError, "must have a parameter to train; got none"),
}


@pytest.mark.parametrize(("model", "error", "message"), MODELS.values(), ids=MODELS)
def test_what_cannot_be_trained_is_refused(model, error, message):
    calls = (
        lambda: train_variational_autoencoder(model, [ROWS], None, num_epochs=1),
        lambda: train_model_advanced(model, [(INPUTS, TARGETS)], epochs=1, verbose=False),
        lambda: create_trainer(model, optimizer(), squared),
    )
    for call in calls:
        with pytest.raises(error, match=message):
            call()


# Everything else that is public: a word, the call (of an empty folder), the error and what its message says.

CASES = {
    "create_trainer: no loss": (lambda p: a_trainer(None), TypeError, "loss_fn must be called as.*got None"),
    "create_trainer: another model's": (
        lambda p: create_trainer(net(), optimizer(), squared),
        ValueError,
        "another model's",
    ),
    "create_trainer: no window": (lambda p: a_trainer(accumulation_steps=0), ValueError, "at least 1; got 0"),
    "create_trainer: a float": (lambda p: run(loss_fn=lambda *_: 0.5), TypeError, "must return a dict.*got float"),
    "create_trainer: no 'loss'": (lambda p: run(loss_fn=lambda *_: {"mse": 1}), TypeError, "must return a dict"),
    "create_trainer: (N, 1)": (
        lambda p: run(loss_fn=lambda m, x, b: {"loss": m(x)}),
        TypeError,
        r"got shape \(12, 1\)",
    ),
    "create_trainer: no data": (lambda p: run(batches=[]), ValueError, "at least one batch; got an empty one"),
    "create_trainer: no batch": (lambda p: run(batches=[None]), TypeError, "must hold a tensor.*got NoneType"),
    "create_trainer: no epoch": (lambda p: a_trainer().run([1], max_epochs=0), ValueError, "at least 1; got 0"),
    "create_evaluator: no model": (lambda p: create_evaluator(None, squared), TypeError, "nn.Module; got NoneType"),
    "create_evaluator: no loss": (lambda p: create_evaluator(net(), None), TypeError, "loss_fn must be .*got None"),
    "create_evaluator: iterator": (lambda p: an_evaluator().run(iter([])), TypeError, "got a list_iterator"),
    "BestCheckpoint: no metric": (lambda p: run(recipes.BestCheckpoint(p / "b.pt"), metric=1), TypeError, "metric"),
    "BestCheckpoint: a typo": (
        lambda p: run(recipes.BestCheckpoint(p / "b.pt", "val_los")),
        RuntimeError,
        "'val_los' must be in",
    ),
    "BestCheckpoint: mode": (lambda p: recipes.BestCheckpoint(p, mode="up"), ValueError, "'min' or 'max'; got 'up'"),
    "Checkpointing: every 0": (
        lambda p: recipes.Checkpointing(p, every=0),
        ValueError,
        "of epochs, at least 1; got 0",
    ),
    "Checkpointing: every '1'": (lambda p: recipes.Checkpointing(p, every="1"), ValueError, "at least 1; got '1'"),
    "Checkpointing: keep 0": (lambda p: recipes.Checkpointing(p, keep=0), ValueError, "at least one file.*got 0"),
    "Checkpointing: a field": (lambda p: recipes.Checkpointing(p, "{step}.pt"), ValueError, "epoch.*got '{step}.pt'"),
    "DataAugmentation: kind": (lambda p: DataAugmentation().attach(a_trainer(), "audio"), ValueError, "got 'audio'"),
    "DataAugmentation: array": (
        lambda p: DataAugmentation().augment_audio_features(INPUTS.numpy()),
        TypeError,
        "must be a tensor; got ndarray",
    ),
    "DataAugmentation: counts": (
        lambda p: DataAugmentation().augment_audio_features(INPUTS.long()),
        TypeError,
        "floating point data; got torch.int64",
    ),
    "EarlyStopping: patience": (lambda p: recipes.EarlyStopping("3"), ValueError, "whole number.*got '3'"),
    "EarlyStopping: min_delta": (
        lambda p: recipes.EarlyStopping(min_delta=NAN),
        ValueError,
        "not be negative.*got nan",
    ),
    "EarlyStopping: mode": (lambda p: recipes.EarlyStopping(mode="down"), ValueError, "'max'; got 'down'"),
    "EarlyStopping: no model": (
        lambda p: recipes.EarlyStopping().attach(Engine(lambda engine, batch: None)),
        RuntimeError,
        r"set_model\(model\)",
    ),
    "EarlyStopping: a typo": (lambda p: run(recipes.EarlyStopping(), metric="loss"), RuntimeError, "'loss' must be in"),
    "EMA: above 1": (lambda p: recipes.ExponentialMovingAverage(1.5), ValueError, "decay must be in.*got 1.5"),
    "EMA: no model": (lambda p: recipes.ExponentialMovingAverage().update(), RuntimeError, r"set_model\(model\) first"),
    "GradientClipper: 0": (lambda p: recipes.GradientClipper(0), ValueError, "max_norm must be positive.*got 0"),
    "GradientClipper: None": (lambda p: recipes.GradientClipper(None), ValueError, "must be positive.*got None"),
    "GradientClipper: 0-norm": (lambda p: recipes.GradientClipper(1, 0), ValueError, "norm_type must be .*got 0"),
    "GradientClipCallback: model": (
        lambda p: recipes.GradientClipCallback().on_after_backward(),
        RuntimeError,
        r"set_model\(model\) first",
    ),
    "clip_grad_norm: -1": (lambda p: recipes.clip_grad_norm(net().parameters(), -1), ValueError, "positive.*got -1"),
    "History: a string": (lambda p: recipes.History("train_loss"), TypeError, "must be a list.*got 'train_loss'"),
    "InputAugmentation: None": (lambda p: recipes.InputAugmentation(None), TypeError, "a function.*got None"),
    "schedule: a model": (lambda p: LearningRateScheduler(net()), TypeError, "Optimizer; got Sequential"),
    "schedule: unknown": (lambda p: LearningRateScheduler(optimizer(), "poly"), ValueError, "one of.*got 'poly'"),
    "schedule: factor": (lambda p: LearningRateScheduler(optimizer(), factor="a"), ValueError, "positive.*got 'a'"),
    "schedule: patience": (lambda p: LearningRateScheduler(optimizer(), patience=-1), ValueError, "at least 0; got -1"),
    "schedule: T_max": (
        lambda p: LearningRateScheduler(optimizer(), "cosine", T_max=0),
        ValueError,
        "T_max must.*got 0",
    ),
    "schedule: step_size": (
        lambda p: LearningRateScheduler(optimizer(), "step", step_size=0),
        ValueError,
        "must.*got 0",
    ),
    "schedule: gamma": (lambda p: LearningRateScheduler(optimizer(), "exp", gamma=-1.0), ValueError, "gamma.*got -1.0"),
    "schedule: a setting": (
        lambda p: LearningRateScheduler(optimizer(), "step", stepsize=3),
        TypeError,
        "unknown setting stepsize",
    ),
    "schedule: another's": (
        lambda p: LearningRateScheduler(optimizer(), "exp").attach(a_trainer()),
        RuntimeError,
        "own optimizer",
    ),
    "NoiseAugmentation: -1": (lambda p: recipes.NoiseAugmentation(-1), ValueError, "noise_std must not.*got -1"),
    "add_noise: a list": (lambda p: recipes.add_noise([1.0]), TypeError, "must be a tensor; got list"),
    "add_noise: nan": (lambda p: recipes.add_noise(INPUTS, NAN), ValueError, "noise_std must not.*got nan"),
    "NonFiniteGuard: policy": (lambda p: recipes.NonFiniteGuard("ignore"), ValueError, "must be.*got 'ignore'"),
    "ProgressBar: a string": (lambda p: recipes.ProgressBar("train_loss"), TypeError, "a tuple.*got 'train_loss'"),
    "Rollback: factor": (lambda p: recipes.Rollback(2.0), ValueError, r"in \(0, 1\).*got 2.0"),
    "Rollback: times": (lambda p: recipes.Rollback(0.5, 0), ValueError, "max_rollbacks must be.*got 0"),
    "SaveInside: every 0": (lambda p: recipes.SaveInside(0, print), ValueError, "every_iterations must.*got 0"),
    "SaveInside: no function": (lambda p: recipes.SaveInside(3, None), TypeError, "save must be called.*got None"),
    "StopOnSignal: a path": (lambda p: recipes.StopOnSignal("a.pt"), TypeError, "save must be called.*got 'a.pt'"),
    "TensorBoardLog: a file": (lambda p: run(recipes.TensorBoardLog(written(p / "f", ""))), OSError, "/f'"),
    "TrainingLog: a folder": (lambda p: run(recipes.TrainingLog(p)), OSError, "directory"),
    "TrainingStability: 0": (
        lambda p: recipes.TrainingStability(0),
        ValueError,
        "of epochs, at least 1; got 0",
    ),
    "Validation: a model": (lambda p: recipes.Validation(net(), []), TypeError, "must be an engine.*got Sequential"),
    "Validation: no loader": (lambda p: recipes.Validation(an_evaluator(), None), TypeError, "loader must.*got None"),
    "read_training_log: none": (lambda p: recipes.read_training_log(p / "no"), FileNotFoundError, "no training log at"),
    "read_training_log: other": (
        lambda p: recipes.read_training_log(written(p / "l", "a,b\n")),
        ValueError,
        "whose first line begins with epoch",
    ),
    "read_checkpoint: a folder": (lambda p: recipes.read_checkpoint(p), FileNotFoundError, "is a folder; name one"),
    "read_checkpoint: a text": (
        lambda p: recipes.read_checkpoint(written(p / "a", "hi")),
        CheckpointError,
        "not a sound",
    ),
    "load_checkpoint: another net": (
        lambda p: load_checkpoint(weights_of(net(), p), net(3)),
        CheckpointError,
        "another architecture",
    ),
    "load_checkpoint: no optimizer": (
        lambda p: load_checkpoint(weights_of(net(), p), (model := net()), adam_of(model)),
        CheckpointError,
        "no optimizer state",
    ),
    "load_checkpoint: no average": (
        lambda p: load_checkpoint(weights_of(net(), p), net(), averaged=True),
        CheckpointError,
        "no moving average",
    ),
    "save_checkpoint: a folder": (lambda p: save_checkpoint(net(), None, 1, 0.0, 0.0, p), OSError, "directory"),
    "write_checkpoint: an object": (
        lambda p: recipes.write_checkpoint({"a": print}, p / "a"),
        TypeError,
        r"\['a'\] must be",
    ),
    "CheckpointManager: 0": (
        lambda p: CheckpointManager(str(p), 0),
        ValueError,
        "of epochs, at least 1; got 0",
    ),
    "CheckpointManager: taken": (
        lambda p: CheckpointManager(str(p)).save_latest_checkpoint(net(), None, 1, 0.0, 0.0, {"epoch": 3}),
        ValueError,
        "must not replace 'epoch'",
    ),
    "ExperimentManager: unknown": (
        lambda p: ExperimentManager(str(p), "exp9"),
        FileNotFoundError,
        "no experiment 'exp9'",
    ),
    "ExperimentManager: both": (
        lambda p: ExperimentManager(str(p), "exp1", "exp2"),
        ValueError,
        "not both; got 'exp1'",
    ),
    "ExperimentManager: a path": (
        lambda p: ExperimentManager(str(p), "../x"),
        ValueError,
        r"without a path; got '\.\./x'",
    ),
    "BaseDataset: labels": (
        lambda p: BaseDataset(IMAGES, LABELS[:3], IMAGES, LABELS, name="a"),
        ValueError,
        r"\(24,\); got shape \(3,\)",
    ),
    "BaseDataset: an array": (
        lambda p: BaseDataset(IMAGES.numpy(), LABELS, IMAGES, LABELS, name="a"),
        TypeError,
        "must be a tensor.*got ndarray",
    ),
    "BaseDataset: classes": (
        lambda p: BaseDataset(IMAGES, LABELS, IMAGES, LABELS, name="a", num_classes=1),
        ValueError,
        "below num_classes, 1; got 1",
    ),
    "BaseDataset: transform": (
        lambda p: BaseDataset(IMAGES, LABELS, IMAGES, LABELS, name="a", transform="rotate"),
        ValueError,
        "got 'rotate'",
    ),
    "DatasetRegistry: unknown": (
        lambda p: recipes.DatasetRegistry.create("no"),
        ValueError,
        "must be one of.*got 'no'",
    ),
    "ModelRegistry: unknown": (lambda p: recipes.ModelRegistry.create("no"), ValueError, "must be one of.*got 'no'"),
    "RandomAffine: shift": (lambda p: recipes.RandomAffine(shift=-1), ValueError, "shift must be .*got -1"),
    "RandomAffine: nan": (lambda p: recipes.RandomAffine(rotation=NAN), ValueError, "rotation must be .*got nan"),
    "RowDataset: words": (lambda p: recipes.RowDataset([["a"]]), TypeError, "must be a dense tensor.*got list"),
    "RowDataset: 1-D": (lambda p: recipes.RowDataset(np.zeros(3)), ValueError, r"must be 2-D.*got shape \(3,\)"),
    "split_train_val: 2.0": (lambda p: split_train_val(ROWS, val_size=2.0), ValueError, "val_size must be .*got 2.0"),
    "split_train_val: one row": (lambda p: split_train_val(ROWS[:1]), ValueError, "at least two groups.*got 1 rows"),
    "create_dataloaders: '4'": (
        lambda p: recipes.create_dataloaders(TensorDataset(ROWS), None, batch_size="4"),
        ValueError,
        "batch_size must be a whole number.*got '4'",
    ),
    "create_dataloaders: empty": (
        lambda p: recipes.create_dataloaders(TensorDataset(ROWS[:0]), None),
        ValueError,
        "at least one row; got none",
    ),
    "TrafficDataset: others": (
        lambda p: recipes.TrafficDataset([INPUTS] * 8),
        ValueError,
        r"must be \(windows, .*got \(12, 4\)",
    ),
    "trainModel: no dict": (lambda p: trainModel(None, WINDOWS, WINDOWS), TypeError, "must be a dict.*got None"),
    "make_traffic_windows: short": (
        lambda p: make_traffic_windows(INPUTS, torch.ones(12), 20, 3),
        ValueError,
        "= 23 samples; got 12",
    ),
    "make_traffic_windows: nan": (
        lambda p: make_traffic_windows(INPUTS * NAN, torch.ones(12), 3, 3),
        ValueError,
        "finite numbers; got nan in row 0",
    ),
    "send_on_delta: -1": (lambda p: send_on_delta(INPUTS, -1.0), ValueError, "deadband must be .*got -1.0"),
    "send_on_delta: a word": (lambda p: send_on_delta("a", 0.1), ValueError, "must be an array of real numbers"),
    "learn_limits: constant": (
        lambda p: recipes.learn_limits(torch.ones(3, 2)),
        ValueError,
        "must vary in every feature",
    ),
    "load_co2: no window": (lambda p: recipes.load_co2(0, 5), ValueError, "len_source must be .*got 0"),
    "load_traffic_csv: none": (
        lambda p: load_traffic_csv(p / "no", 3, 3, 0.1),
        FileNotFoundError,
        "must be a CSV file",
    ),
    "load_traffic_csv: column": (
        lambda p: load_traffic_csv(written(p / "a.csv", "x,y\n" + "1,2\n" * 30), 3, 3, flag_column="z"),
        ValueError,
        "flag_column must be a column.*got 'z'",
    ),
    "load_ebird_data: other": (
        lambda p: recipes.load_ebird_data(written(p / "a", "a\tb\n1\t2\n")),
        ValueError,
        "must be an eBird file of sightings",
    ),
    "load_ebird_data: empty": (lambda p: recipes.load_ebird_data(written(p / "a", "")), ValueError, "it is empty"),
    "create_species_matrix: other": (
        lambda p: recipes.create_species_matrix(pd.DataFrame({"a": [1]})),
        ValueError,
        "data must have the columns",
    ),
    "write_example_ebd: none": (lambda p: recipes.write_example_ebd(p / "a", 0), ValueError, "at least 1; got 0"),
    "MetricsTracker: shapes": (
        lambda p: recipes.MetricsTracker().update(0.5, torch.ones(3, 2), torch.zeros(4).long()),
        ValueError,
        r"outputs must be \(N, C\).*got \(3, 2\) and \(4,\)",
    ),
    "LeNet: classes": (lambda p: recipes.LeNet(0), ValueError, "num_classes must be at least 1; got 0"),
    "LeNet: channels": (
        lambda p: recipes.LeNet()(torch.ones(2, 3, 28, 28)),
        ValueError,
        r"\(N, 1, H, W\).*got \(2, 3, 28, 28\)",
    ),
    "MyNet: width": (lambda p: recipes.MyNet(width=0), ValueError, "width must be at least 1; got 0"),
    "TrafficPredictor: windows": (
        lambda p: recipes.TrafficPredictor(2, 3, len_source=6)(INPUTS, INPUTS, INPUTS),
        ValueError,
        r"sources must be .*got \(12, 4\)",
    ),
    "traffic_report: others": (
        lambda p: recipes.traffic_report((INPUTS,) * 4, WINDOWS),
        ValueError,
        r"must be .*got \(12, 4\)",
    ),
    "VAE: no dimension": (lambda p: VariationalAutoencoder(0), ValueError, "input_dimension must be .*got 0"),
    "VAE: features": (lambda p: VariationalAutoencoder(6)(INPUTS), ValueError, r"6 features.*got shape \(12, 4\)"),
    "VAE: an array": (lambda p: VariationalAutoencoder(6)(np.ones((2, 6))), TypeError, "a tensor.*got ndarray"),
    "vae_losses: rows": (
        lambda p: recipes.vae_losses(ROWS, ROWS[:3], ROWS, ROWS),
        ValueError,
        r"must be \(N, D\).*got \(12, 6\), \(3, 6\)",
    ),
    "vae_losses: latents": (
        lambda p: recipes.vae_losses(ROWS, ROWS, ROWS, ROWS[:, :3]),
        ValueError,
        r"\(N, Z\); got .*\(12, 3\)",
    ),
    "multilayer_perceptron: 0": (lambda p: recipes.multilayer_perceptron(0, 1), ValueError, "at least 1; got .0"),
    "extract_embeddings: a net": (
        lambda p: recipes.extract_embeddings(net(), [INPUTS]),
        TypeError,
        "embed.*got Sequential",
    ),
    "extract_embeddings: empty": (
        lambda p: recipes.extract_embeddings(VariationalAutoencoder(6), []),
        ValueError,
        "at least one batch",
    ),
    "save_for_inference: ending": (
        lambda p: recipes.save_for_inference(VariationalAutoencoder(6), p / "a.pt"),
        ValueError,
        "must end in .pt2.*got 'a.pt'",
    ),
    "plot_history: a number": (lambda p: recipes.plot_history(3), TypeError, "must map names.*got int"),
    "plot_history: no such experiment": (
        lambda p: recipes.plot_history(p / "exp1"),
        FileNotFoundError,
        "no experiment 'exp1'.*there are: none",
    ),
    "plot_reconstructions: a net": (
        lambda p: recipes.plot_reconstructions(net(), INPUTS.sigmoid()),
        TypeError,
        "embed.*decode.*got Sequential",
    ),
    "plot_latent: no data": (
        lambda p: recipes.plot_latent(VariationalAutoencoder(6)),
        TypeError,
        "data must be given for a model.*got None",
    ),
    "compare_experiments: one": (
        lambda p: recipes.compare_experiments("exp1"),
        TypeError,
        "must be a list.*got 'exp1'",
    ),
    "plot_history: nothing": (lambda p: recipes.plot_history({}), ValueError, "at least one epoch.*got none"),
    "set_seed: a word": (lambda p: recipes.set_seed("a"), ValueError, "seed must be a whole number.*got 'a'"),
    "set_seed: -1": (lambda p: recipes.set_seed(-1), ValueError, "seed must be a whole number.*got -1"),
    "describe: a model": (lambda p: recipes.describe(net()), TypeError, "must be an Ignite engine.*got Sequential"),
    "run_state: a model": (lambda p: run_state(net()), TypeError, "must be one of create_trainer.*got Sequential"),
    "restore_run: an engine": (
        lambda p: restore_run(Engine(lambda engine, batch: None), p / "a.pt"),
        TypeError,
        "must be one of create_trainer.*got Engine",
    ),
    "restore_run: a folder": (lambda p: restore_run(a_trainer(), p), FileNotFoundError, "is a folder; name one"),
    "restore_run: weights": (
        lambda p: restore_run(a_trainer(), weights_of(net(), p)),
        CheckpointError,
        "not a whole run",
    ),
    "restore_run: another net": (
        lambda p: restore_run(a_trainer(outputs=3), run_of(a_trainer(), p)),
        CheckpointError,
        "another architecture",
    ),
    "check_resume: an engine": (
        lambda p: recipes.check_resume(lambda: (Engine(lambda engine, batch: None), [1])),
        TypeError,
        "must be one of create_trainer.*got Engine",
    ),
    "check_resume: no epoch": (
        lambda p: recipes.check_resume(lambda: (a_trainer(), [1]), 0),
        ValueError,
        "at least 1; got 0",
    ),
}


@pytest.mark.parametrize(("call", "error", "message"), CASES.values(), ids=CASES)
def test_a_mistake_is_refused_with_what_must_be_true(tmp_path, call, error, message):
    with pytest.raises(error, match=f"(?s){message}"):
        call(tmp_path)
